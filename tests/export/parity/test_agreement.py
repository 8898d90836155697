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


def draw(head: str, errors: str, count: int, texts: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw PyTorch's logits and a file's, of which some six in a thousand differ in their label."""
    several = head == "multi_label_classification"
    # Few of many labels are given to a text; the scale of the errors is such that the labels of few texts change.
    reference = random.normal(-3, 3, size=(texts, count)) if several else random.normal(0, 2, size=(texts, count))
    scale = 0.06 / count if several else {2: 0.025, 6: 0.012, 13: 0.009, 77: 0.006}[count]
    noise = random.normal(size=reference.shape)
    if errors == "correlated":  # the same in all labels but for their size
        noise = random.normal(size=(texts, 1)) * np.linspace(0.5, 1.5, count) + noise / 4
    elif errors == "shifted":  # some labels gain, others lose, in every text
        noise = np.linspace(-1, 1, count) + noise / 2
    elif errors == "heavy tails":
        noise = random.standard_t(3, size=reference.shape) / 2
    elif errors == "largest at the boundary":
        ordered = np.sort(reference, axis=1)
        margin = np.abs(reference) if several else (ordered[:, -1:] - ordered[:, -2:-1])
        noise *= 0.3 + np.exp(-margin)
    return reference.astype(np.float32), (reference + scale * noise).astype(np.float32)


@pytest.mark.parametrize("head", ["single_label_classification", "multi_label_classification"])
@pytest.mark.parametrize(
    ("errors", "count"),
    [
        *(("independent", count) for count in (2, 6, 13, 77)),
        *(("largest at the boundary", count) for count in (2, 6, 13, 77)),
        *((errors, 6) for errors in ("correlated", "shifted", "heavy tails")),
    ],
)
def test_the_estimate_is_that_of_a_count_on_a_large_set(head: str, errors: str, count: int) -> None:
    manifest = replace(labels(count), problem_type=head)
    reference, logits = draw(head, errors, count, 20_000, np.random.default_rng(count))
    same = np.sign(logits) == np.sign(reference)
    if head == "single_label_classification":
        kept = logits.argmax(axis=1) == reference.argmax(axis=1)
    else:
        kept = same.all(axis=1)
    counted = float(kept.mean())
    assert 0.985 < counted < 0.999
    assert estimate_agreement(logits, reference, manifest) == pytest.approx(counted, abs=0.001)
    # And of a few hundred texts, on the average.
    few = [slice(start, start + 625) for start in range(0, 20_000, 625)]
    estimates = [estimate_agreement(logits[rows], reference[rows], manifest) for rows in few]
    assert np.mean(estimates) == pytest.approx(counted, abs=0.001)
    # It varies less than the count.
    assert np.std(estimates) < np.std([kept[rows].mean() for rows in few])


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
