"""Every kind of head the whole way: a table, training, export, the one file, the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ftx import Predictor
from ftx.cli import ftx
from ftx.export import compare
from ftx.export.parity.reference import Reference
from ftx.heldout import read_held_out
from ftx.manifest import read_manifest
from ftx.run_folder import find_checkpoint
from ftx.runtime import verify
from tests.conftest import NEGATIVE, NOUNS, POSITIVE

LABELS = ["funny", "good", "sad"]
# Enough for the tiny model to learn what is asked, not so much that int8 has nothing to round.
TRAINING = [
    "--epochs",
    "12",
    "--batch-size",
    "16",
    "--learning-rate",
    "5e-3",
    "--max-length",
    "32",
    "--validation",
    "0.25",
]


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(ftx, list(arguments), input=stdin)


def two_words() -> list[tuple[str, str, str]]:
    """(noun, word, other word) of 96 sentences with two judgements each."""
    words = [*POSITIVE[:3], *NEGATIVE[:3]]
    return [(noun, one, other) for noun, (one, other) in product(NOUNS, product(words, words)) if one != other][::2][
        :96
    ]


def judged(noun: str, one: str, other: str) -> list[str]:
    """The labels of a sentence: one for a good word, one for a bad word, one for some nouns."""
    return [
        *(["funny"] if noun in NOUNS[:3] else []),
        *(["good"] if {one, other} & {*POSITIVE} else []),
        *(["sad"] if {one, other} & {*NEGATIVE} else []),
    ]


@pytest.fixture
def trained(tmp_path: Path, tiny_model: Callable[[str], Path]) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Train by command line on a table, and export; the run and its metrics."""

    def train(data: Path, *options: str) -> tuple[Path, dict[str, Any]]:
        folder = tmp_path / "run"
        model = str(tiny_model("single_label_classification"))  # its head has another shape: a new one is made
        done = run("train", "--model", model, "--dataset", str(data), "--output", str(folder), *TRAINING, *options)
        assert done.exit_code == 0, done.stderr
        done = run("export", str(folder), "--quantize", "fast")
        assert done.exit_code == 0, done.output
        return folder, json.loads((folder / "metrics.json").read_text())

    return train


def prove(folder: Path, problem_type: str) -> Predictor:
    """Check what holds for every head: the one file says what PyTorch says, on full logits."""
    held_out = read_held_out(folder / "eval.jsonl")
    for name in ("model.onnx", "model_quantized.onnx"):
        carried = read_manifest(folder / "onnx" / name)
        assert carried
        assert carried[0].problem_type == problem_type
        assert verify(folder / "onnx" / name).passed
        assert compare(folder / "onnx" / name, folder).passed
    predictor = Predictor(folder / "onnx/model.onnx")
    expected = Reference(find_checkpoint(folder)).logits(held_out.texts)
    np.testing.assert_allclose(predictor.logits(held_out.texts), expected, atol=1e-4, rtol=0)
    assert "<svg" in (folder / "training.svg").read_text()
    return predictor


def test_multi_label(tmp_path: Path, trained: Callable[..., tuple[Path, dict[str, Any]]]) -> None:
    data = tmp_path / "data.jsonl"
    rows = [(f"The {noun} was {one} and {other}", judged(noun, one, other)) for noun, one, other in two_words()]
    data.write_text("".join(json.dumps({"text": text, "label": labels}) + "\n" for text, labels in rows))
    folder, metrics = trained(data, "--best-metric", "map", "--eval-steps", "10")
    assert metrics["problem_type"] == "multi_label_classification"
    assert metrics["labels"] == LABELS
    assert metrics["f1_micro"] > 0.8
    assert metrics["map"] > 0.8
    thresholds = metrics["thresholds"]
    assert set(thresholds) == set(LABELS)
    predictor = prove(folder, "multi_label_classification")
    assert predictor.manifest.thresholds == thresholds
    # The stored thresholds decide, not one half.
    held_out = read_held_out(folder / "eval.jsonl")
    for prediction in predictor(held_out.texts):
        assert prediction.labels == [name for name in LABELS if prediction.scores[name] >= thresholds[name]]
    # Indicator columns in a table say the same, to a checkpoint and to the one file.
    table = tmp_path / "table.csv"
    lines = [",".join([str(text), *(str(int(name in labels)) for name in LABELS)]) for text, labels in rows]
    table.write_text(",".join(["text", *LABELS]) + "\n" + "\n".join(lines) + "\n")
    columns = ["--data", str(table), "--label-columns", ",".join(LABELS), "--json"]
    by_torch, by_onnx = (
        json.loads(run("evaluate", *model, *columns).stdout)
        for model in (["--run", str(folder)], ["--onnx", str(folder / "onnx/model.onnx")])
    )
    assert by_torch["rows"] == by_onnx["rows"] == len(rows)
    assert by_torch["f1_micro"] == pytest.approx(by_onnx["f1_micro"])
    assert by_torch["f1_micro"] > 0.8
    assert by_torch["thresholds"] == thresholds
    done = run("predict", "--onnx", str(folder / "onnx"), "--json", "The movie was great and bad")
    assert set(json.loads(done.stdout)) - {"near_boundary"} == {"text", "labels", "scores", "margin"}


def test_regression(tmp_path: Path, trained: Callable[..., tuple[Path, dict[str, Any]]]) -> None:
    rows = [
        (f"The {noun} was {one} and {other}", 0.5 + sum(word in POSITIVE for word in (one, other)))
        for noun, one, other in two_words()
    ]
    data = tmp_path / "data.tsv"
    data.write_text("review\tstars\n" + "".join(f"{text}\t{value}\n" for text, value in rows))
    columns = ["--text-column", "review", "--label-column", "stars"]
    folder, metrics = trained(data, *columns, "--best-metric", "pearson", "--eval-steps", "10")
    assert metrics["problem_type"] == "regression"
    assert metrics["labels"] == ["stars"]
    assert metrics["pearson"] > 0.8
    assert metrics["mae"] < 0.5
    low, high = metrics["scores"]["mae_interval"]
    assert low <= metrics["mae"] <= high
    prove(folder, "regression")
    done = run("predict", "--onnx", str(folder / "onnx"), "--json", "The movie was great and good")
    answer = json.loads(done.stdout)
    assert set(answer) == {"text", "value"}
    assert answer["value"] > 1.5


def test_sentence_pairs(tmp_path: Path, trained: Callable[..., tuple[Path, dict[str, Any]]]) -> None:
    rows = [
        (f"The {noun} was {one}", f"It is {other}", "better" if other in POSITIVE else "worse")
        for noun, one, other in two_words()
    ]
    data = tmp_path / "data.csv"
    data.write_text("first,second,label\n" + "".join(",".join(row) + "\n" for row in rows))
    folder, metrics = trained(data, "--text-column", "first", "--text-pair-column", "second")
    assert metrics["accuracy"] > 0.9
    held_out = read_held_out(folder / "eval.jsonl")
    assert all(isinstance(text, tuple) for text in held_out.texts)
    predictor = prove(folder, "single_label_classification")
    assert predictor.manifest.text_pair is True
    pair = ("The movie was bad", "It is great")
    assert predictor([pair])[0].label == "better"
    with pytest.raises(TypeError, match="expected pairs of texts"):
        predictor(["The movie was bad"])

    onnx = ["--onnx", str(folder / "onnx")]
    answer = json.loads(run("predict", *onnx, "--json", *pair).stdout)
    assert (answer["text"], answer["text_pair"], answer["label"]) == (*pair, "better")
    assert run("predict", *onnx, stdin="\t".join(pair) + "\n").stdout.startswith("better\t")
    alone = run("predict", *onnx, "The movie was bad")
    assert (alone.exit_code, "an even number" in alone.stderr) == (2, True)
    windows = run("predict", *onnx, *pair, "--long-text", "window")
    assert (windows.exit_code, windows.stdout) == (1, "")
    assert "reads pairs of texts, which can be truncated but not read in windows" in windows.stderr
    assert windows.stderr.count("\n") == 1
    no_tab = run("predict", *onnx, stdin="The movie was bad\n")
    assert (no_tab.exit_code, no_tab.stderr.count("\n")) == (1, 1)
    assert "line 1: 0 tabs, expected one" in no_tab.stderr


def test_a_model_of_single_texts_refuses_pairs(tiny_export: Path) -> None:
    with pytest.raises(TypeError, match="expected one text at a time"):
        Predictor(tiny_export)([("a", "b")])
