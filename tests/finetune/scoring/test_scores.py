from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import sklearn.metrics

from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head
from ftx.finetune.scoring.scores import (
    MultiLabelScores,
    RegressionScores,
    SingleLabelScores,
    bootstrap_interval,
    calibration_error,
    compute_scores,
    scores_from,
)

LABELS = ["a", "b", "c"]
HEAD = Head(problem_type=SINGLE_LABEL, labels=LABELS)
CHANCE = np.random.default_rng(0)
LOGITS = CHANCE.normal(size=(500, 3)).astype(np.float32)
REFERENCES = np.where(CHANCE.random(500) < 0.7, LOGITS.argmax(axis=1), CHANCE.integers(0, 3, 500))


def test_scores_are_scikit_learns() -> None:
    found = compute_scores(LOGITS, REFERENCES, HEAD, 0, {})
    assert isinstance(found, SingleLabelScores)
    predictions = LOGITS.argmax(axis=1)
    assert found.f1_weighted == pytest.approx(sklearn.metrics.f1_score(REFERENCES, predictions, average="weighted"))
    assert found.confusion_matrix == sklearn.metrics.confusion_matrix(REFERENCES, predictions).tolist()
    report = sklearn.metrics.classification_report(REFERENCES, predictions, target_names=LABELS, output_dict=True)
    for name in LABELS:
        assert found.classes[name].precision == pytest.approx(report[name]["precision"])
        assert found.classes[name].recall == pytest.approx(report[name]["recall"])
        assert found.classes[name].support == report[name]["support"]
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    assert found.brier == pytest.approx(np.mean(((shares - np.eye(3)[REFERENCES]) ** 2).sum(axis=1)), abs=1e-6)


def test_the_interval_covers_the_accuracy_and_narrows_with_more_rows() -> None:
    right = CHANCE.random(2000) < 0.8
    low, high = bootstrap_interval(right, 1)
    assert low < right.mean() < high
    # The normal approximation: 2 x 1.96 x sqrt(p (1 - p) / n).
    assert high - low == pytest.approx(3.92 * np.sqrt(0.16 / 2000), rel=0.15)
    few_low, few_high = bootstrap_interval(right[:100], 1)
    assert few_high - few_low > 3 * (high - low)
    assert bootstrap_interval(right, 1) == (low, high)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confidence = np.full(1000, 0.9, dtype=np.float32)
    assert calibration_error(confidence, np.arange(1000) < 900) == pytest.approx(0, abs=1e-6)
    assert calibration_error(confidence, np.arange(1000) < 500) == pytest.approx(0.4, abs=1e-6)
    assert calibration_error(np.ones(4, dtype=np.float32), np.array([True, True, True, False])) == pytest.approx(0.25)


def test_a_class_without_rows_scores_nothing() -> None:
    found = compute_scores(LOGITS[:4], np.zeros(4, dtype=np.int64), HEAD, 0, {})
    assert isinstance(found, SingleLabelScores)
    assert found.classes["c"].support == 0
    assert found.classes["c"].recall == 0
    assert found.f1_weighted == pytest.approx(found.classes["a"].f1)


def test_each_label_is_scored_at_its_threshold() -> None:
    truth = (CHANCE.random((500, 3)) < 0.3).astype(np.float32)
    found = compute_scores(LOGITS, truth, Head(problem_type=MULTI_LABEL, labels=LABELS), 0, {"b": 0.9})
    assert isinstance(found, MultiLabelScores)
    shares = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    given = shares >= [0.5, 0.9, 0.5]
    report = sklearn.metrics.classification_report(truth, given, target_names=LABELS, output_dict=True, zero_division=0)
    for name in LABELS:
        assert found.classes[name].f1 == pytest.approx(report[name]["f1-score"])
        assert found.classes[name].support == report[name]["support"]
    assert found.classes["b"].threshold == 0.9
    assert found.brier == pytest.approx(np.square(shares - truth).mean())
    assert found.accuracy_interval[0] <= (given == truth).all(axis=1).mean() <= found.accuracy_interval[1]


def test_regression_scores() -> None:
    truth = CHANCE.normal(size=3000)
    found = compute_scores(
        (truth + 0.5)[:, None].astype(np.float32), truth, Head(problem_type=REGRESSION, labels=["v"]), 0, {}
    )
    assert isinstance(found, RegressionScores)
    assert found.bias == pytest.approx(0.5, abs=1e-5)
    assert found.p90_abs_error == pytest.approx(0.5, abs=1e-5)
    assert found.mae_interval == pytest.approx((0.5, 0.5), abs=1e-5)
    assert len(found.points) == 1000


@pytest.mark.parametrize(
    ("head", "references"),
    [
        (HEAD, REFERENCES),
        (Head(problem_type=MULTI_LABEL, labels=LABELS), (CHANCE.random((500, 3)) < 0.5).astype(np.int64)),
        (Head(problem_type=REGRESSION, labels=["value"]), CHANCE.normal(size=500)),
    ],
    ids=lambda value: getattr(value, "problem_type", ""),
)
def test_scores_round_trip_through_json(head: Head, references: Any) -> None:
    found = compute_scores(LOGITS[:, : len(head.labels)], references, head, 0, {})
    written = json.dumps(asdict(found))
    read = scores_from(json.loads(written), head.problem_type)
    assert type(read) is type(found)
    assert json.dumps(asdict(read)) == written
