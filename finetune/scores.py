"""What stands behind an accuracy: its interval, each class by itself, who is taken for whom, and calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray
from scipy.special import softmax

__all__ = ["ClassScores", "Scores", "score"]

# Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, use 15 bins.
CALIBRATION_BINS = 15
BOOTSTRAP_SAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class by itself.

    Attributes:
        precision: Share of the rows given this label that have it; 0 where none is given it.
        recall: Share of the rows with this label that are given it; 0 where there is none.
        f1: Harmonic mean of the two.
        support: Rows with this label.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How a single-label classifier does on labelled rows.

    Attributes:
        accuracy_interval: 95 % bootstrap interval of the accuracy: 2.5th and 97.5th percentile of 1,000 samples of the
            rows, drawn with replacement (Efron, 1979).
        f1_weighted: F1 weighted by support.
        expected_calibration_error: Mean |accuracy - confidence| over 15 equal bins of confidence, weighted by rows.
        brier: Mean over the rows of the squared distance between probabilities and truth (Brier, 1950); 0 to 2.
        classes: Each class by itself.
        confusion_matrix: Rows by true label (first index) and given label (second).
    """

    accuracy_interval: tuple[float, float]
    f1_weighted: float
    expected_calibration_error: float
    brier: float
    classes: dict[str, ClassScores]
    confusion_matrix: list[list[int]]


def score(logits: NDArray[np.float32], references: NDArray[np.int64], labels: list[str], seed: int) -> Scores:
    """Score logits.

    Args:
        logits: *Shape:* `(num_rows, num_labels)`.
        references: True label numbers. *Shape:* `(num_rows,)`.
        labels: Label names by number.
        seed: Of the bootstrap.
    """
    numbers = list(range(len(labels)))
    rows = softmax(logits.astype(np.float64), axis=1)
    predictions = logits.argmax(axis=1)
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        references, predictions, labels=numbers, zero_division=0
    )
    right = predictions == references
    return Scores(
        accuracy_interval=bootstrap_interval(right, seed),
        f1_weighted=float(np.average(f1, weights=support)),
        expected_calibration_error=calibration_error(rows.max(axis=1), right),
        brier=float(np.square(rows - np.eye(len(labels))[references]).sum(axis=1).mean()),
        classes={
            name: ClassScores(
                precision=float(precision[n]), recall=float(recall[n]), f1=float(f1[n]), support=int(support[n])
            )
            for n, name in enumerate(labels)
        },
        confusion_matrix=sklearn.metrics.confusion_matrix(references, predictions, labels=numbers).tolist(),
    )


def bootstrap_interval(right: NDArray[np.bool_], seed: int) -> tuple[float, float]:
    """Give the 95 % bootstrap interval of a share; a sample's count of right rows is binomial."""
    draws = np.random.default_rng(seed).binomial(len(right), right.mean(), size=BOOTSTRAP_SAMPLES) / len(right)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Give the expected calibration error. *Shape of both:* `(num_rows,)`."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(float(right[bins == b].mean() - confidence[bins == b].mean())) * (bins == b).mean() for b in set(bins)]
    return float(sum(gaps))
