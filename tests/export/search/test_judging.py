from __future__ import annotations

import numpy as np
import pytest

from ftx.export.parity.gate import Gate
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.search.forms import FIRST_SCHEME, Form
from ftx.export.search.judging import judge
from ftx.heldout import HeldOut
from ftx.manifest import Manifest

LOGITS = np.tile(np.array([[2.0, -2.0], [-2.0, 2.0]], dtype=np.float32), (50, 1))
REFERENCE = ReferenceSet(
    held_out=HeldOut(texts=[str(row) for row in range(100)], labels=["no", "yes"] * 50),
    logits=LOGITS,
    manifest=Manifest(
        problem_type="single_label_classification",
        id2label={0: "no", 1: "yes"},
        max_length=8,
        input_names=("input_ids",),
    ),
)
FORM = Form(name="static", kind="int8", size_bytes=7, run=lambda batch: LOGITS, scheme=FIRST_SCHEME)


def flipped(count: int) -> np.ndarray:
    logits = LOGITS.copy()
    logits[:count] *= -1
    return logits


def test_a_candidate_is_made_from_logits_alone() -> None:
    candidate = judge(FORM, LOGITS + np.float32(0.01), None, REFERENCE, Gate())
    assert (candidate.name, candidate.kind, candidate.size_bytes) == ("static", "int8", 7)
    assert candidate.scheme == FIRST_SCHEME.to_dict()
    assert (candidate.expected_agreement, candidate.parity.flips, candidate.batch_flips) == (1, 0, None)
    assert candidate.verdict == "passes"
    assert judge(FORM, flipped(5), None, REFERENCE, Gate()).verdict == "fails"


@pytest.mark.parametrize(("flips", "verdict"), [(0, "passes"), (1, "near"), (5, "fails")])
def test_labels_that_differ_between_alone_and_batched_count(flips: int, verdict: str) -> None:
    candidate = judge(FORM, LOGITS, flipped(flips), REFERENCE, Gate())
    assert (candidate.batch_flips, candidate.verdict) == (flips, verdict)


def test_texts_are_split_alternately_and_a_single_one_serves_as_both() -> None:
    choosing, reporting = REFERENCE.split()
    assert (choosing.held_out.texts[:3], reporting.held_out.texts[:3]) == (["0", "2", "4"], ["1", "3", "5"])
    assert len(choosing) == len(reporting) == 50
    np.testing.assert_array_equal(choosing.logits, LOGITS[::2])
    alone = REFERENCE.take([4])
    assert [half.held_out.texts for half in alone.split()] == [["4"], ["4"]]
