from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ftx.export.parity.agreement import estimate_agreement, poisson_tail
from ftx.export.parity.gate import Gate, same_predictions
from ftx.manifest import Manifest

MANIFEST = Manifest(
    problem_type="single_label_classification", id2label={0: "no", 1: "yes"}, max_length=8, input_names=()
)


def labels(count: int) -> Manifest:
    return replace(MANIFEST, id2label={number: f"label {number}" for number in range(count)})


@pytest.mark.parametrize("count", [2, 6, 13, 77])
def test_the_estimate_foretells_what_is_counted_on_more_text(count: int) -> None:
    manifest, random = labels(count), np.random.default_rng(count)

    def draw(texts: int) -> tuple[np.ndarray, np.ndarray]:
        reference = random.normal(scale=2, size=(texts, count)).astype(np.float32)
        return reference, reference + random.normal(scale=0.03, size=reference.shape).astype(np.float32)

    reference, logits = draw(100_000)
    flips = 1 - float(same_predictions(logits, reference, manifest).mean())
    estimates = []
    for _ in range(10):
        reference, logits = draw(600)
        estimates.append(1 - estimate_agreement(logits, reference, manifest))
    assert np.mean(estimates) == pytest.approx(flips, rel=0.2)
    assert estimate_agreement(reference, reference, manifest) == 1


def test_a_flip_to_the_third_label_is_a_flip() -> None:
    reference = np.tile(np.array([1, 0.9, 0.85, 0, 0, 0], dtype=np.float32), (1000, 1))
    logits = reference.copy()
    logits[:, 2] += 0.5
    assert not same_predictions(logits, reference, labels(6)).any()
    assert estimate_agreement(logits, reference, labels(6)) == 0


@pytest.mark.parametrize("column", [1, 2, 5])
def test_flips_that_the_margins_do_not_explain_are_counted(column: int) -> None:
    random = np.random.default_rng(0)
    reference = random.normal(scale=0.01, size=(1000, 6)).astype(np.float32)
    reference[:, 0] += 5
    logits = reference + random.normal(scale=0.01, size=reference.shape).astype(np.float32)
    logits[:10, column] += 9  # only a few texts, all with wide margins
    assert int((~same_predictions(logits, reference, labels(6))).sum()) == 10
    found = estimate_agreement(logits, reference, labels(6))
    assert found <= 0.99
    assert found < Gate().min_agreement


def test_a_flip_or_two_that_chance_explains_do_not_replace_the_estimate() -> None:
    random = np.random.default_rng(5)
    reference = random.normal(scale=2, size=(600, 2)).astype(np.float32)
    logits = reference + random.normal(scale=0.02, size=reference.shape).astype(np.float32)
    counted = float(same_predictions(logits, reference, MANIFEST).mean())
    assert counted < 1
    assert estimate_agreement(logits, reference, MANIFEST) != counted


def test_not_a_number_agrees_with_nothing() -> None:
    reference = np.ones((100, 2), dtype=np.float32)
    logits = reference.copy()
    logits[3, 1] = np.nan
    assert estimate_agreement(logits, reference, MANIFEST) == 0


@pytest.mark.parametrize("head", ["multi_label_classification", "regression"])
def test_other_heads(head: str) -> None:
    random = np.random.default_rng(3)
    columns = {0: "stars"} if head == "regression" else {0: "a", 1: "b", 2: "c"}
    manifest = replace(MANIFEST, problem_type=head, id2label=columns)
    reference = random.normal(size=(500, len(columns))).astype(np.float32)
    assert estimate_agreement(reference, reference, manifest) == 1
    moved = reference + random.normal(scale=0.1, size=reference.shape).astype(np.float32)
    assert 0.5 < estimate_agreement(moved, reference, manifest) < 0.99


def test_the_poisson_tail_is_that_of_the_tables() -> None:
    assert poisson_tail(0, 3) == 1
    assert poisson_tail(1, 3) == pytest.approx(1 - np.exp(-3))
    assert poisson_tail(6, 3) == pytest.approx(0.0839, abs=1e-4)
    assert poisson_tail(1, 0) == 0
