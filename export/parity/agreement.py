"""Estimate label agreement on much more text like this, from margins.

Counting flips is a coarse measure: of 600 texts two or six may flip by chance. A flip needs an error larger than the
text's margin, so the margins and errors of all texts carry information.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.gate import same_predictions
from ftx.manifest import Manifest
from ftx.runtime.heads import DEFAULT_THRESHOLD

__all__ = ["agreement_beside", "estimate_agreement", "nearest"]

# Errors are taken from the texts with the smallest margins, since they may depend on the margin and matter most there:
# of n texts the 0.29 n^(4/5) smallest, 50 of 630 (the rate at which a nearest-neighbour window shrinks to balance bias
# and variance; Stone 1977, "Consistent nonparametric regression").
NEAREST, RATE, MIN_NEAREST = 0.29, 0.8, 50
# If so many flips or more have a smaller probability than this under the estimate, the count is used instead.
IMPLAUSIBLE = 0.05
# Texts at a time, to bound memory: texts x errors x labels floats.
CHUNK = 32


def estimate_agreement(logits: NDArray[np.float32], reference_logits: NDArray[np.float32], manifest: Manifest) -> float:
    """Estimate the share of texts that keep their label.

    Each text is combined with the errors of others: the logit changes of the texts with the smallest margins, each
    with both signs, and with the labels in the order of their logits, so that the error of a text's best label is
    applied to the best label of another, that of its second to the second. The estimate is the share of combinations in
    which the text keeps its label; any other label may overtake it. This assumes that errors are otherwise independent
    of the text. Where the counted flips show that they are not (a Poisson tail below 5 %), the counted share is given
    instead; likewise for regression, which has no margins.

    Args:
        logits: The file's. *Shape:* `(num_texts, num_labels)`.
        reference_logits: PyTorch's, of the same shape.
        manifest: The head and the labels.

    Returns:
        A share from 0 to 1; 0 if a logit is not finite.
    """
    if not np.isfinite(logits).all():
        return 0.0
    kept = same_predictions(logits, reference_logits, manifest)
    counted = float(kept.mean())
    if manifest.problem_type == "regression":
        return counted
    estimated = agreement_beside(logits, reference_logits, manifest, reference_logits)
    flips = int((~kept).sum())
    if flips and poisson_tail(flips, len(kept) * (1 - estimated)) < IMPLAUSIBLE:
        return min(counted, estimated)
    return estimated


def agreement_beside(
    logits: NDArray[np.float32],
    reference_logits: NDArray[np.float32],
    manifest: Manifest,
    elsewhere: NDArray[np.float32],
) -> float:
    """Estimate the share of other texts that would keep their label, were the errors on them like those on these.

    Args:
        logits: The file's. *Shape:* `(num_texts, num_labels)`.
        reference_logits: PyTorch's, of the same shape.
        manifest: The head and the labels, not those of regression.
        elsewhere: PyTorch's logits of the other texts. *Shape:* `(num_other_texts, num_labels)`.
    """
    if manifest.problem_type == "multi_label_classification":
        return several_labels(logits, reference_logits, manifest, elsewhere)
    return one_label(logits, reference_logits, elsewhere)


def one_label(
    logits: NDArray[np.float32], reference_logits: NDArray[np.float32], elsewhere: NDArray[np.float32]
) -> float:
    """Estimate for a single label: the largest logit must stay the largest of all."""
    if logits.shape[1] < 2:
        return 1.0
    order, own_gaps = ranked(reference_logits)
    _, gaps = ranked(elsewhere)
    near = nearest(own_gaps[:, 0])
    errors = np.take_along_axis(logits - reference_logits, order, axis=1)[near]
    gained = errors[:, 1:] - errors[:, :1]
    gained = np.concatenate([gained, -gained])
    within_reach = gaps[gaps[:, 0] < gained.max()]
    flips = 0
    for start in range(0, len(within_reach), CHUNK):
        flips += int((gained > within_reach[start : start + CHUNK, None, :]).any(axis=2).sum())
    return 1 - flips / (len(gaps) * len(gained))


def ranked(logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Order the labels of each text by their logits, and give how far the others lie below the best.

    Returns:
        The labels' columns, the best first, *shape:* `(num_texts, num_labels)`, and the gaps of all but the first.
    """
    order = np.argsort(-logits, axis=1, kind="stable")
    ordered = np.take_along_axis(logits, order, axis=1)
    return order, ordered[:, :1] - ordered[:, 1:]


def several_labels(
    logits: NDArray[np.float32],
    reference_logits: NDArray[np.float32],
    manifest: Manifest,
    elsewhere: NDArray[np.float32],
) -> float:
    """Estimate for sets of labels: each logit must stay on its side of its threshold, independently of the others."""
    given = np.array([manifest.thresholds.get(name, DEFAULT_THRESHOLD) for name in manifest.labels])
    given = np.clip(given, 1e-6, 1 - 1e-6)
    limits = np.log(given / (1 - given))
    distance, others = reference_logits - limits, np.abs(elsewhere - limits)
    errors = (logits - reference_logits) * np.sign(distance)
    kept = [
        stays_on_its_side(np.abs(distance[:, column]), errors[:, column], others[:, column])
        for column in range(len(given))
    ]
    return float(np.prod(kept, axis=0).mean())


def stays_on_its_side(
    margin: NDArray[np.float32], error: NDArray[np.float32], others: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Estimate the probability of staying on its side of the threshold, from the errors of some texts.

    Args:
        margin: Of the texts with the errors. *Shape:* `(num_texts,)`.
        error: Likewise.
        others: The margins of the texts to estimate for. *Shape:* `(num_other_texts,)`.
    """
    near = error[nearest(margin)]
    both = np.sort(np.concatenate([near, -near]))
    return np.asarray(1 - np.searchsorted(both, -others) / len(both))


def nearest(margin: NDArray[np.float32]) -> NDArray[np.int64]:
    """Give the rows with the smallest margins."""
    return np.argsort(margin, kind="stable")[: max(MIN_NEAREST, int(NEAREST * len(margin) ** RATE))]


def poisson_tail(count: int, mean: float) -> float:
    """Compute the probability of at least `count` events where `mean` are expected."""
    below = sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count)) if mean > 0 else 1.0
    return max(0.0, 1 - below)
