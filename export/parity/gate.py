"""The parity gate: does an ONNX file agree with PyTorch on held-out text?"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.intervals import Interval, agreement_interval
from ftx.export.parity.values import Values, compare_values, tolerance
from ftx.heldout import HeldOut
from ftx.manifest import Manifest
from ftx.paired import paired_interval
from ftx.runtime.heads import decode, probabilities

__all__ = [
    "ENOUGH_TEXTS",
    "FP32_ATOL",
    "NOT_ENOUGH",
    "SLACK",
    "Gate",
    "Parity",
    "compare_logits",
    "largest_prob_diff",
    "predictions",
    "same_predictions",
]

# Reordered fp32 arithmetic changes BERT's logits by about 1e-6; a wrong graph, by far more than this.
FP32_ATOL = 1e-4
# Fewer texts do not pass a file: not even 100 without a flip exclude an agreement of 0.964 (Clopper and Pearson). A
# file that changes one label in 20, ten times what the default gate allows, goes through 100 texts without a flip once
# in 170 times; through 10 texts, three times in five.
ENOUGH_TEXTS = 100
NOT_ENOUGH = "not enough text"  # the verdict then
# The gates compare ratios of whole numbers; the slack covers rounding in the last bits only.
SLACK = 1e-12


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The limits for a file that is smaller or faster than fp32.

    Attributes:
        min_agreement: Share of the texts that must get PyTorch's label.
        max_accuracy_loss: How much accuracy may be lost, as a share.
        max_batch_flips: Share of the texts whose label may depend on the batch composition.
        min_stress_agreement: Estimated share of texts of each other kind that must get PyTorch's label; see
            `ftx.export.parity.stress`. 0: not judged.
    """

    min_agreement: float = 0.995
    max_accuracy_loss: float = 0.003
    max_batch_flips: float = 0.005
    min_stress_agreement: float = 0.99

    @property
    def floor(self) -> float:
        """The agreement below which no file is kept: twice the flips that the gate allows."""
        return 1 - 2 * (1 - self.min_agreement)

    def to_text(self, *, values: bool = False, stress: bool = False) -> str:
        """Write the limits on one line, for labels or for values (regression), and for other kinds of text if asked."""
        other = f"; on each other kind of text {self.min_stress_agreement:g} by estimate" if stress else ""
        if values:
            return (
                f"at least {self.min_agreement:g} of the values within a tenth of a standard deviation of PyTorch's, "
                f"at most {self.max_batch_flips:.1%} further than that between alone and batched{other}"
            )
        return (
            f"label agreement at least {self.min_agreement:g}, accuracy loss at most {self.max_accuracy_loss:.1%}, "
            f"at most {self.max_batch_flips:.1%} of the labels depending on batch composition{other}"
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
        values: How the values differ; None except for regression.
        label_agreement_interval: Exact 95 % interval of the label agreement on more text like this.
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
    accuracy_loss_interval: Interval | None
    values: Values | None = None
    label_agreement_interval: Interval = field(init=False)

    def __post_init__(self) -> None:
        interval = agreement_interval(self.texts * self.label_agreement, self.texts)
        object.__setattr__(self, "label_agreement_interval", interval)

    @property
    def accuracy_loss(self) -> float:
        """How much accuracy is lost; negative where it is gained; 0 where it is not measured."""
        return (self.reference_accuracy or 0.0) - (self.accuracy or 0.0)

    def to_text(self) -> str:
        """Write the figures on a line."""
        low, high = self.label_agreement_interval
        what = "values that agree" if self.values else "label agreement"
        line = (
            f"batch {self.batch_size:>2}: {what} {self.label_agreement:.4f} on {self.texts} texts "
            f"(95 % interval {low:.4f} to {high:.4f}), "
        )
        if self.values:
            return line + self.values.to_text()
        line += f"max |Δlogit| {self.max_abs_logit_diff:.2g}"
        if self.accuracy is None or self.accuracy_loss_interval is None:
            return line
        low, high = self.accuracy_loss_interval
        loss = f"{self.accuracy_loss:+.2%} ({low:+.2%} to {high:+.2%})"
        return f"{line}, accuracy {self.accuracy:.4f}, lost {loss}"

    def missed(self, gate: Gate, *, agreement: float | None = None) -> list[str]:
        """Say which limits of a gate it misses.

        Args:
            gate: The limits.
            agreement: What is judged in place of the counted agreement, if anything is.
        """
        what = "agreement of values" if self.values else "label agreement"
        judged, kind = (self.label_agreement, what) if agreement is None else (agreement, "estimated agreement")
        found = []
        if not np.isfinite(self.max_abs_logit_diff):
            found.append("a logit is not finite")
        if not judged >= gate.min_agreement - SLACK:
            found.append(f"{kind} {judged:.4f}, required {gate.min_agreement:g}")
        if self.accuracy_loss > gate.max_accuracy_loss + SLACK:
            found.append(f"accuracy loss {self.accuracy_loss:.2%}, allowed {gate.max_accuracy_loss:.1%}")
        return found

    def passes_fp32(self) -> bool:
        """Tell whether it passes as fp32. NaN does not."""
        return self.max_abs_logit_diff <= FP32_ATOL

    def passes(self, gate: Gate) -> bool:
        """Tell whether it keeps a gate's limits. NaN does not."""
        return not self.missed(gate)

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
        values=compare_values(logits, reference_logits, held_out) if manifest.problem_type == "regression" else None,
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
        return np.asarray((np.abs(logits - reference_logits) <= tolerance(reference_logits)).all(axis=1))
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
