from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ftx.export.parity import Parity, compare_logits
from ftx.heldout import HeldOut
from ftx.manifest import Manifest

MANIFEST = Manifest(
    problem_type="single_label_classification", id2label={0: "no", 1: "yes"}, max_length=8, input_names=()
)
HELD_OUT = HeldOut(texts=["a", "b", "c", "d"], labels=["no", "yes", "no", "yes"])
REFERENCE = np.array([[2, 1], [0, 3], [1, 0], [1, 0]], dtype=np.float32)


def test_the_same_logits_agree_wholly() -> None:
    parity = compare_logits(REFERENCE, REFERENCE, HELD_OUT, MANIFEST, 32)
    assert (parity.max_abs_logit_diff, parity.flips, parity.label_agreement) == (0, 0, 1)
    assert parity.accuracy == parity.reference_accuracy == 0.75
    assert parity.same_numbers()
    assert parity.same_answers()


def test_a_flip_is_counted_though_accuracy_rises() -> None:
    logits = REFERENCE.copy()
    logits[3] = [0, 1]
    parity = compare_logits(logits, REFERENCE, HELD_OUT, MANIFEST, 32)
    assert (parity.flips, parity.label_agreement, parity.accuracy) == (1, 0.75, 1.0)
    assert parity.max_abs_logit_diff == 1
    assert parity.max_abs_prob_diff == pytest.approx(1 / (1 + np.exp(-1)) - 1 / (1 + np.exp(1)), abs=1e-6)
    assert not parity.same_numbers()
    assert not parity.same_answers()


def test_not_a_number_never_passes() -> None:
    logits = REFERENCE.copy()
    logits[0] = np.nan
    parity = compare_logits(logits, REFERENCE, HELD_OUT, MANIFEST, 32)
    assert not parity.same_numbers()
    assert not parity.same_answers()


@pytest.mark.parametrize(
    ("agreement", "accuracy", "passes"),
    [(0.99, 0.86, True), (0.9899, 0.86, False), (1.0, 0.855, True), (1.0, 0.8549, False), (1.0, 0.9, True)],
)
def test_the_int8_gate(agreement: float, accuracy: float, passes: bool) -> None:
    parity = Parity(
        texts=1000,
        batch_size=1,
        max_abs_logit_diff=0.5,
        max_abs_prob_diff=0.1,
        p99_abs_prob_diff=0.05,
        label_agreement=agreement,
        flips=round(1000 * (1 - agreement)),
        accuracy=accuracy,
        reference_accuracy=0.86,
    )
    assert parity.same_answers() is passes


def test_sets_of_labels_and_values_are_compared_whole() -> None:
    logits = np.array([[1, 1], [-1, 1]], dtype=np.float32)
    multi = replace(MANIFEST, problem_type="multi_label_classification")
    held_out = HeldOut(texts=["a", "b"], labels=[["yes", "no"], ["no"]])
    parity = compare_logits(logits, logits, held_out, multi, 1)
    assert (parity.label_agreement, parity.accuracy) == (1, 0.5)
    value = replace(MANIFEST, problem_type="regression", id2label={0: "stars"})
    numbers = HeldOut(texts=["a", "b"], labels=[1.0, 2.0])
    first = np.array([[1.0], [2.0]], dtype=np.float32)
    parity = compare_logits(first + np.float32(0.3), first, numbers, value, 1)
    assert (parity.label_agreement, parity.accuracy) == (0, None)
