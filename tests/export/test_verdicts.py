"""What is said of a verdict: on how many texts, how sure it is, and that too little text is no proof."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftx.cli import ftx
from ftx.export import ExportReport, compare, export
from ftx.export.pages.card import write_card
from ftx.export.parity.gate import ENOUGH_TEXTS, NOT_ENOUGH
from ftx.heldout import read_held_out, write_held_out
from ftx.runtime.model_file import describe
from tests.conftest import NEGATIVE, NOUNS, POSITIVE


@pytest.fixture(scope="module")
def many_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        (f"The {noun} was {word}{end}", label)
        for noun in NOUNS
        for words, label in ((POSITIVE, "positive"), (NEGATIVE, "negative"))
        for word in words
        for end in (".", "!", "?")
    ]
    assert len(rows) // 2 >= ENOUGH_TEXTS
    path = tmp_path_factory.mktemp("many") / "data.jsonl"
    write_held_out(path, rows)
    return path


@pytest.fixture(scope="module")
def enough(tiny_run: Path, many_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportReport, Path]:
    folder = tmp_path_factory.mktemp("enough") / "onnx"
    return export(tiny_run, folder, data=many_texts, quantize="static"), folder


def test_enough_text_passes_and_says_on_how_many(enough: tuple[ExportReport, Path]) -> None:
    report, folder = enough
    assert report.int8
    assert report.int8.verdict == "passes"
    texts = report.int8.proof.worst.texts
    low, high = report.int8.proof.worst.label_agreement_interval
    interval = f"{low:.4f} to {high:.4f}"
    assert f"verdict    passes on {texts} texts" in report.to_text()
    page, card = ((folder / name).read_text() for name in ("parity.html", "README.md"))
    assert f"Yes: model_quantized.onnx passes on {texts} texts" in page
    assert f"Verdict: **passes** on {texts} texts" in card
    assert all(interval in said for said in (report.to_text(), page, card))
    for found in json.loads((folder / "parity.json").read_text())["int8"]["parity"]:
        assert found["label_agreement_interval"] == pytest.approx([low, high])


def test_accuracies_are_compared_on_the_same_texts(enough: tuple[ExportReport, Path], many_texts: Path) -> None:
    report, folder = enough
    assert report.int8 and report.fp32_on_reporting
    same = report.fp32_on_reporting
    assert same.texts == report.int8.proof.worst.texts < report.fp32.worst.texts == len(read_held_out(many_texts))
    assert same.reference_accuracy == report.int8.proof.worst.reference_accuracy
    card = (folder / "README.md").read_text()
    rows = [line.split(" | ") for line in card.splitlines() if line.startswith("| `model") and "batch" not in line]
    scored = [texts for _, texts, *_, accuracy, _, _ in (row for row in rows if len(row) == 11) if accuracy != "-"]
    assert scored
    assert set(scored) == {str(same.texts)}, "an accuracy on other texts stands beside it"


def test_on_too_little_text_nothing_says_that_it_passes(tiny_export: Path, tiny_run: Path) -> None:
    report = json.loads((tiny_export / "parity.json").read_text())
    assert report["passed"] is True, "nothing failed"
    assert report["int8"]["verdict"] == NOT_ENOUGH
    assert {one["verdict"] for one in report["search"]["candidates"] if one["kind"] == "int8"} <= {NOT_ENOUGH, "near"}
    page, card = ((tiny_export / name).read_text() for name in ("parity.html", "README.md"))
    assert "Not enough text to say: model_quantized.onnx keeps the limits on 12 texts" in page
    assert "Verdict: **not enough text** on 12 texts" in card
    arguments = ["verify", "--onnx", str(tiny_export), "--against", str(tiny_run), "--held-out-needed"]
    result = CliRunner().invoke(ftx, arguments)
    assert result.exit_code == 0, result.stderr
    assert "too few  PyTorch, batch 32: label agreement 1.0000 on 24 texts (95 % interval 0.8575" in result.stdout
    assert "needed    736 held-out texts would decide it" in result.stdout
    shown = re.sub(r"<[^>]*>", "", page.partition("<body>")[2])
    for said in (shown, card, *result.stdout.splitlines()[1:]):
        assert not re.search(r"\bpasse[sd]\b", said), said


def test_a_verdict_on_enough_text_is_given_by_verify_too(
    enough: tuple[ExportReport, Path], tiny_run: Path, many_texts: Path
) -> None:
    comparison = compare(enough[1], tiny_run, data=many_texts)
    assert comparison.verdict == "passes"
    assert comparison.certainty
    assert comparison.certainty.texts == len(read_held_out(many_texts))
    assert json.loads(json.dumps(comparison.to_dict()))["certainty"]["held_out_needed"] == 736
    fp32 = compare(enough[1] / "model.onnx", tiny_run)
    assert (fp32.verdict, fp32.certainty) == ("passes", None), "fp32 is judged by logits, on however few texts"


def test_how_many_texts_are_needed_goes_with_a_comparison(tiny_export: Path) -> None:
    result = CliRunner().invoke(ftx, ["verify", "--onnx", str(tiny_export), "--held-out-needed"])
    assert result.exit_code == 2
    assert "--held-out-needed goes with --against" in result.stderr


def test_a_model_that_gives_one_label_to_everything_is_named(
    tiny_model: Callable[[str], Path], many_texts: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    untrained = tiny_model("single_label_classification")
    model = AutoModelForSequenceClassification.from_pretrained(untrained)
    with torch.no_grad():
        model.classifier.bias += torch.tensor([0.0, 100.0])
    model.save_pretrained(tmp_path / "constant")
    AutoTokenizer.from_pretrained(untrained).save_pretrained(tmp_path / "constant")
    report = export(tmp_path / "constant", tmp_path / "onnx", data=many_texts, quantize="none")
    said = "gives each of 288 held-out texts the same label, positive"
    assert said in report.weakness
    assert f"WARNING    the model {said}" in report.to_text()
    for name in ("parity.html", "README.md", "parity.json"):
        assert said in (tmp_path / "onnx" / name).read_text()


def test_the_card_says_why_training_measured_another_accuracy(
    enough: tuple[ExportReport, Path], tmp_path: Path
) -> None:
    report, folder = enough
    manifest, _ = describe(folder / "model.onnx")
    measured = report.fp32.worst.reference_accuracy
    for accuracy, explained in ((measured, False), (0.1234, True)):
        write_card(tmp_path / "card.md", report, replace(manifest, metrics={"accuracy": accuracy, "eval_rows": 24}))
        card = (tmp_path / "card.md").read_text()
        assert ("in the precision in which it trained" in card) is explained
        assert ("Training measured 0.1234 on its own 24 held-out rows" in card) is explained
