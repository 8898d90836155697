from __future__ import annotations

import numpy as np
import pytest

from ftx.bench.statistics import (
    confidence_reached,
    median_interval,
    percentile_interval,
    samples_needed,
    share_interval,
)

EXPERIMENTS = 1000


@pytest.mark.parametrize(("percentile", "size"), [(50, 20), (90, 128), (99, 512)])
def test_an_interval_of_a_percentile_holds_it_as_often_as_it_says(percentile: float, size: int) -> None:
    truth = -np.log1p(-percentile / 100)
    random = np.random.default_rng(5)
    held = 0
    for _ in range(EXPERIMENTS):
        interval = percentile_interval(random.exponential(size=size), percentile)
        assert interval
        held += interval[0] <= truth <= interval[1]
    # At least 95 %, as order statistics go in steps, less three standard errors of this many experiments.
    assert 0.93 < held / EXPERIMENTS < 0.995


def test_too_few_samples_give_no_interval() -> None:
    random = np.random.default_rng(5)
    assert percentile_interval(random.random(367), 99) is None
    assert percentile_interval(random.random(368), 99)
    assert percentile_interval(random.random(5), 50) is None


def test_mlperf_s_counts_are_those_of_its_paper() -> None:
    assert [samples_needed(percentile, 0.99) for percentile in (90, 95, 99)] == [23_886, 50_425, 262_742]
    assert confidence_reached(99, 262_742) == pytest.approx(0.99, abs=1e-6)
    assert 0 < confidence_reached(99, 512) < 0.2


def test_the_interval_of_a_median_narrows_with_more_pairs_and_holds_it() -> None:
    random = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        low, high = median_interval(4.6 + 0.1 * random.standard_normal(40))
        held += low <= 4.6 <= high
    assert held / 200 > 0.88
    few, many = (np.ptp(median_interval(random.standard_normal(size))) for size in (10, 1000))
    assert many < few / 3
    assert median_interval(np.ones(4)) == (1, 1)


def test_wilson_s_interval_of_a_share() -> None:
    assert share_interval(0.998, 1000) == pytest.approx((0.99274, 0.99945), abs=1e-5)
    assert share_interval(1.0, 10) == pytest.approx((0.72247, 1.0), abs=1e-5)
