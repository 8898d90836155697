"""Hub ids go through transformers' and datasets' own code, against a hub on loopback."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftx.errors import FtxError, ModelError
from ftx.finetune.data.hub import hub_rows
from ftx.finetune.model import hub
from ftx.finetune.model.head import SINGLE_LABEL, Head
from ftx.tables.bad_rows import BadRows
from ftx.tables.columns import Columns
from tests.finetune.model.hub_server import COMMIT, commit_of, serve_hub

# One process for many cases: loading transformers takes most of the time.
SCRIPT = """
import json, sys
from ftx.errors import FtxError
from ftx.tables.bad_rows import BadRows
from ftx.finetune.model.head import SINGLE_LABEL, Head
from ftx.finetune.data.hub import hub_rows
from ftx.finetune.model.hub import load_model, load_tokenizer
from ftx.tables.columns import Columns

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
def address(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Iterator[str]:
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
    with serve_hub(root, gated={"org/secret"}, cut={"org/broken/model.safetensors"}) as served:
        yield served


def attempt(address: str, home: Path, *cases: tuple[str, str], offline: bool = False) -> list[object]:
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_ETAG_TIMEOUT": "600", "HF_HUB_DOWNLOAD_TIMEOUT": "600"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)],
        env=environment, capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_models_and_data_sets_come_from_the_hub_and_then_from_the_cache(address: str, tmp_path: Path) -> None:
    found = attempt(
        address, tmp_path,
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
    # datasets returns any cached revision; ftx accepts only the one asked for.
    assert by_commit == reviews
    assert isinstance(other_commit, str)
    assert "the cache holds another revision than" in other_commit
    assert cached == tiny
    assert by_tag == pinned
    assert isinstance(uncached, str)
    assert "can't be loaded" in uncached
    assert data == reviews


def failing(error: BaseException) -> Callable[..., None]:
    """Make a function that fails as libraries do, with the cause wrapped in another error."""

    def load(*arguments: object, **options: object) -> None:
        try:
            raise error
        except MemoryError:
            raise
        except Exception as inner:
            raise RuntimeError("something went wrong\nsomewhere") from inner

    return load


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch, tiny_model: Callable[[str], Path]) -> Any:
    """Call each loader with libraries that fail with an error."""
    import datasets
    import transformers

    folder = tiny_model("single_label_classification")
    head = Head(problem_type=SINGLE_LABEL, labels=["a", "b"])

    def fail(error: BaseException) -> list[Callable[[], Any]]:
        for of, name in (
            (transformers.AutoTokenizer, "from_pretrained"),
            (transformers.AutoModelForSequenceClassification, "from_pretrained"),
            (datasets, "load_dataset"),
        ):
            monkeypatch.setattr(of, name, failing(error))
        return [
            lambda: hub.load_tokenizer("org/x"),
            lambda: hub.load_model(str(folder), head),
            lambda: hub.load_checkpoint(folder),
            lambda: hub_rows("org/x", Columns(text="text", label="label"), BadRows()),
        ]

    return fail


def test_running_out_of_memory_is_not_reported_as_a_damaged_model(loaders: Any) -> None:
    for load in loaders(MemoryError("no room")):
        with pytest.raises(MemoryError):
            load()
    for load in loaders(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")):
        with pytest.raises(MemoryError, match="something went wrong"):
            load()
    for load in loaders(KeyboardInterrupt()):
        with pytest.raises(KeyboardInterrupt):
            load()


def test_a_full_disk_is_reported(loaders: Any) -> None:
    for load in loaders(OSError(errno.ENOSPC, "No space left on device", "/cache/x")):
        with pytest.raises(
            FtxError, match=r"No space left on device \(/cache/x\); make room there, or name .* HF_HOME"
        ):
            load()
    for load in loaders(OSError(errno.ENOENT, "No such file")):
        with pytest.raises(FtxError, match=r"something went wrong; .*(--model starter|put a complete config\.json)"):
            load()


def test_a_model_folder_with_special_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    os.mkfifo(folder / "config.json")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for model, reason in (
        (str(folder), "config.json is a pipe, a socket or a device"),
        (str(tmp_path / "loop"), "expected a folder|can't be loaded"),
        ("x" * 300, "can't be loaded"),
        (str(tmp_path / ("x" * 300)), "can't be loaded"),
    ):
        with pytest.raises(ModelError, match=reason):
            hub.load_tokenizer(model)


def test_label_ids_without_a_name_are_missing_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    names = datasets.ClassLabel(names=["neg", "pos"])
    rows = datasets.Dataset.from_dict(
        {"text": ["a", "b", "c"], "label": [[0, 1], [-1], [1]]},
        features=datasets.Features({"text": datasets.Value("string"), "label": datasets.Sequence(names)}),
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"train": rows})
    bad_rows = BadRows(limit=1)
    found, _ = hub_rows("org/x", Columns(text="text", label="label"), bad_rows)
    assert [row.label for row in found] == [["neg", "pos"], ["pos"]]
    assert bad_rows.rows[0].where == "org/x train row 2"


@pytest.mark.parametrize("model", ["no/such/folder", "./absent", "/absent"])
def test_a_missing_folder_is_not_taken_for_a_hub_id(model: str) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        hub.load_tokenizer(model)
