"""Pool the windows of a long text into one prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["POOLINGS", "pool"]

POOLINGS = ("mean", "max")


def pool(
    rows: NDArray[np.float32], counts: NDArray[np.int64], pooling: str, *, single_label: bool
) -> NDArray[np.float32]:
    """Pool the windows of each text.

    Args:
        rows: Probabilities (for regression, values) of each window, text after text. *Shape:* `(windows, num_labels)`.
        counts: How many windows each text has. *Shape:* `(num_texts,)`.
        pooling: `mean` or `max`.
        single_label: Whether a row must sum to 1.

    Returns:
        *Shape:* `(num_texts, num_labels)`.
    """
    starts = np.cumsum(counts) - counts
    if pooling == "mean":
        pooled = np.add.reduceat(rows, starts, axis=0) / counts[:, None].astype(np.float32)
    else:
        pooled = np.maximum.reduceat(rows, starts, axis=0)
    if single_label:
        pooled = pooled / pooled.sum(axis=1, keepdims=True)
    return np.asarray(pooled, dtype=np.float32)
