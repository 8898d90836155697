from __future__ import annotations

import numpy as np

from ftx.export.quantization.fitted import Fitted
from ftx.export.quantization.rounding import activation_rounding, round_weight
from ftx.export.quantization.smoothing import OUTLIERS, Smoothing, find_smoothing
from tests.export.conftest import outlying


def test_a_smoothing_is_looked_for_once() -> None:
    observed, weights = outlying()
    fitted = Fitted({"x": observed})
    first = fitted.smoothing("x", {"a": weights[:, :8], "b": weights[:, 8:]}, bits=8)
    assert fitted.smoothing("x", {"a": weights[:, :8], "b": weights[:, 8:]}, bits=8) is first
    assert fitted.smoothing("x", {"a": weights[:, :8]}, bits=8) is not first
    np.testing.assert_array_equal(first.factors, find_smoothing(observed, weights, bits=8).factors)


def test_a_weight_is_rounded_once_and_for_what_it_meets() -> None:
    observed, weights = outlying()
    fitted = Fitted({"x": observed})
    for outliers in (0, OUTLIERS):
        smoothing = find_smoothing(observed, weights, bits=8, outliers=outliers)
        values, steps = fitted.rounded("node", "x", weights, smoothing, bits=8, per_channel=True)
        again = fitted.rounded("node", "x", weights, smoothing, bits=8, per_channel=True)
        assert again[0] is values
        assert values.dtype == np.int8
        met = activation_rounding(observed, smoothing.factors).apply(observed.sample / smoothing.factors)
        exact = met @ (weights * smoothing.of_weights[:, None])
        nearest, _ = round_weight(weights * smoothing.of_weights[:, None], 8)
        error, before = (float(np.square(met @ (found * steps) - exact).mean()) for found in (values, nearest))
        assert error < 0.9 * before
    plain, _ = fitted.rounded("node", "x", weights, Smoothing.none(32), bits=8, per_channel=True)
    assert not np.array_equal(plain, values)
