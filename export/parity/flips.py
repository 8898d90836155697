"""List the texts whose prediction differs from PyTorch's, for whoever decides whether that matters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.gate import same_predictions
from ftx.export.parity.reference_set import ReferenceSet
from ftx.runtime import Prediction
from ftx.runtime.heads import decode
from ftx.text import Text

__all__ = ["Flip", "find_flips"]

MAX_LISTED = 200


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A held-out text whose prediction differs from PyTorch's.

    Attributes:
        text: The text, or the pair.
        label: Its true label; None: not known.
        expected: PyTorch's prediction.
        found: The file's prediction.
        reference_scores: PyTorch's probabilities by label; empty for regression.
        scores: The file's.
    """

    text: Text
    label: str | None
    expected: str
    found: str
    reference_scores: dict[str, float]
    scores: dict[str, float]


def find_flips(logits: NDArray[np.float32], reference: ReferenceSet) -> list[Flip]:
    """List the first 200 texts with another prediction. *Shape of the logits:* `(len(reference), num_labels)`."""
    held_out, manifest = reference.held_out, reference.manifest
    rows = np.flatnonzero(~same_predictions(logits, reference.logits, manifest))[:MAX_LISTED]
    texts = [held_out.texts[row] for row in rows]
    both = zip(decode(texts, reference.logits[rows], manifest), decode(texts, logits[rows], manifest), strict=True)
    return [
        Flip(
            text=found.text,
            label=None if held_out.labels is None else str(held_out.labels[row]),
            expected=said(expected),
            found=said(found),
            reference_scores=expected.scores,
            scores=found.scores,
        )
        for row, (expected, found) in zip(rows, both, strict=True)
    ]


def said(prediction: Prediction) -> str:
    """Write a prediction as a user would read it."""
    if prediction.value is not None:
        return f"{prediction.value:.4f}"
    return prediction.label or ", ".join(prediction.labels or []) or "-"
