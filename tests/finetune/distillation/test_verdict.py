from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from ftx.finetune.distillation.verdict import agreement, loss_interval, predicted, verdict, weighed
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head
from ftx.paired import texts_to_decide

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


def test_the_interval_of_a_lost_accuracy_is_that_of_paired_shares() -> None:
    """60 texts lost and 30 won of 1,000: 3 points, with a standard error of sqrt(90 - 0.9) / 10 points."""
    truth = np.zeros(1000, dtype=int)
    ours, theirs = truth.copy(), truth.copy()
    ours[:60], theirs[60:90] = 1, 1
    low, high = loss_interval(ours, theirs, truth, SINGLE, seed=1)
    error = np.sqrt(90 - 0.9) / 10
    assert low == pytest.approx(3 - 1.96 * error, abs=0.15)
    assert high == pytest.approx(3 + 1.96 * error, abs=0.15)
    # Two models that are right on the same texts may still differ on others.
    low, high = loss_interval(theirs, theirs, truth, SINGLE, seed=1)
    assert low == -high < 0


def test_the_interval_of_another_measure_is_that_of_a_bootstrap() -> None:
    """Of independent errors, Pearson's correlation r has a standard error of (1 - r^2) / sqrt(n)."""
    true = CHANCE.normal(size=2000)
    values = true + CHANCE.normal(size=2000)
    low, high = loss_interval(values, true, true, VALUES, seed=1)
    error = 100 * (1 - 0.5) / np.sqrt(2000)
    lost = 100 * (1 - np.corrcoef(values, true)[0, 1])
    assert (low, high) == pytest.approx((lost - 1.96 * error, lost + 1.96 * error), abs=0.4)


@pytest.mark.parametrize("texts", [120, 1200])
def test_the_interval_of_a_lost_f1_does_not_collapse_where_both_predict_the_same(texts: int) -> None:
    truth = np.tile([[1, 0, 0], [0, 1, 0], [1, 1, 0]], (texts // 3, 1))
    low, high = loss_interval(truth.astype(float), truth.astype(float), truth, MULTI, seed=1)
    # A label found by one model alone, of two thirds of the texts that have it, and by chance in both labels.
    error = 100 * (1 / (texts * 2 / 3)) / 2 / 3 * np.sqrt(2)
    assert low == pytest.approx(-high, abs=0.2 * high)
    assert high == pytest.approx(1.96 * error, rel=0.5)
    assert verdict(0.0, (low, high), 1.0, texts) == "passes"


def test_the_interval_of_a_lost_f1_holds_what_is_lost_on_all_text() -> None:
    """The student misses one label in 100, the teacher none: half a point is lost, on 120 texts often nothing."""
    missed, held = 0.01, 0
    lost = 100 * (1 - 2 * (1 - missed) / (2 - missed))
    for seed in range(100):
        chance = np.random.default_rng(seed)
        truth = (chance.random((120, 3)) < 0.3).astype(int)
        ours = truth * (chance.random(truth.shape) >= missed)
        low, high = loss_interval(ours, truth.astype(float), truth, MULTI, seed=1)
        held += low <= lost <= high
    assert held >= 95  # of the texts alone two thirds: where nothing is lost on them, theirs is 0 to 0


def test_a_near_verdict_says_on_how_much_text_the_same_loss_passes() -> None:
    """30 of 1,000 texts lost and 28 won are 0.2 points, sure to be less than 1 on four times as many."""
    for scale, passes in ((1, False), (4, True)):
        truth = np.zeros(1000 * scale, dtype=int)
        ours, theirs = truth.copy(), truth.copy()
        ours[: 30 * scale], theirs[30 * scale : 58 * scale] = 1, 1
        low, high = loss_interval(ours, theirs, truth, SINGLE, seed=1)
        needed = texts_to_decide(0.2, high, 1.0, len(truth))
        assert (verdict(0.2, (low, high), 1.0, len(truth)) == "passes") is passes
        assert needed is not None and 3000 < needed < 4000
    assert texts_to_decide(1.0, 2.0, 1.0, 1000) is None
    assert texts_to_decide(0.9999, 2.0, 1.0, 1000) is None


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
