"""Compare two models on the same texts: the interval of the accuracy that one loses, and the texts that decide."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["paired_interval", "texts_to_decide"]

Interval = tuple[float, float]

Z_95 = 1.959964  # the normal distribution's 97.5 % quantile
MOST_TEXTS = 10_000_000  # whoever would need more will not collect them


def paired_interval(right: NDArray[np.bool_], reference_right: NDArray[np.bool_]) -> Interval:
    """Compute the 95 % interval of the accuracy lost, from both sides' results on the same texts.

    Wald's interval for paired proportions with half a text added to each cell of the table (Agresti and Min 2005,
    "Simple improved confidence intervals for comparing matched proportions"). It does not collapse where the two are
    right on the same texts.
    """
    lost = float((reference_right & ~right).sum()) + 0.5
    won = float((right & ~reference_right).sum()) + 0.5
    texts = len(right) + 2
    mean = (lost - won) / texts
    width = Z_95 * float(np.sqrt(lost + won - (lost - won) ** 2 / texts)) / texts
    return mean - width, mean + width


def texts_to_decide(loss: float, high: float, limit: float, texts: int) -> int | None:
    """Estimate on how many texts the interval of a loss ends at a limit, if as much is lost on them.

    The width of an interval falls with the square root of the number of texts.

    Args:
        loss: What is lost on `texts`.
        high: The upper end of its interval.
        limit: Where the interval is to end.
        texts: How many there are.

    Returns:
        None where the loss is so near the limit that it would take more than ten million texts, or beyond it.
    """
    if not loss < limit:
        return None
    needed = texts * ((high - loss) / (limit - loss)) ** 2
    return math.ceil(needed) if needed <= MOST_TEXTS else None
