"""Tune the thresholds of a multi-label classifier on held-out rows."""

from __future__ import annotations

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray

__all__ = ["tune_thresholds"]

DEFAULT = 0.5


def tune_thresholds(
    probabilities: NDArray[np.floating], references: NDArray[np.floating], labels: list[str]
) -> dict[str, float]:
    """Find the threshold of the best F1 for each label (Lipton et al., 2014); among ties, the one closest to 0.5.

    Args:
        probabilities: *Shape:* `(num_rows, num_labels)`.
        references: 1 where a row has the label, else 0. *Shape:* `(num_rows, num_labels)`.
        labels: Label names by column.

    Returns:
        The thresholds by label name. Each lies half-way between two observed probabilities, so that rounding does not
        change a prediction. 0.5 where no row has the label, or all have it.
    """
    return {name: best_threshold(probabilities[:, n], references[:, n]) for n, name in enumerate(labels)}


def best_threshold(probabilities: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Find one label's threshold. *Shape of both:* `(num_rows,)`."""
    if len(set(truth.tolist())) < 2:
        return DEFAULT
    precision, recall, seen = sklearn.metrics.precision_recall_curve(truth, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    below = np.concatenate([[0.0], seen[:-1]])
    between = (seen + below) / 2
    best = np.flatnonzero(f1[:-1] >= f1[:-1].max() - 1e-9)  # the last point of the curve has no threshold
    return float(min(between[best], key=lambda threshold: abs(threshold - DEFAULT)))
