from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ftx.finetune.report import TrainingReport
from ftx.finetune.scoring.scores import RegressionScores, SingleLabelScores


@pytest.fixture
def report(tiny_run: Path) -> TrainingReport:
    return TrainingReport.from_dict(json.loads((tiny_run / "metrics.json").read_text()))


def test_a_report_is_restored_from_its_file(report: TrainingReport, tiny_run: Path) -> None:
    values = json.loads((tiny_run / "metrics.json").read_text())
    assert json.loads(json.dumps(report.to_dict())) == values
    assert values["weakness"] == ""
    assert "weakness" not in report.metrics


def test_a_model_that_has_learnt_nothing_is_named(report: TrainingReport) -> None:
    scores = report.scores
    assert isinstance(scores, SingleLabelScores)
    for matrix, said in (
        ([[0, 5], [0, 19]], "gives each of 24 held-out texts the same label, positive"),
        ([[4, 1], [9, 10]], "no better than always giving the commonest label, positive: accuracy 0.5833"),
        ([[4, 1], [1, 18]], ""),
    ):
        found = replace(report, scores=replace(scores, confusion_matrix=matrix)).weakness
        assert said in found
        assert bool(found) == bool(said)
    constant = RegressionScores(mae_interval=(0, 1), bias=0, p90_abs_error=1, points=[(1.0, 2.0), (3.0, 2.0)])
    assert "the same value, 2" in replace(report, scores=constant).weakness
