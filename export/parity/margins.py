"""Measure how much a smaller file changes the margins of predictions, so that those it may change can be named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.agreement import nearest
from ftx.export.parity.gate import same_predictions
from ftx.export.parity.intervals import Interval, agreement_interval
from ftx.manifest import Manifest
from ftx.runtime.heads import margins, probabilities

__all__ = ["Cascade", "NearBoundary", "larger", "margin_error", "near_boundary"]

QUANTILE = 0.99


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """A smaller file whose texts near the boundary are answered by the fp32 file, compared with PyTorch.

    Attributes:
        texts: How many texts it was measured on.
        flips: How many predictions differ.
        label_agreement: Share of the predictions that are the same.
        label_agreement_interval: Its exact 95 % interval.
    """

    texts: int
    flips: int
    label_agreement: float
    label_agreement_interval: Interval

    def to_text(self, share: float) -> str:
        """Write the figures on a line, with the share of texts that the fp32 file answers."""
        low, high = self.label_agreement_interval
        return (
            f"with --fallback model.onnx {share:.1%} of the texts are answered in fp32; label agreement "
            f"{self.label_agreement:.4f} on {self.texts} texts (95 %: {low:.4f} to {high:.4f})"
        )


@dataclass(frozen=True, kw_only=True)
class NearBoundary:
    """Which texts a smaller file may predict otherwise than PyTorch.

    Attributes:
        margin_error: How much margins change: the 99 % quantile over the texts with the smallest ones, of the held-out
            texts that the file was chosen on or of the other kinds of text made from the rest, whichever is larger.
        share: Share of the texts whose margin is smaller, so that their prediction may differ.
        flips: How many predictions differ on the other texts.
        quantile: The quantile that `margin_error` is.
        cascade: How the predictions agree if the fp32 file answers those texts; None where that was not measured.
    """

    margin_error: float
    share: float
    flips: int
    quantile: float = QUANTILE
    cascade: Cascade | None = None


def margin_error(
    logits: NDArray[np.float32], reference_logits: NDArray[np.float32], manifest: Manifest
) -> float | None:
    """Measure how much the margins of a file's predictions differ from PyTorch's; None for regression, without margins.

    It is taken from texts with small margins, where a change of the logits moves probabilities most.

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
    return float(np.quantile(errors[nearest(margin)], QUANTILE))


def larger(error: float | None, other: float | None) -> float | None:
    """Give the larger of two margin errors; one that is unknown, or not a number, does not count."""
    if error is None or other is None:
        return error if other is None else other
    return float(np.fmax(error, other))


def near_boundary(
    logits: NDArray[np.float32],
    reference_logits: NDArray[np.float32],
    manifest: Manifest,
    error: float | None,
    fp32_logits: NDArray[np.float32] | None = None,
) -> NearBoundary | None:
    """Tell which texts a file may predict otherwise than PyTorch: a prediction changes if its margin does by more.

    Args:
        logits: The file's. *Shape:* `(num_texts, num_labels)`.
        reference_logits: PyTorch's, likewise.
        manifest: The head and the labels.
        error: How much margins change, see `margin_error`, best measured on other texts; None for regression.
        fp32_logits: Those of the fp32 file, likewise, to measure the cascade.
    """
    if error is None:
        return None
    far = margins(probabilities(logits, manifest.problem_type), manifest) >= error
    cascade = None
    if fp32_logits is not None:
        answers = np.where(far[:, None], logits, fp32_logits)
        kept = same_predictions(answers, reference_logits, manifest)
        cascade = Cascade(
            texts=len(kept),
            flips=int((~kept).sum()),
            label_agreement=float(kept.mean()),
            label_agreement_interval=agreement_interval(int(kept.sum()), len(kept)),
        )
    return NearBoundary(
        margin_error=error,
        share=float((~far).mean()),
        flips=int((far & ~same_predictions(logits, reference_logits, manifest)).sum()),
        cascade=cascade,
    )
