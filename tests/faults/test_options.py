"""Options with values that nobody should give: numbers out of range, NaN, nothing, names without end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from ftx.cli import ftx
from tests.faults.commands import Commands, Fault, check_ending
from tests.faults.ledger import Ledger

GIB = 2**30
NUMBERS = [
    "-1", "0", "1", "1.5", "-0", "-0.0", "1e-320", "1e400", "nan", "inf", "-inf", "2147483648",
    "4294967296", "9223372036854775808", "1" + "0" * 40, "9" * 5000, "", " ", "x", "1,5", "1_000", "0x10", "１２", "--",
    "null", "100000",
]  # fmt: skip
# What can't be meant, whatever the number is for.
NEVER = {"nan", "inf", "-inf", "1" + "0" * 40, "9" * 5000, "1e400", "", " ", "x", "1,5", "--", "null"}
WORDS = [
    "", " ", ".", "..", "/", "//", "-", "--", "~", "x", "é" * 150, "x" * 300, "x" * 100_000, "/dev/null", "/dev/full",
    "/proc/self/mem", "a,b", ",", ",,,", "a,a", "nan", "\n", "\x1b[31m", "\udcff", "%s", "{}", "$HOME", "*", "1" * 300,
    "a/../../b", "pipe", "loop", "folder", "gone",
]  # fmt: skip
# For which nothing is a value as another.
MAY_BE_EMPTY = {"prefix"}


@dataclass(frozen=True, kw_only=True)
class Given:
    """A command with an odd value for one option."""

    command: str
    option: str
    value: str

    def __str__(self) -> str:
        return f"{self.command} {self.option} {self.value[:60]!r}"


def kind(option: click.Parameter) -> str:
    """Tell what an option takes."""
    if getattr(option, "is_flag", False):
        return "flag"
    name = type(option.type).__name__
    if "Int" in name or "Float" in name or option.type in (click.INT, click.FLOAT):
        return "number"
    return "word"


def every(command: str) -> list[Given]:
    """Give each option of a command with each odd value."""
    cases = []
    for option in ftx.commands[command].params:
        if isinstance(option, click.Option) and option.name != "help" and kind(option) != "flag":
            values = NUMBERS if kind(option) == "number" else WORDS
            cases += [Given(command=command, option=option.opts[0], value=value) for value in values]
    return cases


@pytest.fixture
def usual(
    tiny_export: Path, tiny_run: Path, tiny_model: Callable[[str], Path], reviews: Path
) -> Callable[[str], dict[str, Any]]:
    """Give options with which a command works."""

    def options(command: str) -> dict[str, Any]:
        return {
            "predict": {"--onnx": tiny_export, "--input": reviews, "--output": "out.jsonl"},
            "inspect": {"--onnx": tiny_export},
            "verify": {"--onnx": tiny_export},
            "doctor": {},
            "evaluate": {"--onnx": tiny_export, "--data": reviews},
            "bench": {"--onnx": tiny_export, "--data": reviews, "--rounds": "1"},
            "export": {"--output": "onnx", "--quantize": "none", "--data": reviews},
            "train": {
                "--model": tiny_model("single_label_classification"), "--dataset": reviews, "--output": "run",
                "--max-steps": "1", "--precision": "fp32", "--save-steps": "0",
            },
        }[command]  # fmt: skip

    return options


@pytest.mark.parametrize("command", ["predict", "inspect", "verify", "evaluate", "bench", "export", "train"])
def test_odd_values(
    command: str, light: Commands, heavy: Commands, tiny_run: Path, usual: Callable[[str], dict[str, Any]],
    ledger: Ledger, new_folder: Callable[[], Path],
) -> None:  # fmt: skip
    cases = every(command)
    commands, count = (
        (light, 60) if command in ("predict", "inspect", "verify") else (heavy, 16 if command == "train" else 6)
    )
    chosen = ledger.chance(f"options of {command}").sample(cases, min(len(cases), ledger.count(count)))

    def attempt(case: Given) -> None:
        folder = new_folder()
        os.mkfifo(folder / "pipe")
        (folder / "loop").symlink_to("loop")
        (folder / "folder").mkdir()
        options = usual(command) | {case.option: case.value}
        arguments = [command, *([tiny_run] if command == "export" else [])]
        arguments += [f"{name}={value}" for name, value in options.items()]
        outcome = commands.run(*arguments, cwd=folder, fault=Fault(limits={"AS": 6 * GIB, "FSIZE": GIB}))
        check_ending(outcome, usual=outcome)
        number = kind(next(one for one in ftx.commands[command].params if case.option in one.opts)) == "number"
        if number and case.value in NEVER:
            assert outcome.status in (1, 2), f"took {case.value!r}: {outcome.stderr}"
        if not case.value and case.option.strip("-") not in MAY_BE_EMPTY:
            assert outcome.status in (1, 2), f"took nothing for a value: {outcome.stderr}"
        files = {path.name for path in folder.iterdir()}
        assert {"pipe", "loop", "folder"} <= files, "something that was there is gone"

    ledger.try_each(chosen, attempt)


def test_any_words(light: Commands, tiny_export: Path, ledger: Ledger, new_folder: Callable[[], Path]) -> None:
    """Commands of words put together by chance."""
    chance = ledger.chance("words")
    names = [option for command in ftx.commands.values() for one in command.params for option in one.opts]
    words = [*ftx.commands, *names, *NUMBERS, *WORDS, str(tiny_export), "--json", "--help", "--version", "-h"]
    light_commands = ["predict", "inspect", "verify", "doctor", "nonsense", "--onnx", ""]

    def attempt(_: int) -> None:
        folder = new_folder()
        arguments = [chance.choice(light_commands), *chance.choices(words, k=chance.randrange(6))]
        outcome = light.run(*arguments, cwd=folder, fault=Fault(limits={"AS": 6 * GIB, "FSIZE": GIB}))
        check_ending(outcome, usual=outcome)

    ledger.try_each(range(ledger.count(40)), attempt, workers=1)
