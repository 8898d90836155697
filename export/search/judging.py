"""Judge a form of a model by its logits on the texts to choose on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.agreement import estimate_agreement
from ftx.export.parity.batches import BATCH_SIZE, Batches
from ftx.export.parity.gate import Gate, Parity, compare_logits
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.search.candidate import Candidate, missed, verdict
from ftx.export.search.forms import Form

__all__ = ["judge", "logits_of", "run_on"]


def logits_of(form: Form, batches: Batches) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Run a form on the texts.

    Returns:
        Its logits in batches of 32, and those of each text alone where that may differ. *Shape of each:*
        `(num_texts, num_labels)`.
    """
    return run_on(form, batches), run_on(form, batches, 1) if form.depends_on_batch else None


def run_on(form: Form, batches: Batches, batch_size: int = BATCH_SIZE) -> NDArray[np.float32]:
    """Run a form on the texts in batches. *Shape:* `(num_texts, num_labels)`."""
    return batches.in_order([form.run(batch) for batch in batches.of(batch_size)])


def judge(
    form: Form, batched: NDArray[np.float32], alone: NDArray[np.float32] | None, reference: ReferenceSet, gate: Gate
) -> Candidate:
    """Compare a form's logits with PyTorch's, and judge it by a gate; see `logits_of`."""

    def compared(logits: NDArray[np.float32], other: NDArray[np.float32]) -> Parity:
        return compare_logits(logits, other, reference.held_out, reference.manifest, BATCH_SIZE)

    parity = compared(batched, reference.logits)
    parity_alone = None if alone is None else compared(alone, reference.logits)
    batch_flips = None if alone is None else compared(batched, alone).flips
    estimated = estimate_agreement(batched, reference.logits, reference.manifest)
    figures = (parity, parity_alone, estimated, batch_flips, gate)
    return Candidate(
        name=form.name,
        kind=form.kind,
        scheme=form.details,
        size_bytes=form.size_bytes,
        parity=parity,
        expected_agreement=estimated,
        batch_flips=batch_flips,
        verdict=verdict(*figures),
        missed=missed(*figures),
    )
