"""A student beside its teacher."""

from __future__ import annotations

import csv
import io
import json
import shutil
from html import unescape
from pathlib import Path

import pytest

import ftx
from ftx.bench import BenchReport, bench
from ftx.bench.engines.choosing import PEERS, choose_engines
from ftx.bench.engines.teacher import find_teacher, with_thresholds
from ftx.manifest import Manifest
from tests.schemas import FOLDER

FILE, PYTORCH = "teacher's ftx int8", "teacher's PyTorch eager"


@pytest.fixture(scope="module")
def teacher(tiny_run: Path, tiny_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its export."""
    run = tmp_path_factory.mktemp("teacher") / "run"
    shutil.copytree(tiny_run, run)
    shutil.copytree(tiny_export, run / "onnx")
    return run


@pytest.fixture(scope="module")
def student(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one layer, exported without int8."""
    run = tmp_path_factory.mktemp("student") / "run"
    ftx.distill(teacher, layers=1, candidate_steps=0, epochs=2.0, output=run)
    ftx.export(run, quantize="none")
    return run


def titles(student: Path, *names: str) -> list[str]:
    checkpoint = student / "checkpoint"
    return [kind.title for kind in choose_engines(names, student / "onnx/model.onnx", find_teacher(checkpoint))]


def test_a_student_s_teacher_is_among_the_engines(student: Path, teacher: Path) -> None:
    assert find_teacher(student / "checkpoint") == teacher / "checkpoint"
    assert find_teacher(teacher / "checkpoint") is None
    whole = ["ftx fp32 (model.onnx)", FILE, PYTORCH, "PyTorch eager"]
    assert titles(student) == titles(student, "ftx", "teacher") == whole
    assert titles(student, "ftx") == [whole[0], whole[-1]]
    assert titles(student, "all")[-3:] == whole[-3:]
    assert len(titles(student, "all")) == len(PEERS) + 3


def test_a_teacher_that_is_gone_or_another_model_now_is_left_out(
    student: Path, teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="ftx")
    ours, theirs = (shutil.copytree(run, tmp_path / name) for run, name in ((student, "student"), (teacher, "teacher")))
    recipe = ours / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(str(teacher), str(theirs)))
    shutil.rmtree(theirs / "onnx")
    assert titles(ours)[-2:] == [PYTORCH, "PyTorch eager"]
    assert f"make one with ftx export {theirs}" in caplog.text
    config = theirs / "checkpoint/config.json"
    config.write_text(config.read_text().replace("positive", "good"))
    assert find_teacher(ours / "checkpoint") is None
    assert "is left out: it has other labels now" in caplog.text
    shutil.rmtree(theirs)
    assert titles(ours) == ["ftx fp32 (model.onnx)", "PyTorch eager"]
    assert "is left out: it is not there" in caplog.text


def test_a_multi_label_teacher_has_thresholds_of_its_own(tmp_path: Path) -> None:
    manifest = Manifest(
        id2label={0: "A", 1: "B"}, problem_type="multi_label_classification", max_length=8, input_names=(),
        thresholds={"A": 0.1},
    )  # fmt: skip
    config = {"id2label": {"0": "a", "1": "b"}, "thresholds": {"a": 0.7}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert with_thresholds(manifest, tmp_path).thresholds == {"A": 0.7}
    (tmp_path / "config.json").write_text("{}")
    assert with_thresholds(manifest, tmp_path).thresholds == {}


@pytest.fixture(scope="module")
def report(student: Path) -> BenchReport:
    return bench(student / "onnx", student, texts=16, rounds=2, threads=1, quick=True)


@pytest.mark.slow
def test_every_form_of_the_report_says_how_much_faster_the_student_is(
    report: BenchReport, student: Path, teacher: Path
) -> None:
    ours, file, pytorch, own = report.engines
    assert [one.name for one in report.engines] == ["ftx fp32 (model.onnx)", FILE, PYTORCH, "PyTorch eager"]
    assert list(report.speedup_over_teacher) == [FILE, PYTORCH]
    assert report.speedup_over_teacher[FILE][FILE] == {"batch_1": 1.0, "batch_32": 1.0}
    rows = {row["engine"]: row for row in csv.DictReader(io.StringIO(report.to_csv()))}
    forms = (report.to_markdown(), unescape(report.to_html()))
    for name, column in ((FILE, "speedup_over_teacher_file"), (PYTORCH, "speedup_over_teacher")):
        factor = report.speedup_over_teacher[name][ours.name]["batch_32"]
        low, high = report.speedup_over_teacher_interval[name][ours.name]["batch_32"]
        assert low <= factor <= high
        assert rows[ours.name][column] == str(factor)
        assert all(f"{factor:.2f} times as many as the {name} ({low:.2f} to {high:.2f})" in form for form in forms)
        assert all(f"{factor:.2f} ({low:.2f} to {high:.2f})" in form.replace(report.verdict, "") for form in forms)
    # The ratios are those of the same rounds.
    samples = [one.samples.batch_sec for one in (ours, file)]
    ratios = sorted(theirs / its for its, theirs in zip(*samples, strict=True))
    assert report.speedup_over_teacher[FILE][ours.name]["batch_32"] == pytest.approx(sum(ratios) / 2)
    assert pytorch.accuracy == ftx.evaluate(run=teacher).metrics["accuracy"]
    assert own.accuracy == ftx.evaluate(run=student).metrics["accuracy"]
    assert all(f"{one.accuracy:.4f} for the {one.name}" in report.verdict for one in (file, pytorch))
    # Each is compared with PyTorch of its own weights.
    assert pytorch.label_agreement == own.label_agreement == 1
    assert pytorch.max_abs_prob_diff == own.max_abs_prob_diff == 0
    assert 0 < file.max_abs_prob_diff < 0.1
    assert file.size_bytes == (teacher / "onnx/model_quantized.onnx").stat().st_size
    assert all("compared with the teacher's own PyTorch" in form for form in forms)
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FOLDER / "bench.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(report.to_dict())))
