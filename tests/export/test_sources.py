"""From any checkpoint and any text to a verified file."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ftx import Predictor
from ftx.errors import DataError, ModelError
from ftx.export import export
from ftx.export.data import read_data
from ftx.export.source import check_enough, config_head, default_output, find_source
from ftx.heldout import HeldOut, data_columns, read_held_out
from ftx.label_matching import match_labels
from tests.conftest import NEGATIVE, NOUNS, POSITIVE, build_tiny, review_rows, write_jsonl
from tests.finetune.model.hub_server import serve_hub


def test_a_plain_checkpoint_and_unlabelled_texts_make_a_verified_file(tmp_path: Path) -> None:
    import torch
    from transformers import BertForSequenceClassification

    checkpoint = build_tiny(tmp_path / "checkpoint", "single_label_classification", ["LABEL_0", "LABEL_1"])
    model = BertForSequenceClassification.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    torch.save(model.state_dict(), checkpoint / "pytorch_model.bin")
    assert "id2label" not in json.loads((checkpoint / "config.json").read_text())
    data = tmp_path / "texts.txt"
    data.write_text("".join(f"{text}\n" for text, _ in review_rows()))

    report = export(str(checkpoint), data=data, quantize="fast", labels=["no", "yes"], max_length=16)
    assert report.folder == str(checkpoint / "onnx")
    assert report.int8 and report.int8.verdict == "not enough text"
    assert not report.labelled and report.fp32.worst.accuracy is None
    for page in ("README.md", "parity.html"):
        assert "Accuracy was not measured" in (checkpoint / "onnx" / page).read_text()
    assert "accuracy   not measured" in report.to_text()
    manifest = Predictor(checkpoint / "onnx").manifest
    assert manifest.labels == ["no", "yes"] and manifest.max_length == 16


def test_texts_are_read_with_and_without_labels(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("review,stars\ngood,1.0\nbad,0.0\n")
    assert read_held_out(tmp_path / "a.csv", data_columns("review")).labels is None
    both = read_held_out(tmp_path / "a.csv", data_columns("review", "stars"))
    names = {0: "negative", 1: "positive"}
    assert match_labels(both, names, None, tmp_path).labels == ["positive", "negative"]
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": "bad"}\n')
    assert read_held_out(tmp_path / "a.jsonl", data_columns()) == HeldOut(texts=["good", "bad"])
    with pytest.raises(DataError, match="no column 'label'"):
        read_held_out(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="--label-column"):
        read_held_out(tmp_path / "a.csv", data_columns("review", "rating"))


@pytest.mark.parametrize("written", [["positive", "NEGATIVE"], ["1", "0"], ["LABEL_1", "LABEL_0"], [1.0, 0.0]])
def test_labels_fit_by_name_and_by_number(written: list[str | list[str] | float]) -> None:
    names = {0: "negative", 1: "positive"}
    matched = match_labels(HeldOut(texts=["a", "b"], labels=written), names, None, Path("a.csv"))
    assert matched.labels == ["positive", "negative"]


@pytest.mark.parametrize(
    ("written", "names"), [(["0", "1"], {0: "1", 1: "2"}), (["good", "bad"], {0: "LABEL_0", 1: "LABEL_1"})]
)
def test_labels_that_fit_in_no_way_are_listed(written: list[str | list[str] | float], names: dict[int, str]) -> None:
    with pytest.raises(DataError, match=r"has the labels .*; the model has .*--labels"):
        match_labels(HeldOut(texts=["a", "b"], labels=written), names, None, Path("a.csv"))


def test_few_texts_are_a_warning_and_very_few_an_error(caplog: pytest.LogCaptureFixture) -> None:
    different = [f"text {number}" for number in range(200)]
    check_enough(HeldOut(texts=different[:100]), Path("a.txt"), few=False)
    assert "0.929 to 1" in caplog.text
    caplog.clear()
    check_enough(HeldOut(texts=different), Path("a.txt"), few=False)
    assert not caplog.text
    with pytest.raises(DataError, match="--few"):
        check_enough(HeldOut(texts=different[:19]), Path("a.txt"), few=False)
    check_enough(HeldOut(texts=different[:19]), Path("a.txt"), few=True)
    with pytest.raises(DataError, match="100 texts, but only 1 different"):
        check_enough(HeldOut(texts=["a"] * 100), Path("a.txt"), few=False)


def test_a_model_without_a_classifier_head_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ModelError, match="no classifier head"):
        config_head(tmp_path)


@pytest.mark.parametrize("source", ["runs/reviews", "here/absent"])
def test_a_run_that_is_not_there_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=rf"no folder '{source}'.*ftx train --output {source}"):
        find_source(source)


def test_empty_texts_are_left_out_and_missing_labels_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = {0: "no", 1: "yes"}
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,no\n,no\n  ,yes\nb,yes\n")
    held_out, _ = read_data(path, tmp_path, None, names, "single_label_classification")
    assert held_out == HeldOut(texts=["a", "b"], labels=["no", "yes"])
    assert "2 of 4 texts" in caplog.text and "number 2, 3 from the top" in caplog.text
    path.write_text("text,label\na,no\nb,\nc,\n")
    with pytest.raises(DataError, match=r"2 of 3 texts have no label, number 2, 3 from the top.*needs no labels"):
        read_data(path, tmp_path, None, names, "single_label_classification")
    path.write_text('text\n" "\n')
    with pytest.raises(DataError, match="all of them empty"):
        read_data(path, tmp_path, None, names, "single_label_classification")
    path.write_text('text,label\na,"no, YES"\n')
    held_out, _ = read_data(path, tmp_path, None, names, "multi_label_classification")
    assert held_out.labels == [["no", "yes"]]


def test_a_hub_ids_export_goes_to_a_folder_of_its_name(tmp_path: Path) -> None:
    assert default_output("org/name@v2") == Path("exports/name")
    assert default_output(str(tmp_path)) == tmp_path / "onnx"
    assert default_output("x" * 300) == Path("x" * 300, "onnx"), "longer than any name on the hub: a path"


@pytest.mark.slow
def test_hub_ids_are_fetched_and_what_cannot_be_is_said(tmp_path: Path) -> None:
    checkpoint = build_tiny(tmp_path / "hub/models/org/plain", "single_label_classification", ["LABEL_0", "LABEL_1"])
    shutil.copytree(checkpoint, tmp_path / "hub/models/org/plain@v2")
    shutil.copytree(checkpoint, tmp_path / "hub/models/org/secret")
    headless = shutil.copytree(checkpoint, tmp_path / "hub/models/org/headless")
    config = json.loads((headless / "config.json").read_text())
    (headless / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text, _ in review_rows()))
    reviews = tmp_path / "hub/datasets/org/reviews"
    reviews.mkdir(parents=True)
    write_jsonl(reviews / "train.jsonl", [("not these", "LABEL_0")])
    write_jsonl(
        reviews / "validation.jsonl", [(text, f"LABEL_{row % 2}") for row, (text, _) in enumerate(review_rows())]
    )

    def run(*arguments: str) -> tuple[int, str]:
        with serve_hub(tmp_path / "hub", gated={"org/secret"}, cut=set()) as address:
            done = subprocess.run(
                [sys.executable, "-m", "ftx", *arguments],
                cwd=tmp_path,
                env={**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"},
                capture_output=True,
                text=True,
            )
        return done.returncode, done.stdout + done.stderr

    status, said = run("export", "org/plain@v2", "--data", "org/reviews", "--quantize", "fast")
    assert status == 0, said
    status, said = run("evaluate", "--onnx", "exports/plain", "--data", "org/reviews:validation")
    assert status == 0 and "96 rows" in said, said
    status, said = run("evaluate", "--onnx", "exports/plain", "--data", "org/reviews:test")
    assert status == 1 and "has no split 'test', only train, validation" in said.splitlines()[-1]
    assert Predictor(tmp_path / "exports/plain").manifest.labels == ["LABEL_0", "LABEL_1"]
    shutil.copy(reviews / "validation.jsonl", tmp_path / "labelled.jsonl")
    status, said = run(
        "distill", "org/plain", "--layers", "1", "--dataset", "labelled.jsonl", "--max-steps", "2",
        "--max-length", "16", "--unlabelled", "org/reviews", "--output", "student",
    )  # fmt: skip
    assert status == 0 and "org/reviews: 1 of 1 texts are new" in said, said
    for source, reason in (
        ("org/secret", "gated"),
        ("org/absent", "no model that the hub gives"),
        ("org/headless", "no classifier head"),
    ):
        status, said = run("export", source, "--data", "texts.txt")
        assert status == 1
        assert reason in said.splitlines()[-1] and said.splitlines()[-1].startswith("Error: ")
        assert "Traceback" not in said


def reviews(count: int, seed: int) -> list[tuple[str, int]]:
    """Draw sentences of three judgements, and whether most of them are positive."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        liked = [draw.random() < 0.5 for _ in range(3)]
        parts = [f"the {draw.choice(NOUNS)} was {draw.choice(POSITIVE if good else NEGATIVE)}" for good in liked]
        rows.append((", ".join(parts), int(sum(liked) > 1)))
    return rows


def train_plainly(folder: Path) -> None:
    """Fine-tune as many do: transformers and a loop, default label names, no word of ftx."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    build_tiny(folder, "single_label_classification", ["LABEL_0", "LABEL_1"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    rows = reviews(2000, seed=1)
    for _ in range(3):
        for start in range(0, len(rows), 32):
            some = rows[start : start + 32]
            batch = tokenizer([text for text, _ in some], padding=True, truncation=True, return_tensors="pt")
            model(**batch, labels=torch.tensor([label for _, label in some])).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    model.save_pretrained(folder)


@pytest.mark.slow
def test_a_strangers_checkpoint_and_500_texts_make_a_passing_int8_file(tmp_path: Path) -> None:
    train_plainly(tmp_path / "checkpoint")
    texts = [text for text, _ in reviews(500, seed=2)]
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in texts))
    done = subprocess.run(
        [sys.executable, "-m", "ftx", "export", "checkpoint", "--data", "texts.txt", "--quantize", "fast"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    report = json.loads((tmp_path / "checkpoint/onnx/parity.json").read_text())
    assert report["int8"]["verdict"] == "passes" and not report["labelled"]
    test = reviews(200, seed=3)
    found = Predictor(tmp_path / "checkpoint/onnx")([text for text, _ in test])
    assert sum(one.label == f"LABEL_{label}" for one, (_, label) in zip(found, test, strict=True)) > 190
