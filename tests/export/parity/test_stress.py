from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ftx.export.parity.gate import Gate
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.parity.stress import StressSet, judge_kinds, lowest, missed_kinds, worst_verdict
from ftx.heldout import HeldOut
from ftx.manifest import Manifest

GATE = Gate()
KINDS = {"wide": 60, "close": 60, "given": 7}


def manifest(problem_type: str = "single_label_classification", labels: int = 2) -> Manifest:
    return Manifest(
        problem_type=problem_type,
        id2label={column: str(column) for column in range(labels)},
        max_length=32,
        input_names=("input_ids",),
    )


def margins(scale: float, rows: int, labels: int = 2, seed: int = 0) -> NDArray[np.float32]:
    """Make logits whose first two differ by at least half the scale."""
    random = np.random.default_rng(seed)
    logits = np.zeros((rows, labels), dtype=np.float32)
    logits[:, 0] = random.choice([-1, 1], rows) * random.uniform(0.5 * scale, 1.5 * scale, rows)
    logits[:, 1] = -logits[:, 0]
    return logits


def stress(problem_type: str = "single_label_classification", labels: int = 2) -> StressSet:
    logits = np.concatenate([margins(3, 60, labels), margins(0.05, 60, labels), margins(3, 7, labels)])
    texts = [str(row) for row in range(len(logits))]
    return StressSet(
        reference=ReferenceSet(
            held_out=HeldOut(texts=[*texts]), logits=logits, manifest=manifest(problem_type, labels)
        ),
        kinds=KINDS,
        held_out_logits=margins(3, 200, labels, seed=1),
    )


def noise(size: float, rows: int, labels: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(2).normal(scale=size, size=(rows, labels)).astype(np.float32)


@pytest.mark.parametrize("labels", [2, 6])
def test_small_errors_on_texts_near_the_boundary_are_no_fault(labels: int) -> None:
    one = stress(labels=labels)
    logits = one.reference.logits + noise(0.05, 127, labels)
    wide, close, given = judge_kinds(logits, one, GATE)
    assert (wide.verdict, close.verdict, given.verdict) == ("passes", "passes", "passes")
    assert not wide.near_boundary
    assert close.near_boundary
    assert close.expected_agreement < 0.9
    assert close.beside_held_out == 1
    assert "with held-out text's margins" in close.to_text()
    assert lowest((wide, close, given)) == close
    assert missed_kinds((wide, close, given)) == []


def test_large_errors_on_such_texts_are_a_fault() -> None:
    one = stress()
    logits = one.reference.logits.copy()
    logits[60:120] += noise(3, 60)
    wide, close, given = judge_kinds(logits, one, GATE)
    assert (wide.verdict, close.verdict, given.verdict) == ("passes", "fails", "passes")
    assert [said.partition(" on ")[2] for said in missed_kinds((wide, close))] == ["close text, required 0.99"]
    assert worst_verdict("passes", (wide, close)) == "fails"
    assert worst_verdict("not enough text", (wide,)) == "not enough text"
    assert worst_verdict("near", (wide,)) == "near"


def test_between_the_limit_and_twice_its_flips_a_kind_is_near() -> None:
    one = stress()
    logits = one.reference.logits + noise(0.05, 127)
    _, close, _ = judge_kinds(logits, one, GATE)
    flips = 1 - close.expected_agreement
    for share, verdict in ((1.01, "passes"), (0.6, "near"), (0.4, "fails")):
        # Held-out text that is as near to the boundary: nothing is excused.
        alike = replace(one, held_out_logits=one.reference.logits[60:120])
        judged = judge_kinds(logits, alike, Gate(min_stress_agreement=1 - share * flips))[1]
        assert judged.verdict == verdict, share


def test_what_is_not_a_number_fails() -> None:
    one = stress()
    logits = one.reference.logits.copy()
    logits[3] = np.nan
    assert judge_kinds(logits, one, GATE)[0].verdict == "fails"


def test_values_are_judged_by_the_spread_of_held_out_values() -> None:
    one = stress()
    values = replace(one.reference, logits=np.zeros((127, 1), dtype=np.float32), manifest=manifest("regression", 1))
    one = replace(
        one,
        reference=values,
        held_out_logits=np.linspace(-3, 3, 50, dtype=np.float32)[:, None],
    )
    small, large = (one.reference.logits + np.float32(amount) for amount in (0.1, 1.0))
    assert {kind.verdict for kind in judge_kinds(small, one, GATE)} == {"passes"}
    assert {kind.verdict for kind in judge_kinds(large, one, GATE)} == {"fails"}


def test_sets_of_labels_are_judged_by_every_label() -> None:
    one = stress("multi_label_classification", 3)
    one = replace(one, held_out_logits=margins(3, 200, 3, seed=1) + np.float32([0, 0, -3]))
    logits = one.reference.logits + np.float32([0, 0, -3])
    one = replace(one, reference=replace(one.reference, logits=logits))
    found = judge_kinds(logits + noise(0.05, 127, 3), one, GATE)
    assert [kind.verdict for kind in found] == ["passes"] * 3
    wrong = logits.copy()
    wrong[:60, 2] += 3.2
    assert judge_kinds(wrong, one, GATE)[0].verdict == "fails"
