"""Options with a fixed set of values: they are choices, the library's own, and say what is probably meant."""

from __future__ import annotations

import re
from typing import Any, get_args, get_type_hints

import click
import pytest
from click.testing import CliRunner

from ftx.cli import ftx
from ftx.cli.parameters import Text
from ftx.runtime.long_text import POOLINGS
from ftx.runtime.session import PROVIDERS
from ftx.runtime.settings import LONG_TEXTS
from ftx.runtime.stream.formats import OUTPUT_FORMATS
from ftx.tables.formats import INPUT_FORMATS

# A help that begins with a value (`auto: ...`, `cpu, or cuda`, `text or json`), or explains one after a semicolon. If
# other text is meant, too, it begins with a quoted one ('starter', a hub id ...).
ALTERNATIVES = re.compile(r"^[a-z0-9_]+(?::|,| or| \() ?|; [a-z0-9_]+: ")


def choices(command: str, option: str) -> tuple[str, ...]:
    (found,) = (one for one in ftx.commands[command].params if option in one.opts)
    assert isinstance(found.type, click.Choice), (command, option)
    return tuple(found.type.choices)


def free_texts() -> list[tuple[str, click.Option]]:
    return [
        (name, option)
        for name, command in ftx.commands.items()
        for option in command.params
        if isinstance(option, click.Option) and isinstance(option.type, (Text, click.types.StringParamType))
    ]


def test_the_choices_of_training_are_those_of_a_recipe() -> None:
    recipe = pytest.importorskip("ftx.finetune.recipe")
    kinds = get_type_hints(recipe.Recipe)
    for option, field in (
        ("--problem-type", "problem_type"),
        ("--schedule", "schedule"),
        ("--class-weights", "class_weights"),
        ("--precision", "precision"),
    ):
        assert choices("train", option) == get_args(kinds[field]), option
    assert choices("train", "--best-metric") == recipe.BEST_METRICS


def test_the_choices_of_an_export_are_the_library_s() -> None:
    pytest.importorskip("onnx")
    from ftx.export.choices import DEVICES, QUANTIZE
    from ftx.export.quantization.scheme import TARGETS
    from ftx.manifest import PROBLEM_TYPES

    assert set(choices("export", "--quantize")) == set(QUANTIZE)
    assert choices("export", "--target") == tuple(TARGETS)
    assert choices("export", "--device") == DEVICES
    assert set(choices("export", "--problem-type")) == set(PROBLEM_TYPES)
    assert choices("train", "--problem-type") == ("auto", *choices("export", "--problem-type"))


def test_the_choices_of_predicting_are_the_library_s() -> None:
    assert choices("predict", "--provider") == tuple(PROVIDERS)
    assert choices("predict", "--pooling") == tuple(POOLINGS)
    assert choices("predict", "--input-format") == INPUT_FORMATS
    assert choices("predict", "--output-format") == OUTPUT_FORMATS
    assert choices("predict", "--long-text") == choices("serve", "--long-text") == LONG_TEXTS
    assert choices("predict", "--engine") == ("local", "ray")
    assert choices("serve", "--log-format") == ("text", "json")


@pytest.mark.parametrize(
    "said",
    [
        "auto: the fastest int8 that passes; fast: the first.",
        "cpu, or cuda: fp16 for a GPU.",
        "balanced: rare classes weigh as much.",
        "auto (fp16 on CUDA), fp32, fp16 or bf16.",
        "mean or max.",
        "What the labels are; auto: as the data shows.",
    ],
)
def test_a_help_that_lists_alternatives_is_recognised(said: str) -> None:
    assert ALTERNATIVES.search(said)


def test_no_option_that_lists_alternatives_is_free_text() -> None:
    assert len(free_texts()) > 10
    listing = [(name, option.opts[0]) for name, option in free_texts() if ALTERNATIVES.search(option.help or "")]
    assert listing == []


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["export", "runs", "--quantize", "int8"], "omit --quantize for the fastest int8 that passes"),
        (["export", "runs", "--quantize", "FP16"], "use --device cuda"),
        (["export", "runs", "--device", "gpu"], "for an NVIDIA GPU use cuda"),
        (["export", "runs", "--target", "x86_64"], "use avx2, or vnni for a newer CPU"),
        (["export", "runs", "--problem-type", "multilabel"], "use multi_label_classification"),
        (["train", "--best-metric", "f1"], "use f1_macro or f1_micro"),
        (["train", "--problem-type", "binary"], "use single_label_classification"),
        (["predict", "--onnx", "x.onnx", "--provider", "gpu", "a"], "for an NVIDIA GPU use cuda"),
    ],
)
def test_a_wrong_choice_says_what_is_probably_meant(arguments: list[str], hint: str) -> None:
    result = CliRunner().invoke(ftx, arguments)
    assert result.exit_code == 2
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert line.endswith(hint) or f": {hint}" in line
    assert "is not one of" in line


def test_every_hint_names_no_choice() -> None:
    """A hint for a value that is a choice would never be seen."""
    for command in ftx.commands.values():
        for option in command.params:
            hints: dict[str, Any] = getattr(option.type, "hints", {})
            for value in hints:
                assert value == value.lower()
                assert value not in getattr(option.type, "choices", ())
