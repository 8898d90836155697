"""The parity gate: does an ONNX file agree with PyTorch on held-out text?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.heldout import HeldOut
from ftx.manifest import Manifest
from ftx.runtime.heads import decode, probabilities

__all__ = [
    "FP32_ATOL",
    "SLACK",
    "Gate",
    "Parity",
    "compare_logits",
    "largest_prob_diff",
    "same_predictions",
]

# Reordered fp32 arithmetic changes BERT's logits by about 1e-6; a wrong graph, by far more than this.
FP32_ATOL = 1e-4
# A regression model's predictions agree within this share of their standard deviation.
SAME_VALUE = 0.1
Z_95 = 1.959964  # the normal distribution's 97.5 % quantile
# The gates compare ratios of whole numbers; the slack covers rounding in the last bits only.
SLACK = 1e-12


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The limits for a file that is smaller or faster than fp32.

    Attributes:
        min_agreement: Share of the texts that must get PyTorch's label.
        max_accuracy_loss: How much accuracy may be lost, as a share.
        max_batch_flips: Share of the texts whose label may depend on the batch composition.
    """

    min_agreement: float = 0.995
    max_accuracy_loss: float = 0.003
    max_batch_flips: float = 0.005

    @property
    def floor(self) -> float:
        """The agreement below which no file is kept: twice the flips that the gate allows."""
        return 1 - 2 * (1 - self.min_agreement)

    def to_text(self) -> str:
        """Write the limits on one line."""
        return (
            f"label agreement at least {self.min_agreement:g}, accuracy loss at most {self.max_accuracy_loss:.1%}, "
            f"at most {self.max_batch_flips:.1%} of the labels depending on batch composition"
        )


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One ONNX file compared with PyTorch on the same texts.

    Attributes:
        texts: How many.
        batch_size: Texts in a batch.
        max_abs_logit_diff: Largest |difference| of a logit.
        max_abs_prob_diff: Largest |difference| of a probability (of a value, for regression).
        p99_abs_prob_diff: 99th percentile over the texts of each one's largest.
        label_agreement: Share of the texts with PyTorch's label, or labels; for regression, with a value within a tenth
            of the standard deviation of PyTorch's values.
        flips: How many texts do not.
        accuracy: Share of the texts with the true label; None for regression, and where the texts have no labels.
        reference_accuracy: PyTorch's.
        accuracy_loss_interval: Paired 95 % interval of the accuracy lost; None likewise.
    """

    texts: int
    batch_size: int
    max_abs_logit_diff: float
    max_abs_prob_diff: float
    p99_abs_prob_diff: float
    label_agreement: float
    flips: int
    accuracy: float | None
    reference_accuracy: float | None
    accuracy_loss_interval: tuple[float, float] | None

    @property
    def accuracy_loss(self) -> float:
        """How much accuracy is lost; negative where it is gained; 0 where it is not measured."""
        return (self.reference_accuracy or 0.0) - (self.accuracy or 0.0)

    def to_text(self) -> str:
        """Write the figures on a line."""
        line = (
            f"batch {self.batch_size:>2}: label agreement {self.label_agreement:.4f}, "
            f"max |Δlogit| {self.max_abs_logit_diff:.2g}"
        )
        if self.accuracy is None or self.accuracy_loss_interval is None:
            return line
        low, high = self.accuracy_loss_interval
        loss = f"{self.accuracy_loss:+.2%} ({low:+.2%} to {high:+.2%})"
        return f"{line}, accuracy {self.accuracy:.4f}, lost {loss}"

    def passes_fp32(self) -> bool:
        """Tell whether it passes as fp32. NaN does not."""
        return self.max_abs_logit_diff <= FP32_ATOL

    def passes(self, gate: Gate) -> bool:
        """Tell whether it passes a gate. NaN does not."""
        finite = bool(np.isfinite(self.max_abs_logit_diff))
        return (
            finite
            and self.label_agreement >= gate.min_agreement - SLACK
            and self.accuracy_loss <= gate.max_accuracy_loss + SLACK
        )

    def is_near(self, gate: Gate) -> bool:
        """Tell whether it is near a gate: at most twice the flips, and no loss of accuracy beyond chance."""
        finite = bool(np.isfinite(self.max_abs_logit_diff))
        lost = self.accuracy_loss > gate.max_accuracy_loss + SLACK
        explained = self.accuracy_loss_interval is None or self.accuracy_loss_interval[0] <= 0
        return finite and self.label_agreement >= gate.floor - SLACK and (explained or not lost)


def compare_logits(
    logits: NDArray[np.float32],
    reference_logits: NDArray[np.float32],
    held_out: HeldOut,
    manifest: Manifest,
    batch_size: int,
) -> Parity:
    """Compare two sets of logits for the same texts. *Shape of each:* `(len(held_out), num_labels)`."""
    flips = int((~same_predictions(logits, reference_logits, manifest)).sum())
    prob_diff = largest_prob_diff(logits, reference_logits, manifest)
    right, reference_right = (which_right(given, held_out, manifest) for given in (logits, reference_logits))
    return Parity(
        texts=len(held_out),
        batch_size=batch_size,
        max_abs_logit_diff=float(np.abs(logits - reference_logits).max()),
        max_abs_prob_diff=float(prob_diff.max()),
        p99_abs_prob_diff=float(np.quantile(prob_diff, 0.99)),
        label_agreement=1 - flips / len(held_out),
        flips=flips,
        accuracy=None if right is None else float(right.mean()),
        reference_accuracy=None if reference_right is None else float(reference_right.mean()),
        accuracy_loss_interval=None
        if right is None or reference_right is None
        else paired_interval(right, reference_right),
    )


def largest_prob_diff(
    logits: NDArray[np.float32], reference_logits: NDArray[np.float32], manifest: Manifest
) -> NDArray[np.float32]:
    """Compute each text's largest |difference| of a probability. *Shape:* `(num_texts,)`."""
    head = manifest.problem_type
    return np.asarray(np.abs(probabilities(logits, head) - probabilities(reference_logits, head)).max(axis=1))


def same_predictions(
    logits: NDArray[np.float32], reference_logits: NDArray[np.float32], manifest: Manifest
) -> NDArray[np.bool_]:
    """Tell on which texts the predictions agree. *Shape:* `(num_texts,)`."""
    if manifest.problem_type == "regression":
        # Written so that NaN does not agree.
        near = np.abs(logits - reference_logits) <= SAME_VALUE * reference_logits.std()
        return np.asarray(near.all(axis=1))
    pairs = zip(predictions(logits, manifest), predictions(reference_logits, manifest), strict=True)
    return np.array([one == other for one, other in pairs], dtype=bool)


def predictions(logits: NDArray[np.float32], manifest: Manifest) -> list[str | frozenset[str] | None]:
    """Give the prediction of each text: a label, or a set of labels."""
    predictions = decode([""] * len(logits), logits, manifest)
    return [p.label if p.labels is None else frozenset(p.labels) for p in predictions]


def which_right(logits: NDArray[np.float32], held_out: HeldOut, manifest: Manifest) -> NDArray[np.bool_] | None:
    """Tell which predictions are correct; sets of labels must be equal. None: not to be told."""
    if manifest.problem_type == "regression" or held_out.labels is None:
        return None
    expected = [frozenset(label) if isinstance(label, list) else label for label in held_out.labels]
    pairs = zip(predictions(logits, manifest), expected, strict=True)
    return np.array([one == other for one, other in pairs], dtype=bool)


def paired_interval(right: NDArray[np.bool_], reference_right: NDArray[np.bool_]) -> tuple[float, float]:
    """Compute the 95 % interval of the accuracy lost, from both sides' results on the same texts.

    Wald's interval for paired proportions with half a text added to each cell of the table (Agresti and Min 2005,
    "Simple improved confidence intervals for comparing matched proportions").
    """
    lost = float((reference_right & ~right).sum()) + 0.5
    won = float((right & ~reference_right).sum()) + 0.5
    texts = len(right) + 2
    mean = (lost - won) / texts
    width = Z_95 * float(np.sqrt(lost + won - (lost - won) ** 2 / texts)) / texts
    return mean - width, mean + width
