from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from scipy.special import logit

from ftx.errors import RecipeError
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head
from ftx.finetune.recipe import BEST_METRICS
from ftx.finetune.scoring.measures import measured
from ftx.finetune.scoring.metrics import METRICS, check_best_metric, measure_of

CHANCE = np.random.default_rng(3)


def test_single_label_metrics_are_scikit_learns() -> None:
    predictions, references = np.array([0, 1, 2, 2, 1, 0]), np.array([0, 1, 1, 2, 1, 2])
    found = measure_of(Head(problem_type=SINGLE_LABEL, labels=["a", "b", "c"]))(np.eye(3)[predictions], references)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["f1_macro"] == pytest.approx(sklearn.metrics.f1_score(references, predictions, average="macro"))
    assert found["mcc"] == pytest.approx(sklearn.metrics.matthews_corrcoef(references, predictions))


def test_multi_label_metrics_are_scikit_learns() -> None:
    probabilities, truth = CHANCE.random((50, 3)), (CHANCE.random((50, 3)) < 0.4).astype(np.float32)
    head = Head(problem_type=MULTI_LABEL, labels=["a", "b", "c"])
    found = measure_of(head, {"a": 0.2, "c": 0.9})(logit(probabilities), truth)
    given = probabilities >= [0.2, 0.5, 0.9]
    assert found["f1_micro"] == pytest.approx(sklearn.metrics.f1_score(truth, given, average="micro"))
    assert found["f1_macro"] == pytest.approx(sklearn.metrics.f1_score(truth, given, average="macro"))
    assert found["map"] == pytest.approx(sklearn.metrics.average_precision_score(truth, probabilities), abs=1e-6)
    assert found["accuracy"] == pytest.approx((given == truth).all(axis=1).mean())


def test_a_label_without_rows_does_not_count_in_the_map() -> None:
    head = Head(problem_type=MULTI_LABEL, labels=["a", "b"])
    truth = np.array([[1, 0], [0, 0], [1, 0]], dtype=np.float32)
    found = measure_of(head)(np.array([[2.0, 1], [-2, 1], [3, 1]]), truth)
    assert found["map"] == 1


def test_regression_metrics_are_scipys() -> None:
    truth = CHANCE.normal(size=80)
    values = truth + CHANCE.normal(size=80)
    found = measure_of(Head(problem_type=REGRESSION, labels=["stars"]))(values[:, None], truth)
    assert found["mae"] == pytest.approx(np.abs(values - truth).mean())
    assert found["rmse"] == pytest.approx(np.sqrt(np.square(values - truth).mean()))
    assert found["pearson"] == pytest.approx(scipy.stats.pearsonr(values, truth).statistic)
    assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(values, truth).statistic)
    constant = measure_of(Head(problem_type=REGRESSION, labels=["stars"]))(np.ones((80, 1)), truth)
    assert constant["pearson"] == constant["spearman"] == 0


@pytest.mark.parametrize("spread", [1e-300, 1e-14, 1e18])
def test_correlations_of_nearly_constant_values_are_finite_without_a_warning(spread: float) -> None:
    measure = measure_of(Head(problem_type=REGRESSION, labels=["stars"]))
    for base in (0.0, 1.0):
        values = base + spread * np.arange(5.0)
        found = measure(values[:, None], values[::-1].copy())
        assert all(np.isfinite(list(found.values()))), found
        assert -1.0001 <= found["pearson"] <= 0.0001


def test_the_best_metric_must_suit_the_head() -> None:
    assert {*BEST_METRICS} == {"loss", *(name for names in METRICS.values() for name in names)}
    head = Head(problem_type=REGRESSION, labels=["stars"])
    check_best_metric("pearson", head)
    check_best_metric("", head)
    with pytest.raises(RecipeError, match="best_metric is 'accuracy', expected one of mae, rmse"):
        check_best_metric("accuracy", head)


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_the_metrics_are_the_same_without_evaluate(problem_type: str) -> None:
    head = Head(problem_type=problem_type, labels=["stars"] if problem_type == REGRESSION else ["a", "b", "c"])
    logits = CHANCE.normal(size=(60, len(head.labels))).astype(np.float32)
    targets = {
        SINGLE_LABEL: CHANCE.integers(0, 3, 60),
        MULTI_LABEL: (CHANCE.random((60, 3)) < 0.4).astype(np.float64),
        REGRESSION: CHANCE.normal(size=60),
    }[problem_type]
    found = measured(logits, targets, head, {"a": 0.3})
    assert found == pytest.approx(measure_of(head, {"a": 0.3})(logits, targets))
    assert tuple(found) == METRICS[problem_type]
