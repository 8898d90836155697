from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftx.finetune import Recipe, train
from tests.conftest import NEGATIVE, NOUNS, POSITIVE, build_tiny, tiny_recipe, write_jsonl

LAYERS = 4


def many_rows() -> list[tuple[str, str]]:
    """480 distinct sentences, of which a quarter is text enough for a verdict."""
    return [
        (f"The {noun} was {letter} {word}!", label)
        for label, words in (("positive", POSITIVE), ("negative", NEGATIVE))
        for word in words
        for noun in NOUNS
        for letter in "abcde"
    ]


@pytest.fixture(scope="session")
def teacher_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model of four layers, which has learnt its task."""
    folder = tmp_path_factory.mktemp("teacher")
    model = build_tiny(folder / "model", "single_label_classification", ["negative", "positive"], layers=LAYERS)
    data = write_jsonl(folder / "reviews.jsonl", many_rows())
    train(tiny_recipe(model, data, Recipe, epochs=3.0, learning_rate=2e-3), folder / "run")
    return folder / "run"


def targets_of(problem_type: str) -> Callable[[str, str], Any]:
    return {
        "single_label_classification": lambda text, label: label,
        "multi_label_classification": lambda text, label: ["funny"] * (label == "positive") + ["sad"] * ("a" in text),
        "regression": lambda text, label: len(text) / 8 + (label == "positive") + 0.25,
    }[problem_type]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a table of the labels of a problem type, for single texts or pairs."""

    def make(problem_type: str, *, pairs: bool = False) -> Path:
        label_of = targets_of(problem_type)
        rows = [
            {"text": text, **({"second": f"The {text[4:9]}"} if pairs else {}), "label": label_of(text, label)}
            for text, label in many_rows()
        ]
        path = tmp_path_factory.mktemp("labelled") / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return make
