"""Name a model that has learnt nothing: no better than giving every text the commonest label, or the median value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

__all__ = ["weakness", "weakness_of_values"]


def weakness(outcomes: Mapping[tuple[Any, Any], int]) -> str:
    """Say how a classifier is no better than a constant; empty where it is better.

    Args:
        outcomes: Number of texts by true and predicted label, each a name, or a set of names (multi-label). A true
            label of None: not known.
    """
    texts = sum(outcomes.values())
    true: Counter[Any] = Counter()
    predicted: Counter[Any] = Counter()
    for (label, given), count in outcomes.items():
        true[label] += count
        predicted[given] += count
    predicted = +predicted
    if len(predicted) == 1:
        return f"the model gives each of {texts} held-out texts the same label, {said(next(iter(predicted)))}"
    commonest, share = max(true.items(), key=lambda one: one[1])
    right = sum(count for (label, given), count in outcomes.items() if label == given)
    # An exact set of labels may be right less often than the commonest set though every single label is learnt.
    if commonest is None or not isinstance(commonest, str) or right > share:
        return ""
    return (
        f"the model is no better than always giving the commonest label, {said(commonest)}: accuracy "
        f"{right / texts:.4f}, that label's share {share / texts:.4f} of {texts} held-out texts"
    )


def weakness_of_values(true: Sequence[float] | None, predicted: Sequence[float]) -> str:
    """Say how a regression is no better than a constant; empty where it is better, or not known to be worse."""
    texts = len(predicted)
    if max(predicted) - min(predicted) <= 1e-6 * max(1.0, abs(predicted[0])):
        return f"the model gives each of {texts} held-out texts the same value, {predicted[0]:.4g}"
    if true is None:
        return ""
    error = sum(abs(one - other) for one, other in zip(true, predicted, strict=True)) / texts
    middle = median(true)
    constant = sum(abs(one - middle) for one in true) / texts
    if error < constant:
        return ""
    return (
        f"the model is no better than always giving the median, {middle:.4g}: MAE {error:.4f}, that of the median "
        f"{constant:.4f} on {texts} held-out texts"
    )


def said(label: Any) -> str:
    """Write a label, or a set of labels, as a user would read it."""
    return label if isinstance(label, str) else ", ".join(sorted(label)) or "none at all"
