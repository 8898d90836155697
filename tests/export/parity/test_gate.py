from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ftx.export.parity.gate import Gate, Parity, compare_logits
from ftx.heldout import HeldOut
from ftx.manifest import Manifest
from ftx.paired import paired_interval

MANIFEST = Manifest(
    problem_type="single_label_classification", id2label={0: "no", 1: "yes"}, max_length=8, input_names=()
)
HELD_OUT = HeldOut(texts=["a", "b", "c", "d"], labels=["no", "yes", "no", "yes"])
REFERENCE = np.array([[2, 1], [0, 3], [1, 0], [1, 0]], dtype=np.float32)


def test_the_same_logits_agree_wholly() -> None:
    parity = compare_logits(REFERENCE, REFERENCE, HELD_OUT, MANIFEST, 32)
    assert (parity.max_abs_logit_diff, parity.flips, parity.label_agreement) == (0, 0, 1)
    assert parity.accuracy == parity.reference_accuracy == 0.75
    assert parity.passes_fp32()
    assert parity.passes(Gate())


def test_a_flip_is_counted_though_accuracy_rises() -> None:
    logits = REFERENCE.copy()
    logits[3] = [0, 1]
    parity = compare_logits(logits, REFERENCE, HELD_OUT, MANIFEST, 32)
    assert (parity.flips, parity.label_agreement, parity.accuracy) == (1, 0.75, 1.0)
    assert parity.max_abs_logit_diff == 1
    assert parity.max_abs_prob_diff == pytest.approx(1 / (1 + np.exp(-1)) - 1 / (1 + np.exp(1)), abs=1e-6)
    assert not parity.passes_fp32()
    assert not parity.passes(Gate())
    assert not parity.is_near(Gate())


def test_not_a_number_never_passes() -> None:
    logits = REFERENCE.copy()
    logits[0] = np.nan
    parity = compare_logits(logits, REFERENCE, HELD_OUT, MANIFEST, 32)
    assert not parity.passes_fp32()
    assert not parity.passes(Gate(min_agreement=0.5))
    assert not parity.is_near(Gate(min_agreement=0.5))


@pytest.mark.parametrize(
    ("agreement", "accuracy", "passes", "near"),
    [
        (0.995, 0.86, True, True),
        (0.9949, 0.86, False, True),
        (0.99, 0.86, False, True),
        (0.9899, 0.86, False, False),
        (1.0, 0.857, True, True),
        (1.0, 0.8569, False, False),
        (1.0, 0.9, True, True),
    ],
)
def test_the_gate(agreement: float, accuracy: float, passes: bool, near: bool) -> None:
    parity = Parity(
        texts=10_000,
        batch_size=1,
        max_abs_logit_diff=0.5,
        max_abs_prob_diff=0.1,
        p99_abs_prob_diff=0.05,
        label_agreement=agreement,
        flips=round(10_000 * (1 - agreement)),
        accuracy=accuracy,
        reference_accuracy=0.86,
        accuracy_loss_interval=(0.86 - accuracy - 0.001, 0.86 - accuracy + 0.001),
    )
    assert parity.passes(Gate()) is passes
    assert parity.is_near(Gate()) is near
    assert parity.passes(Gate(min_agreement=0.98, max_accuracy_loss=0.1))


def test_a_loss_that_chance_explains_is_near_the_gate() -> None:
    labels = ["no"] * 400
    held_out = HeldOut(texts=["a"] * 400, labels=[*labels])
    reference = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (400, 1))
    two, ten = reference.copy(), reference.copy()
    two[:2] = ten[:10] = [0, 1]
    for logits, explained in ((two, True), (ten, False)):
        parity = compare_logits(logits, reference, held_out, MANIFEST, 32)
        assert parity.accuracy_loss > 0.003
        assert not parity.passes(Gate(min_agreement=0.9))
        assert parity.is_near(Gate(min_agreement=0.9)) is explained


def test_the_paired_interval_is_agresti_and_mins() -> None:
    # Their adjusted Wald interval, worked by hand: 2 lost, 0 won, of 100.
    right = np.array([False, False] + [True] * 98)
    low, high = paired_interval(right, np.ones(100, dtype=bool))
    mean, deviation = 2 / 102, np.sqrt(3 - 4 / 102) / 102
    assert (low, high) == pytest.approx((mean - 1.959964 * deviation, mean + 1.959964 * deviation))
    same_side = paired_interval(right, right)
    assert same_side[0] == -same_side[1] < 0


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
