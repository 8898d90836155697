from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ftx.export.parity.gate import same_predictions
from ftx.export.parity.margins import larger, margin_error, near_boundary
from ftx.manifest import Manifest
from ftx.runtime.heads import decode, margins, probabilities


def manifest(problem_type: str, labels: int, **more: object) -> Manifest:
    names = {column: str(column) for column in range(labels)}
    return Manifest(problem_type=problem_type, id2label=names, max_length=8, input_names=("input_ids",), **more)  # type: ignore[arg-type]


def noisy(labels: int, size: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    expected = random.normal(scale=2, size=(3000, labels)).astype(np.float32)
    return expected + random.normal(scale=size, size=expected.shape).astype(np.float32), expected


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification"])
@pytest.mark.parametrize("labels", [2, 6])
def test_nearly_all_changed_predictions_are_among_the_texts_near_the_boundary(problem_type: str, labels: int) -> None:
    model = manifest(problem_type, labels)
    logits, expected = noisy(labels, 0.05)
    found = near_boundary(logits, expected, model, margin_error(logits, expected, model))
    flips = int((~same_predictions(logits, expected, model)).sum())
    assert found
    assert flips > 10
    assert found.flips <= 0.05 * flips
    assert found.share < 0.3
    # The file's predictions say so themselves.
    marked = manifest(problem_type, labels, parity={"margin_error": found.margin_error})
    said = decode([""] * 3000, logits, marked)
    assert np.mean([one.near_boundary for one in said]) == found.share
    assert decode([""], logits[:1], model)[0].near_boundary is None


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification"])
def test_a_cascade_keeps_what_fp32_answers(problem_type: str) -> None:
    model = manifest(problem_type, 3)
    logits, expected = noisy(3, 0.05)
    error = margin_error(*noisy(3, 0.05, seed=1), model)
    found = near_boundary(logits, expected, model, error, expected)
    assert found
    assert found.cascade
    assert (found.cascade.texts, found.cascade.flips) == (3000, found.flips)
    assert found.cascade.label_agreement == 1 - found.flips / 3000 > same_predictions(logits, expected, model).mean()
    low, high = found.cascade.label_agreement_interval
    assert low < found.cascade.label_agreement <= high
    # What the fp32 file changes counts, too.
    wrong = near_boundary(logits, expected, model, error, -expected)
    assert wrong
    assert wrong.cascade
    assert wrong.cascade.flips > 0.9 * 3000 * wrong.share
    unknown = near_boundary(logits, expected, model, error)
    assert unknown
    assert unknown.cascade is None


def test_the_margin_is_to_the_next_label_or_to_the_nearest_threshold() -> None:
    rows = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]], dtype=np.float32)
    np.testing.assert_allclose(margins(rows, manifest("single_label_classification", 3)), [0.2, 0.85], atol=1e-6)
    model = manifest("multi_label_classification", 3, thresholds={"0": 0.1})
    np.testing.assert_allclose(margins(rows, model), [0.0, 0.45], atol=1e-6)
    [first, _] = decode(["a", "b"], np.log(rows), manifest("single_label_classification", 3))
    assert first.to_dict()["margin"] == pytest.approx(0.2)
    assert "near_boundary" not in first.to_dict()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(0.1, 0.2, 0.2), (0.2, 0.1, 0.2), (0.1, None, 0.1), (None, 0.1, 0.1), (None, None, None), (0.1, math.nan, 0.1)],
)
def test_the_larger_error_counts(one: float | None, other: float | None, expected: float | None) -> None:
    assert larger(one, other) == expected


def test_values_have_no_margin() -> None:
    model = manifest("regression", 1)
    logits, expected = noisy(1, 0.1)
    assert margin_error(logits, expected, model) is None
    assert near_boundary(logits, expected, model, None) is None
    assert "margin" not in decode([""], logits[:1], model)[0].to_dict()


@pytest.mark.parametrize("damaged", ["0.1", None, True, [], {}])
def test_an_error_in_the_manifest_that_is_no_number_is_no_statement(damaged: object) -> None:
    model = manifest("single_label_classification", 2, parity={"margin_error": damaged})
    assert model.margin_error is None
    rows = probabilities(np.zeros((1, 2), dtype=np.float32), "single_label_classification")
    assert margins(rows, model)[0] == 0
