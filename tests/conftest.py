"""A tiny BERT, built from a config in a second, for every test that does not need a real one."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# No verdict depends on how fast the machine is: an example may take as long as it takes.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# Tests never ask a hub; the ones about that set their own.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# The steps of a tiny model are too short to share among PyTorch's threads, which on a busy machine wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The gate installs every extra: there a test that skips for want of one is a test that nobody runs, so it fails.
EXTRAS_REQUIRED = bool(os.environ.get("FTX_REQUIRE_EXTRAS"))
# The runtime alone, as on the Pythons that the gate tries beside its own: tests that train or export are skipped.
RUNTIME_ONLY = not EXTRAS_REQUIRED and importlib.util.find_spec("torch") is None
WITHOUT_TORCH = re.compile(
    r"This needs .+ pip install 'ftx-toolkit\[(cpu,)?(train|export|serve|evaluate)\]'"
    r"|No module named '(torch|scipy|datasets|httpx|uvicorn|starlette)'"
)


def pytest_configure(config: pytest.Config) -> None:
    if EXTRAS_REQUIRED:
        pytest.importorskip = lambda name, *_, **__: importlib.import_module(name)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, Any]:
    return skipped_without_torch((yield), collector.path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, Any]:
    return skipped_without_torch((yield), item.path)


def skipped_without_torch(report: Any, path: Path) -> Any:
    if RUNTIME_ONLY and report.failed and (found := WITHOUT_TORCH.search(report.longreprtext)):
        report.outcome, report.longrepr = "skipped", (str(path), 0, found[0])
    return report


POSITIVE = ["great", "good", "lovely", "fine", "superb", "brilliant"]
NEGATIVE = ["bad", "awful", "dull", "poor", "boring", "terrible"]
NOUNS = ["movie", "film", "story", "plot", "ending", "cast", "music", "script"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", type=int, help="About how many faults tests/faults tries.")
    parser.addoption("--faults-seed", type=int, default=0, help="Seed of the random ones.")


def review_rows() -> list[tuple[str, str]]:
    """96 distinct labelled sentences that a tiny model learns in seconds."""
    return [
        (f"The {noun} was {word}{end}", label)
        for label, words in (("positive", POSITIVE), ("negative", NEGATIVE))
        for word in words
        for noun in NOUNS
        for end in ("!",)
    ]


def write_jsonl(path: Path, rows: list[tuple[str, Any]]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("data") / "reviews.jsonl", review_rows())


def build_tiny(folder: Path, problem_type: str, labels: list[str], *, layers: int = 2) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = sorted({word for text, _ in review_rows() for word in text.lower().rstrip("!").split()})
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789!?.,'電影")
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *words,
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=32)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        problem_type=problem_type,
        initializer_range=0.1,  # logits that differ between texts
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny checkpoint by problem_type, built once."""
    built: dict[str, Path] = {}
    labels = {
        "single_label_classification": ["negative", "positive"],
        "multi_label_classification": ["funny", "sad", "long"],
        "regression": ["stars"],
    }

    def build(problem_type: str) -> Path:
        if problem_type not in built:
            folder = tmp_path_factory.mktemp("tiny") / problem_type
            built[problem_type] = build_tiny(folder, problem_type, labels[problem_type])
        return built[problem_type]

    return build


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path], reviews: Path) -> Path:
    """A run of `train` on the tiny model."""
    from ftx.finetune import Recipe, train

    output = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_recipe(tiny_model("single_label_classification"), reviews, Recipe), output)
    return output


def tiny_recipe(model: Path, dataset: Path, recipe: Any, **values: Any) -> Any:
    return recipe(
        **{
            "model": str(model),
            "dataset": str(dataset),
            "validation": 0.25,
            "max_length": 32,
            "epochs": 4.0,
            "train_batch_size": 8,
            "learning_rate": 5e-3,
            **values,
        }
    )


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The tiny run's export folder. FTX_TINY_EXPORT keeps it, for a later run of the tests without PyTorch."""
    kept = os.environ.get("FTX_TINY_EXPORT")
    if kept and Path(kept).exists():
        return Path(kept)
    from ftx.export import export

    output = tmp_path_factory.mktemp("exports") / "onnx"
    export(request.getfixturevalue("tiny_run"), output, quantize="fast")
    if kept:
        beside = Path(kept).with_name(f"{os.getpid()}")
        shutil.copytree(output, beside)
        with contextlib.suppress(OSError):  # another worker was first
            beside.rename(kept)
    return output


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets that lie beside some checkouts."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside this checkout: real SST-2 and emotion data is not here")
    return folder


class Clock:
    """A clock that only moves when someone waits or works."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, sec: float) -> None:
        self.now += sec


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of what takes turns."""
    clock = Clock()
    monkeypatch.setattr("ftx.turns.time", clock)
    return clock
