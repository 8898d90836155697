"""Estimate agreement from margins: how often labels would flip on much more text like this.

Counting flips is a coarse measure: of 600 texts two or six may flip by chance. A flip needs an error larger than the
text's margin, so that every text's margin and every text's error tell something.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity import same
from ftx.manifest import Manifest
from ftx.runtime.heads import DEFAULT_THRESHOLD

__all__ = ["expected_agreement"]

# Errors are taken from the texts with the smallest margins, where they are largest and where they matter.
NEAREST_SHARE, MIN_NEAREST = 0.25, 50


def expected_agreement(logits: NDArray[np.float32], reference_logits: NDArray[np.float32], manifest: Manifest) -> float:
    """Estimate the share of texts that get the same answer: the mean over texts i of P(error > -margin_i).

    The probability is the share of the errors, each with both signs, of the quarter of the texts with the smallest
    margins. For regression, which has no margins, the share is counted.

    Args:
        logits: The file's. *Shape:* `(num_texts, num_labels)`.
        reference_logits: PyTorch's, of the same shape.
        manifest: The head.
    """
    if manifest.problem_type == "regression":
        return float(same(logits, reference_logits, manifest).mean())
    if manifest.problem_type == "multi_label_classification":
        given = np.array([manifest.thresholds.get(name, DEFAULT_THRESHOLD) for name in manifest.labels])
        given = np.clip(given, 1e-6, 1 - 1e-6)
        distance = reference_logits - np.log(given / (1 - given))
        sides = np.sign(distance)
        kept = [stays(np.abs(distance[:, c]), ((logits - reference_logits) * sides)[:, c]) for c in range(len(given))]
        return float(np.prod(kept, axis=0).mean())
    if logits.shape[1] < 2:
        return 1.0
    rows = np.arange(len(logits))
    best, second = np.argsort(reference_logits, axis=1)[:, :-3:-1].T
    margin = reference_logits[rows, best] - reference_logits[rows, second]
    return float(stays(margin, logits[rows, best] - logits[rows, second] - margin).mean())


def stays(margin: NDArray[np.float32], error: NDArray[np.float32]) -> NDArray[np.float64]:
    """Estimate each text's probability to stay on its side. *Shape of each:* `(num_texts,)`."""
    count = max(MIN_NEAREST, int(len(margin) * NEAREST_SHARE))
    near = error[np.argsort(margin, kind="stable")[:count]]
    both = np.sort(np.concatenate([near, -near]))
    return np.asarray(1 - np.searchsorted(both, -margin) / len(both))
