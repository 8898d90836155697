"""Measure how much a smaller file changes the margins of predictions, so that those it may change can be named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.agreement import nearest
from ftx.export.parity.gate import same_predictions
from ftx.manifest import Manifest
from ftx.runtime.heads import margins, probabilities

__all__ = ["NearBoundary", "near_boundary"]

QUANTILE = 0.99


@dataclass(frozen=True, kw_only=True)
class NearBoundary:
    """Which texts a smaller file may predict otherwise than PyTorch.

    Attributes:
        margin_error: How much margins change: the 99 % quantile over the texts with the smallest ones.
        share: Share of the texts whose margin is smaller, so that their prediction may differ.
        flips: How many predictions differ on the other texts.
    """

    margin_error: float
    share: float
    flips: int


def near_boundary(
    logits: NDArray[np.float32], reference_logits: NDArray[np.float32], manifest: Manifest
) -> NearBoundary | None:
    """Compare the margins of a file's predictions with PyTorch's; None for regression, which has none.

    A prediction differs if its margin changes by more than there is of it. How much it changes is taken from texts with
    small margins, where a change of the logits moves probabilities most.

    Args:
        logits: The file's. *Shape:* `(num_texts, num_labels)`.
        reference_logits: PyTorch's, likewise.
        manifest: The head and the labels.
    """
    if manifest.problem_type == "regression":
        return None
    found, expected = (probabilities(one, manifest.problem_type) for one in (logits, reference_logits))
    margin = margins(found, manifest)
    if manifest.problem_type == "multi_label_classification" or found.shape[1] < 2:
        errors = np.abs(found - expected).max(axis=1)
    else:
        rows, best = np.arange(len(found)), found.argmax(axis=1)
        others = expected.copy()
        others[rows, best] = -np.inf
        errors = np.abs(margin - (expected[rows, best] - others.max(axis=1)))
    error = float(np.quantile(errors[nearest(margin)], QUANTILE))
    far = margin >= error
    return NearBoundary(
        margin_error=error,
        share=float((~far).mean()),
        flips=int((far & ~same_predictions(logits, reference_logits, manifest)).sum()),
    )
