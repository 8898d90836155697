"""The smaller file, int8 or fp16, verified on held-out texts that played no part in choosing it."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.batches import BATCH_SIZE
from ftx.export.parity.certainty import Certainty, certainty_of
from ftx.export.parity.clipping import HELD_OUT, Clipping, count_clipped
from ftx.export.parity.flips import Flip, find_flips
from ftx.export.parity.gate import Gate, Parity, largest_prob_diff
from ftx.export.parity.margins import NearBoundary, larger, margin_error, near_boundary
from ftx.export.parity.measure import BatchInvariance, Proof, measure
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.parity.stress import KindAgreement, StressSet, judge_kinds, missed_kinds, worst_verdict
from ftx.quantization import Quantization
from ftx.runtime import Predictor

__all__ = ["Reduced", "measure_kinds", "verify_reduced"]

USED_SHARE = 0.5  # of the held-out texts; the others choose

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """The smaller file, as measured on the texts to report on.

    Attributes:
        file: Its name in the folder.
        quantization: How it was made, on which CPUs it is exact, and the gate that it was held to.
        parity: Against PyTorch, at each batch size.
        batch_invariance: Alone, batched, and padded.
        verdict: By the gate: `passes`, `near` or `fails`; `not enough text` where too few would have to pass it.
        missed: Which limits of the gate it misses.
        certainty: How sure the verdict is.
        flips: The texts whose prediction changes.
        prob_diffs: Each text's largest |Δp| (of its value, for regression), ascending.
        near_boundary: Which texts it may predict otherwise than PyTorch; None for regression.
        stress: How it agrees on other kinds of text, made from the texts to report on; empty where it was not tried.
        clipping: Which share of its activations' values lies outside the calibrated ranges, on the texts to report on
            and on the other kinds; None where scales are not static.
    """

    file: str
    quantization: Quantization
    parity: list[Parity]
    batch_invariance: BatchInvariance
    verdict: str
    missed: list[str]
    certainty: Certainty
    flips: list[Flip]
    prob_diffs: list[float]
    near_boundary: NearBoundary | None = None
    stress: tuple[KindAgreement, ...] = ()
    clipping: Clipping | None = None

    @property
    def proof(self) -> Proof:
        """Parity and batch invariance together."""
        return Proof(parity=self.parity, batch_invariance=self.batch_invariance)


def verify_reduced(
    path: Path,
    quantization: Quantization,
    choosing: ReferenceSet,
    reporting: ReferenceSet,
    gate: Gate,
    stress: StressSet | None = None,
    fp32_logits: NDArray[np.float32] | None = None,
) -> Reduced:
    """Measure the smaller file and judge it by a gate.

    Args:
        path: The file.
        quantization: How it was made.
        choosing: Texts that it was chosen on, to measure how much margins change, as on those of `stress`.
        reporting: Texts that played no part in that.
        gate: The limits.
        stress: Other kinds of text, made from these; None: none.
        fp32_logits: Those of the fp32 file for the same texts, to measure it as a fallback; None: it is not measured.
    """
    proof, logits = measure(path, reporting)
    on_choosing = Predictor(path).logits(choosing.held_out.texts, batch_size=BATCH_SIZE)
    error = margin_error(on_choosing, choosing.logits, choosing.manifest)
    kinds: tuple[KindAgreement, ...] = ()
    if stress:
        kinds, other = measure_kinds(path, stress, gate)
        error = larger(error, other)
    verdict = worst_verdict(proof.verdict(gate), kinds)
    log.info(f"On {len(reporting)} other held-out texts: {proof.worst.to_text()}: {verdict}")
    for one in kinds:
        log.info(f"  {one.to_text()}")
    clipping = None
    if quantization.activations == "static":
        clipping = count_clipped(path, {HELD_OUT: reporting.held_out.texts, **(stress.texts_by_kind if stress else {})})
    return Reduced(
        file=path.name,
        quantization=replace(quantization, gate=asdict(gate)),
        parity=proof.parity,
        batch_invariance=proof.batch_invariance,
        verdict=verdict,
        missed=[*proof.missed(gate), *missed_kinds(kinds)],
        certainty=certainty_of(proof.worst, gate, used_share=USED_SHARE),
        flips=find_flips(logits, reporting),
        prob_diffs=sorted(map(float, largest_prob_diff(logits, reporting.logits, reporting.manifest))),
        near_boundary=near_boundary(logits, reporting.logits, reporting.manifest, error, fp32_logits),
        stress=kinds,
        clipping=clipping,
    )


def measure_kinds(path: Path, stress: StressSet, gate: Gate) -> tuple[tuple[KindAgreement, ...], float | None]:
    """Run an ONNX file on other kinds of text in batches.

    Returns:
        How it is judged on each, and how much margins change on all of them together, see `margin_error`.
    """
    logits = Predictor(path).logits(stress.texts, batch_size=BATCH_SIZE)
    return judge_kinds(logits, stress, gate), margin_error(logits, stress.reference.logits, stress.reference.manifest)
