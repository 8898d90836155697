"""Hub ids go through transformers' and datasets' own code, against a hub on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.finetune.hub_server import COMMIT, commit_of, serve_hub

# One process for many cases: loading transformers takes most of the time.
SCRIPT = """
import json, sys
from ftx.errors import FtxError
from ftx.finetune.bad_rows import BadRows
from ftx.finetune.head import SINGLE_LABEL, Head
from ftx.finetune.hub import hub_rows, load_model, load_tokenizer
from ftx.finetune.table import Columns

def attempt(kind, name):
    try:
        if kind == "model":
            load_tokenizer(name)
            config = load_model(name, Head(problem_type=SINGLE_LABEL, labels=["a", "b"])).config
            return [*sorted(config.id2label.values()), config._commit_hash]
        sides = hub_rows(name, Columns(text="sentence", label="label"), BadRows(limit=1))
        return [[(row.text, row.label) for row in side] for side in sides]
    except FtxError as error:
        return f"{type(error).__name__}: {error}"

print(json.dumps([attempt(*case) for case in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Iterator[str]:
    root = tmp_path_factory.mktemp("hub")
    for name in ("org/tiny", "org/secret", "org/broken"):
        shutil.copytree(tiny_model("single_label_classification"), root / "models" / name)
    shutil.copytree(tiny_model("single_label_classification"), root / "models/org/tiny@v2")
    shutil.copytree(tiny_model("single_label_classification"), root / "models/org/pickled")
    (root / "models/org/pickled/model.safetensors").rename(root / "models/org/pickled/pytorch_model.bin")
    folder = root / "datasets/org/reviews"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"sentence": "good", "label": "pos"}\n{"sentence": "bad", "label": "neg"}\n')
    (folder / "validation.jsonl").write_text('{"sentence": "fine", "label": "pos"}\n')
    pinned = root / "datasets/org/reviews@old"
    pinned.mkdir()
    (pinned / "train.jsonl").write_text('{"sentence": "old", "label": "pos"}\n')
    with serve_hub(root, gated={"org/secret"}, cut={"org/broken/model.safetensors"}) as address:
        yield address


def attempt(address: str, home: Path, *cases: tuple[str, str], offline: bool = False) -> list[object]:
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_ETAG_TIMEOUT": "5", "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_models_and_data_sets_come_from_the_hub_and_then_from_the_cache(hub: str, tmp_path: Path) -> None:
    found = attempt(
        hub, tmp_path,
        ("model", "org/tiny"), ("model", "org/absent"), ("model", "org/secret"), ("model", "org/broken"),
        ("model", "org/pickled"), ("model", "org/tiny@v2"), ("model", "org/tiny@v3"),
        ("data", "org/reviews@old"), ("data", "org/reviews"), ("data", "org/absent"), ("data", "org/reviews@new"),
    )  # fmt: skip
    tiny, absent, secret, broken, pickled, pinned, unpinned, old, reviews, no_reviews, new = found
    assert tiny == ["a", "b", COMMIT]
    assert pinned == ["a", "b", commit_of("v2")]
    assert old == [[["old", "pos"]], []]
    for message, reason in (
        (absent, "org/absent"),
        (secret, "gated"),
        (broken, "org/broken"),
        (pickled, "org/pickled"),
        (no_reviews, "org/absent"),
        (unpinned, "v3"),
        (new, "new"),
    ):
        assert isinstance(message, str)
        assert message.startswith(("ModelError", "DataError"))
        assert reason in message
        assert "--model starter" in message
    assert reviews == [[["good", "pos"], ["bad", "neg"]], [["fine", "pos"]]]

    cached, uncached, by_tag, data, by_commit, other_commit = attempt(
        "http://127.0.0.1:9", tmp_path,
        ("model", "org/tiny"), ("model", "org/other"), ("model", "org/tiny@v2"),
        ("data", "org/reviews"), ("data", f"org/reviews@{COMMIT}"), ("data", f"org/reviews@{commit_of('old')}"),
        offline=True,
    )  # fmt: skip
    # datasets gives what the cache holds of any revision; ftx does not take another one than was asked for.
    assert by_commit == reviews
    assert isinstance(other_commit, str)
    assert "the cache holds another revision than" in other_commit
    assert cached == tiny
    assert by_tag == pinned
    assert isinstance(uncached, str)
    assert "can't be loaded" in uncached
    assert data == reviews
