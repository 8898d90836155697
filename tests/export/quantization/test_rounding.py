from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftx.export.quantization.rounding import BLOCK, round_weight
from tests.export.conftest import outlying


@pytest.mark.parametrize("bits", [7, 8])
def test_a_weight_is_rounded_to_half_a_step_at_most(bits: int) -> None:
    _, weights = outlying()
    values, steps = round_weight(weights, bits)
    assert np.abs(values).max() == 2 ** (bits - 1) - 1
    assert (np.abs(values * steps - weights) <= steps / 2 * (1 + 1e-5)).all()
    assert round_weight(weights, bits, per_channel=False)[1].shape == ()


@given(st.integers(0, 2**32 - 1), st.sampled_from([7, 8]), st.booleans(), st.sampled_from([64, BLOCK, 2 * BLOCK + 5]))
def test_knowing_the_activation_keeps_the_product(seed: int, bits: int, per_channel: bool, channels: int) -> None:
    random = np.random.default_rng(seed)
    # What goes in is made of few causes, as activations are.
    x = random.normal(size=(3 * channels, channels // 4)) @ random.normal(size=(channels // 4, channels))
    x += 0.1 * random.normal(size=x.shape)
    weight = random.normal(size=(channels, 6)).astype(np.float32)
    moments = x.T @ x / len(x)
    nearest, steps = round_weight(weight, bits, per_channel=per_channel)
    found, same_steps = round_weight(weight, bits, per_channel=per_channel, moments=moments)
    np.testing.assert_array_equal(steps, same_steps)
    np.testing.assert_array_equal(found, np.round(found))
    assert np.abs(found).max() <= 2 ** (bits - 1) - 1
    exact = x @ weight
    error, before = (float(np.square(x @ (values * steps) - exact).mean()) for values in (found, nearest))
    assert error < 0.8 * before


def test_channels_that_have_nothing_to_do_with_each_other_are_rounded_to_the_nearest_step() -> None:
    _, weights = outlying()
    for moments in (np.diag(np.arange(32.0)), np.zeros((32, 32))):
        found, _ = round_weight(weights, 8, moments=moments)
        np.testing.assert_array_equal(found, round_weight(weights, 8)[0])
