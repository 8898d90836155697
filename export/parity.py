"""The parity gate: does an ONNX file say on held-out text what PyTorch says?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import DataError
from ftx.heldout import HeldOut
from ftx.manifest import Manifest
from ftx.runtime import Predictor
from ftx.runtime.heads import decode, probabilities

__all__ = [
    "FP32_ATOL",
    "GATE_BATCH_SIZES",
    "INT8_MAX_ACCURACY_LOSS",
    "INT8_MIN_AGREEMENT",
    "Parity",
    "check_labels",
    "compare_logits",
    "measure",
]

# fp32 arithmetic in another order moves BERT's logits by some 1e-6; a wrong graph, by far more than this.
FP32_ATOL = 1e-4
INT8_MIN_AGREEMENT = 0.99
INT8_MAX_ACCURACY_LOSS = 0.005
# A regression model's values count as the same answer within this share of their own spread (standard deviation).
SAME_VALUE = 0.1
# Dynamic int8 scales activations over the batch, so that a file must pass alone and in batches.
GATE_BATCH_SIZES = (32, 1)


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One ONNX file against PyTorch on the same texts.

    Attributes:
        texts: How many.
        batch_size: Texts that ran together.
        max_abs_logit_diff: Largest |difference| of a logit.
        max_abs_prob_diff: Largest |difference| of a probability (of a value, for regression).
        p99_abs_prob_diff: 99th percentile over the texts of their largest one.
        label_agreement: Share of the texts that get the same label, or labels, as from PyTorch; for regression, a value
            within a tenth of a standard deviation of PyTorch's values.
        flips: How many do not.
        accuracy: Share of the texts that get the right label; None for regression.
        reference_accuracy: The same for PyTorch.
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

    def to_text(self) -> str:
        """Write the figures on a line."""
        accuracy = "" if self.accuracy is None else f", accuracy {self.accuracy:.4f}"
        return (
            f"batch {self.batch_size:>2}: label agreement {self.label_agreement:.4f}, "
            f"max |Δlogit| {self.max_abs_logit_diff:.2g}{accuracy}"
        )

    def same_numbers(self) -> bool:
        """Tell whether it passes as fp32. A NaN does not."""
        return self.max_abs_logit_diff <= FP32_ATOL

    def same_answers(self) -> bool:
        """Tell whether it passes as int8. A NaN does not."""
        loss = (self.reference_accuracy or 0.0) - (self.accuracy or 0.0)
        finite = bool(np.isfinite(self.max_abs_logit_diff))
        # The share of flips is a ratio of whole numbers; the slack is for its last binary digit only.
        return finite and self.label_agreement >= INT8_MIN_AGREEMENT and loss <= INT8_MAX_ACCURACY_LOSS + 1e-12


def measure(path: Path, reference_logits: NDArray[np.float32], held_out: HeldOut) -> Iterator[Parity]:
    """Compare an ONNX file with PyTorch at each of `GATE_BATCH_SIZES`, one at each step.

    Args:
        path: The file.
        reference_logits: PyTorch's. *Shape:* `(len(held_out), num_labels)`.
        held_out: The texts and their labels.
    """
    for batch_size in GATE_BATCH_SIZES:
        predictor = Predictor(path, batch_size=batch_size)
        logits = predictor.logits(held_out.texts)
        yield compare_logits(logits, reference_logits, held_out, predictor.manifest, batch_size)


def compare_logits(
    logits: NDArray[np.float32],
    reference_logits: NDArray[np.float32],
    held_out: HeldOut,
    manifest: Manifest,
    batch_size: int,
) -> Parity:
    """Compare two sets of logits for the same texts. *Shape of each:* `(len(held_out), num_labels)`."""
    found = answers(logits, held_out, manifest)
    expected = answers(reference_logits, held_out, manifest)
    if manifest.problem_type == "regression":
        # Written so that a NaN is a flip.
        flips = int((~(np.abs(logits - reference_logits) <= SAME_VALUE * reference_logits.std())).any(axis=1).sum())
    else:
        flips = sum(one != other for one, other in zip(found, expected, strict=True))
    prob_diff = np.abs(
        probabilities(logits, manifest.problem_type) - probabilities(reference_logits, manifest.problem_type)
    ).max(axis=1)
    return Parity(
        texts=len(held_out),
        batch_size=batch_size,
        max_abs_logit_diff=float(np.abs(logits - reference_logits).max()),
        max_abs_prob_diff=float(prob_diff.max()),
        p99_abs_prob_diff=float(np.quantile(prob_diff, 0.99)),
        label_agreement=1 - flips / len(held_out),
        flips=flips,
        accuracy=share_right(found, held_out, manifest),
        reference_accuracy=share_right(expected, held_out, manifest),
    )


def answers(logits: NDArray[np.float32], held_out: HeldOut, manifest: Manifest) -> list[Any]:
    """Give what a user would be told of each text: a label, a set of labels, or a value."""
    predictions = decode(held_out.texts, logits, manifest)
    if manifest.problem_type == "regression":
        return [p.value for p in predictions]
    return [p.label if p.labels is None else frozenset(p.labels) for p in predictions]


def share_right(found: list[Any], held_out: HeldOut, manifest: Manifest) -> float | None:
    """Give the share of right answers; a set of labels is right when it is the same set."""
    if manifest.problem_type == "regression":
        return None
    expected = [frozenset(label) if isinstance(label, list) else label for label in held_out.labels]
    right = [one == other for one, other in zip(found, expected, strict=True)]
    return right.count(True) / len(right)


def check_labels(held_out: HeldOut, manifest: Manifest, where: Path) -> None:
    """Check that the held-out labels are labels of this model.

    Raises:
        DataError: One is not.
    """
    if manifest.problem_type == "regression":
        return
    names = set(manifest.labels)
    for number, label in enumerate(held_out.labels, 1):
        if unknown := set(label if isinstance(label, list) else [label]) - names:
            raise DataError(
                f"{where}: row {number} has label {unknown.pop()!r}; the model has {', '.join(manifest.labels)}"
            )
