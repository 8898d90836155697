"""List the texts that get another answer than from PyTorch, for whoever must decide whether that matters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.gate import same
from ftx.heldout import HeldOut
from ftx.manifest import Manifest
from ftx.runtime import Prediction
from ftx.runtime.heads import decode
from ftx.text import Text

__all__ = ["Flip", "find_flips"]

MAX_LISTED = 200


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A held-out text that gets another answer than from PyTorch.

    Attributes:
        text: The text, or the pair.
        label: What it is labelled with.
        expected: What PyTorch says.
        found: What the file says.
        reference_scores: PyTorch's probabilities by label; empty for regression.
        scores: The file's.
    """

    text: Text
    label: str
    expected: str
    found: str
    reference_scores: dict[str, float]
    scores: dict[str, float]


def find_flips(
    held_out: HeldOut, reference_logits: NDArray[np.float32], logits: NDArray[np.float32], manifest: Manifest
) -> list[Flip]:
    """List the first 200 texts with another answer. *Shape of the logits:* `(len(held_out), num_labels)`."""
    rows = np.flatnonzero(~same(logits, reference_logits, manifest))[:MAX_LISTED]
    texts = [held_out.texts[row] for row in rows]
    both = zip(decode(texts, reference_logits[rows], manifest), decode(texts, logits[rows], manifest), strict=True)
    return [
        Flip(
            text=found.text,
            label=str(held_out.labels[row]),
            expected=said(expected),
            found=said(found),
            reference_scores=expected.scores,
            scores=found.scores,
        )
        for row, (expected, found) in zip(rows, both, strict=True)
    ]


def said(prediction: Prediction) -> str:
    """Write an answer as a user would read it."""
    if prediction.value is not None:
        return f"{prediction.value:.4f}"
    return prediction.label or ", ".join(prediction.labels or []) or "-"
