"""Judge a form of a model by its logits on the texts to choose on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.agreement import estimate_agreement
from ftx.export.parity.batches import BATCH_SIZE, Batches
from ftx.export.parity.gate import Gate, Parity, compare_logits
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.search.candidate import Candidate, verdict
from ftx.export.search.making import Form

__all__ = ["Logits", "judge", "measure"]


@dataclass(frozen=True, kw_only=True)
class Logits:
    """A form's logits on the texts to choose on. *Shape of each:* `(num_texts, num_labels)`.

    Attributes:
        batched: In batches of 32.
        alone: Each text in a batch of its own; None where that makes no difference.
    """

    batched: NDArray[np.float32]
    alone: NDArray[np.float32] | None = None


def measure(form: Form, batches: Batches) -> Logits:
    """Run a form on the texts."""
    batched = batches.in_order([form.run(batch) for batch in batches.of(BATCH_SIZE)])
    if not form.depends_on_batch:
        return Logits(batched=batched)
    return Logits(batched=batched, alone=batches.in_order([form.run(batch) for batch in batches.of(1)]))


def judge(form: Form, logits: Logits, reference: ReferenceSet, gate: Gate) -> Candidate:
    """Compare a form's logits with PyTorch's, and judge it by a gate."""

    def compared(found: NDArray[np.float32], other: NDArray[np.float32]) -> Parity:
        return compare_logits(found, other, reference.held_out, reference.manifest, BATCH_SIZE)

    parity = compared(logits.batched, reference.logits)
    estimated = estimate_agreement(logits.batched, reference.logits, reference.manifest)
    parity_alone = None if logits.alone is None else compared(logits.alone, reference.logits)
    batch_flips = None if logits.alone is None else compared(logits.batched, logits.alone).flips
    return Candidate(
        name=form.name,
        kind=form.kind,
        scheme=form.details,
        size_bytes=form.size_bytes,
        parity=parity,
        expected_agreement=estimated,
        batch_flips=batch_flips,
        verdict=verdict(parity, parity_alone, estimated, batch_flips, gate),
    )
