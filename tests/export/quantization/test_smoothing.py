from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ftx.export.quantization.calibration import Observed
from ftx.export.quantization.rounding import activation_rounding, round_weight
from ftx.export.quantization.smoothing import OUTLIERS, Smoothing, find_smoothing, smoothing
from tests.export.conftest import outlying


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_smoothing_leaves_the_product_as_it_is(seed: int, alpha: float) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(5, 7)).astype(np.float32) * 10 ** random.uniform(-3, 3, size=7).astype(np.float32)
    w = random.normal(size=(7, 3)).astype(np.float32)
    factors = smoothing(np.abs(x).max(axis=0), w, alpha)
    assert factors.dtype == np.float32
    assert np.exp(np.mean(np.log(factors))) == pytest.approx(1, rel=1e-3)
    product, scale = x @ w, np.abs(x) @ np.abs(w)
    np.testing.assert_array_less(np.abs((x / factors) @ (factors[:, None] * w) - product), 1e-5 * scale + 1e-30)


def test_smoothing_wholly_makes_all_channels_alike() -> None:
    largest = np.array([100, 1, 0.01], dtype=np.float32)
    factors = smoothing(largest, np.ones((3, 2), dtype=np.float32), 1.0)
    np.testing.assert_allclose(largest / factors, (largest / factors)[0], rtol=1e-4)


def error(observed: Observed, weights: NDArray[np.float32], found: Smoothing) -> float:
    """Compute what is lost of the product, as `write_quantized` builds it."""
    rounded = activation_rounding(observed, found.factors).apply(observed.sample / found.factors)
    values, steps = round_weight(weights * found.of_weights[:, None], 8)
    few = observed.sample[:, found.outliers] @ weights[found.outliers]
    return float(np.sqrt(np.mean(np.square(rounded @ (values * steps) + few - observed.sample @ weights))))


def test_the_strength_is_the_one_that_loses_least() -> None:
    observed, weights = outlying()
    found = find_smoothing(observed, weights, bits=8)
    others = [Smoothing.none(32)]
    for alpha in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        none = np.array([], dtype=np.int64)
        others.append(Smoothing(factors=smoothing(observed.largest, weights, alpha), outliers=none))
    assert error(observed, weights, found) == min(error(observed, weights, other) for other in others)
    assert error(observed, weights, found) < error(observed, weights, Smoothing.none(32)) / 2.5


def test_outliers_are_found_and_int8_does_not_see_them() -> None:
    observed, weights = outlying()
    found = find_smoothing(observed, weights, bits=8, outliers=OUTLIERS)
    assert {3, 7, 20} < set(found.outliers)
    assert len(found.outliers) == OUTLIERS
    assert (found.of_weights[found.outliers] == 0).all()
    assert error(observed, weights, found) < error(observed, weights, find_smoothing(observed, weights, bits=8)) / 1.5


def test_an_activation_that_is_always_the_same_can_be_rounded() -> None:
    nothing = np.zeros((4, 8), dtype=np.float32)
    observed = Observed(low=nothing[0], high=nothing[0], sample=nothing, moments=nothing.T @ nothing)
    found = find_smoothing(observed, np.ones((8, 2), dtype=np.float32), bits=8, outliers=2)
    assert error(observed, np.ones((8, 2), dtype=np.float32), found) == 0
