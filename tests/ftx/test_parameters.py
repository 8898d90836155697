"""Every option of every command, with every value that none can use: one line and status 1 or 2, and no hang."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ftx.cli import ftx
from ftx.cli.parameters import AnyPath, Character, Finite, Names, Numbers, Text
from ftx.machine import MAX_THREADS

HANG_SEC = 600
LONG = "x" * 300
NUMBERS = ["", "nan", "inf", "-inf", "1e999", str(10**40), str(-(10**40)), "9" * 5000, "1.5.5", LONG, "0\0"]
TEXTS = ["", "a\0b", LONG]
# What a command takes, and judges by what comes of it.
GOOD = {
    ("predict", "prefix", LONG),
    ("serve", "allowed_host", LONG),
    ("serve", "token", LONG),
    ("train", "learning_rate", str(10**40)),
    ("train", "weight_decay", str(10**40)),
}


def bad_values(kind: Any, special: list[str]) -> list[str]:
    """List what an option of a type can't use."""
    if isinstance(kind, (click.types.FloatParamType, click.types.IntParamType, click.Choice)):
        return NUMBERS
    if isinstance(kind, Character):
        return TEXTS
    if isinstance(kind, AnyPath) or getattr(kind, "regular", False):
        return [*TEXTS, *special]
    if isinstance(kind, Numbers):
        return [*NUMBERS, "1,,1", ",", "1,a"]
    if isinstance(kind, Names):
        return [*TEXTS, "a,,b", ",", "a,a"]
    assert isinstance(kind, Text), kind
    return TEXTS


OPTIONS = [
    pytest.param(name, option, id=f"{name} {option.opts[0]}")
    for name, command in ftx.commands.items()
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag and not option.is_eager
]


@pytest.fixture
def base(
    tmp_path: Path, reviews: Path, tiny_model: Any, tiny_run: Path, tiny_export: Path
) -> dict[str, dict[str, Any]]:
    """Options with which each command would do its work."""
    model = tiny_model("single_label_classification")
    return {
        "train": {
            "--model": model,
            "--dataset": reviews,
            "--output": tmp_path / "run",
            "--max-steps": 1,
            "--precision": "fp32",
        },
        "distill": {"--layers": 1, "--output": tmp_path / "run", "--max-steps": 1, "--precision": "fp32"},
        "evaluate": {"--onnx": tiny_export, "--data": reviews},
        "export": {"--output": tmp_path / "onnx", "--quantize": "fast"},
        "verify": {"--onnx": tiny_export, "--against": tiny_run},
        "predict": {"--onnx": tiny_export, "--input": reviews, "--output": tmp_path / "out.csv"},
        "serve": {"--onnx": tiny_export, "--port": 0},
        "bench": {"--onnx": tiny_export, "--against": tiny_run, "--rounds": 1, "--texts": 4},
        "inspect": {"--onnx": tiny_export},
    }


@pytest.fixture
def special(tmp_path: Path) -> list[str]:
    """Paths that are no file and no folder."""
    places = tmp_path / "places"
    places.mkdir()
    os.mkfifo(places / "pipe")
    (places / "loop").symlink_to(places / "loop")
    return [str(places / "pipe"), str(places / "loop"), str(places / "loop" / "in")]


@pytest.fixture(autouse=True)
def no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End what hangs, and have relative paths lead nowhere."""

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, b"hangs\n")
        os._exit(1)

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(HANG_SEC)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(arguments: list[str]) -> str:
    """Check that a command line is refused in one line."""
    result = CliRunner().invoke(ftx, arguments)
    assert result.exit_code in (1, 2), (arguments, result.stdout, result.stderr)
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1, result.stderr
    assert "unexpected" not in result.stderr
    assert "Traceback" not in result.stderr
    return said[0]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_what_no_option_can_use(
    command: str, option: click.Option, base: dict[str, dict[str, Any]], special: list[str], tiny_run: Path
) -> None:
    rest = {name: str(value) for name, value in base[command].items() if name not in option.opts}
    if (command, option.name) == ("evaluate", "run"):
        rest.pop("--onnx")  # either of both
    if (command, option.name) == ("predict", "output"):
        special = [path for path in special if not path.endswith("pipe")]  # a stream, of a format to be named
    words = [word for pair in rest.items() for word in pair]
    for value in bad_values(option.type, special):
        if (command, option.name, value) not in GOOD:
            run = [str(tiny_run)] if command in ("export", "distill") else []
            refused([command, *run, *words, f"{option.opts[0]}={value}"])
    left = {path.name for path in Path("..").iterdir()}
    assert left <= {"here", "places", "data"}


def test_what_no_argument_can_use(special: list[str]) -> None:
    for value in (*TEXTS, *special):
        refused(["export", value])
        refused(["distill", value, "--layers", "1"])


def test_any_text_can_be_predicted(tiny_export: Path) -> None:
    for value in TEXTS:
        assert CliRunner().invoke(ftx, ["predict", "--onnx", str(tiny_export), value]).exit_code == 0


def test_no_option_is_left_to_types_without_bounds() -> None:
    for name, command in ftx.commands.items():
        for option in command.params:
            if isinstance(option.type, click.types.FloatParamType):
                assert isinstance(option.type, Finite), (name, option.name)
            elif isinstance(option.type, click.types.IntParamType):
                assert isinstance(option.type, click.IntRange), (name, option.name)
                assert option.type.max is not None, (name, option.name)
            elif isinstance(option.type, click.Path):
                assert isinstance(option.type, AnyPath), (name, option.name)
            elif isinstance(option, click.Option) and not option.is_flag:
                assert isinstance(option.type, (Text, click.Choice)), (name, option.name)


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        ("--seed", str(2**32 - 1), str(2**32)),
        ("--skip-bad-rows", "0", "-1"),
        ("--train-rows", str(2**31 - 1), str(2**31)),
        ("--batch-size", "65536", "65537"),
        ("--epochs", "0.5", "0"),
        ("--label-smoothing", "0.5", "1"),
        ("--weight-decay", "0", "-0.1"),
        ("--max-length", "1", "0"),
    ],
)
def test_bounds(option: str, good: str, bad: str) -> None:
    train = ftx.commands["train"]
    with train.make_context("train", [option, good]):
        pass
    with pytest.raises(click.BadParameter):
        train.make_context("train", [option, bad])


def test_threads_are_bounded(tiny_export: Path) -> None:
    assert str(MAX_THREADS) in refused(["predict", "--onnx", str(tiny_export), "--threads", str(MAX_THREADS + 1), "a"])
    assert "100000" in refused(["predict", "--onnx", str(tiny_export), "--threads", "100000", "a"])


def test_names_are_split() -> None:
    with ftx.commands["train"].make_context("train", ["--labels", "a, b ,c"]) as context:
        assert context.params["labels"] == ("a", "b", "c")
