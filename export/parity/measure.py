"""Measure one ONNX file against PyTorch, alone and in batches, and against itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftx.errors import ParityError
from ftx.export.parity.batches import BATCH_SIZE, Batches
from ftx.export.parity.gate import (
    ENOUGH_TEXTS,
    FP32_ATOL,
    NOT_ENOUGH,
    SLACK,
    Gate,
    Parity,
    compare_logits,
)
from ftx.export.parity.reference_set import ReferenceSet
from ftx.heldout import HeldOut
from ftx.manifest import Manifest
from ftx.runtime import Predictor
from ftx.runtime.session import open_session

__all__ = ["BatchInvariance", "Proof", "measure", "verify_fp32"]

log = logging.getLogger(__name__)

# Dynamic int8 scales activations over the batch, so a file must pass both alone and in batches.
GATE_BATCH_SIZES = (BATCH_SIZE, 1)
# Padding to max_length is slow: a sample of the texts is enough.
PADDED_TEXTS = 32


@dataclass(frozen=True, kw_only=True)
class BatchInvariance:
    """How much predictions depend on the batch composition.

    Attributes:
        texts: How many ran both alone and in batches of 32.
        flips: How many labels changed in the batch.
        max_abs_prob_diff: Largest |difference| of a probability (of a value, for regression) between the two.
        padded_texts: How many ran both alone and padded to max_length.
        padded_flips: How many labels changed with padding.
        padded_max_abs_prob_diff: Largest |difference| of a probability between these two.
    """

    texts: int
    flips: int
    max_abs_prob_diff: float
    padded_texts: int
    padded_flips: int
    padded_max_abs_prob_diff: float

    @property
    def share(self) -> float:
        """Share of labels that depend on the batch composition."""
        return self.flips / self.texts

    def to_text(self, *, values: bool = False) -> str:
        """Write the figures on a line, for labels or for values (regression)."""
        what, largest = ("values", "max |Δvalue|") if values else ("labels", "max |Δp|")
        return (
            f"alone against batched: {self.flips} of {self.texts} {what}, {largest} {self.max_abs_prob_diff:.2g}; "
            f"against padded: {self.padded_flips} of {self.padded_texts}, {largest} {self.padded_max_abs_prob_diff:.2g}"
        )


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was measured of one ONNX file.

    Attributes:
        parity: Against PyTorch, at each batch size.
        batch_invariance: Against itself.
    """

    parity: list[Parity]
    batch_invariance: BatchInvariance

    @property
    def worst(self) -> Parity:
        """The parity at the batch size where fewest labels agree."""
        return min(self.parity, key=lambda result: result.label_agreement)

    def passes_fp32(self) -> bool:
        """Tell whether it passes as fp32."""
        return all(result.passes_fp32() for result in self.parity)

    def verdict(self, gate: Gate) -> str:
        """Judge by a gate: `passes`, or on too few texts `NOT_ENOUGH`; `near` (kept, with a warning) or `fails`."""
        if not self.missed(gate):
            return "passes" if self.worst.texts >= ENOUGH_TEXTS else NOT_ENOUGH
        near = all(result.is_near(gate) for result in self.parity)
        return "near" if near and self.steady(2 * gate.max_batch_flips) else "fails"

    def missed(self, gate: Gate) -> list[str]:
        """Say which limits of a gate it misses."""
        found = [missed for result in self.parity for missed in result.missed(gate)]
        if not self.steady(gate.max_batch_flips):
            batches = self.batch_invariance
            found.append(
                f"{batches.flips} of {batches.texts} predictions depend on batch composition, "
                f"allowed {gate.max_batch_flips:.1%}"
            )
        return list(dict.fromkeys(found))

    def steady(self, max_batch_flips: float) -> bool:
        """Tell whether no more than this share of labels depends on the batch composition."""
        return self.batch_invariance.share <= max_batch_flips + SLACK


def verify_fp32(path: Path, reference: ReferenceSet) -> tuple[Proof, Parity, NDArray[np.float32]]:
    """Verify that an fp32 graph has PyTorch's logits.

    Returns:
        The proof on all texts; and on those to report on, beside which a smaller file stands, the parity in batches and
        the logits.

    Raises:
        ParityError: A logit differs by more than `FP32_ATOL`.
    """
    proof, logits = measure(path, reference)
    worst = max(proof.parity, key=lambda result: result.max_abs_logit_diff)
    if not proof.passes_fp32():
        raise ParityError(
            f"The ONNX graph differs from PyTorch: max |Δlogit| {worst.max_abs_logit_diff:.3g} on "
            f"{worst.texts} held-out texts, expected at most {FP32_ATOL:g}; nothing was exported"
        )
    log.info(f"fp32: max |Δlogit| {worst.max_abs_logit_diff:.2g} on {worst.texts} held-out texts: passes")
    _, own = replace(reference, logits=logits).split()
    _, reporting = reference.split()
    parity = compare_logits(own.logits, reporting.logits, reporting.held_out, reference.manifest, BATCH_SIZE)
    return proof, parity, own.logits


def measure(path: Path, reference: ReferenceSet) -> tuple[Proof, NDArray[np.float32]]:
    """Compare an ONNX file with PyTorch, alone and in batches, and with itself.

    Args:
        path: The file.
        reference: Texts with PyTorch's logits.

    Returns:
        The proof, and the file's logits in batches. *Shape:* `(len(reference), num_labels)`.
    """
    held_out = reference.held_out
    predictor = Predictor(path)
    found = {size: predictor.logits(held_out.texts, batch_size=size) for size in GATE_BATCH_SIZES}
    parity = [
        compare_logits(logits, reference.logits, held_out, predictor.manifest, batch_size)
        for batch_size, logits in found.items()
    ]
    proof = Proof(parity=parity, batch_invariance=invariance(path, found, held_out, predictor.manifest))
    return proof, found[BATCH_SIZE]


def invariance(
    path: Path, found: dict[int, NDArray[np.float32]], held_out: HeldOut, manifest: Manifest
) -> BatchInvariance:
    """Compare a file's predictions alone with those in batches, and with those padded to max_length."""
    session = open_session(path)
    batches = Batches(held_out.texts, path, [node.name for node in session.get_inputs()])
    rows = batches.spread(PADDED_TEXTS)
    padded = np.concatenate([session.run(None, batch)[0] for batch in batches.padded(rows)])
    in_batch = compare_logits(found[BATCH_SIZE], found[1], held_out, manifest, BATCH_SIZE)
    with_padding = compare_logits(padded, found[1][rows], held_out.take(rows), manifest, 1)
    return BatchInvariance(
        texts=in_batch.texts,
        flips=in_batch.flips,
        max_abs_prob_diff=in_batch.max_abs_prob_diff,
        padded_texts=with_padding.texts,
        padded_flips=with_padding.flips,
        padded_max_abs_prob_diff=with_padding.max_abs_prob_diff,
    )
