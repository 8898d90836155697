from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from ftx.finetune.distillation.verdict import agreement, loss_interval, predicted, verdict, weighed
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head

CHANCE = np.random.default_rng(5)
SINGLE = Head(problem_type=SINGLE_LABEL, labels=["a", "b"])
MULTI = Head(problem_type=MULTI_LABEL, labels=["a", "b", "c"])
VALUES = Head(problem_type=REGRESSION, labels=["stars"])


def sample(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each row is drawn, and the rows that this makes."""
    drawn = CHANCE.integers(rows, size=rows)
    return np.bincount(drawn, minlength=rows).astype(float)[None], drawn


def test_the_measures_of_a_sample_are_scikit_learns_and_scipys() -> None:
    counts, drawn = sample(60)
    truth, given = CHANCE.integers(2, size=(60, 3)), CHANCE.integers(2, size=(60, 3)).astype(float)
    truth[:, 2] = given[:, 2] = 0  # a label that no row has
    expected = sklearn.metrics.f1_score(truth[drawn], given[drawn].astype(int), average="macro", zero_division=0)
    assert weighed(given, truth, counts, MULTI)[0] == pytest.approx(expected)
    values, true = 1000 + CHANCE.normal(size=60), CHANCE.normal(size=60)
    expected = scipy.stats.pearsonr(true[drawn], values[drawn]).statistic
    assert weighed(values, true, counts, VALUES)[0] == pytest.approx(expected)
    assert weighed(np.ones(60), true, counts, VALUES)[0] == 0
    expected = (truth[drawn, 0] == given[drawn, 0]).mean()
    assert weighed(given[:, 0], truth[:, 0], counts, SINGLE)[0] == pytest.approx(expected)


def test_the_interval_of_a_lost_accuracy_is_that_of_paired_shares() -> None:
    """60 texts lost and 30 won of 1,000: 3 points, with a standard error of sqrt(90 - 0.9) / 10 points."""
    truth = np.zeros(1000, dtype=int)
    ours, theirs = truth.copy(), truth.copy()
    ours[:60], theirs[60:90] = 1, 1
    low, high = loss_interval(ours, theirs, truth, SINGLE, seed=1)
    error = np.sqrt(90 - 0.9) / 10
    assert low == pytest.approx(3 - 1.96 * error, abs=0.15)
    assert high == pytest.approx(3 + 1.96 * error, abs=0.15)
    assert loss_interval(theirs, theirs, truth, SINGLE, seed=1) == (0, 0)


@pytest.mark.parametrize(
    ("loss", "interval", "texts", "expected"),
    [
        (0.2, (-0.5, 0.9), 1000, "passes"),
        (1.0, (1.0, 1.0), 1000, "passes"),
        (0.2, (-0.8, 1.2), 1000, "near"),
        (-3.0, (-9.0, 3.0), 100, "near"),
        (1.1, (-0.5, 2.7), 1000, "fails"),
        (float("nan"), (0.0, 0.0), 1000, "fails"),
        (9.0, (5.0, 13.0), 99, "not enough text"),
    ],
)
def test_the_verdict(loss: float, interval: tuple[float, float], texts: int, expected: str) -> None:
    assert verdict(loss, interval, 1.0, texts) == expected


def test_agreement_is_with_the_teacher() -> None:
    assert agreement(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), SINGLE) == 0.75
    logits = np.array([[2.0, -2.0, 0.1], [-2.0, 2.0, 0.1]], dtype=np.float32)
    ours, theirs = predicted(logits, MULTI, {"c": 0.6}), predicted(logits, MULTI, {"c": 0.5})
    assert ours.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert agreement(ours, theirs, MULTI) == 0
    values = np.array([0.0, 1.0, 2.0, 3.0])
    assert agreement(values + np.array([0.0, 0.1, 0.2, -0.3]), values, VALUES) == 0.5
