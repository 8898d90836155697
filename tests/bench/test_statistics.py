from __future__ import annotations

import numpy as np
import pytest

from ftx.bench.statistics import (
    confidence_reached,
    median_interval,
    percentile_interval,
    ratio_interval,
    samples_needed,
    share_interval,
    student_95,
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


@pytest.mark.parametrize(("rounds", "of_a_round"), [(2, 0.05), (6, 0.01), (6, 0.08), (12, 0.02)])
def test_two_runs_agree_within_the_intervals_that_they_state(rounds: int, of_a_round: float) -> None:
    random = np.random.default_rng(5)
    agree = 0
    for _ in range(EXPERIMENTS // 2):
        # Both runs find the same ratio, but for what differs from run to run and from round to round.
        runs = 5 * np.exp(random.normal(0, 0.01, (2, 1)) + random.normal(0, of_a_round, (2, rounds)))
        (low, high), (other_low, other_high) = (ratio_interval(ratios, noise=0.0) for ratios in runs)
        first, second = np.log(np.median(runs, axis=1))
        towards = (np.log(high) - first, second - np.log(other_low))
        if second < first:
            towards = (first - np.log(low), np.log(other_high) - second)
        agree += abs(second - first) <= np.hypot(*towards)
    assert agree / (EXPERIMENTS // 2) >= 0.9


def test_noise_widens_the_interval_of_a_ratio() -> None:
    ratios = np.array([4.9, 5.0, 5.0, 5.0, 5.1, 5.0])
    quiet, noisy = (ratio_interval(ratios, noise) for noise in (0.0, 0.5))
    assert noisy[0] < quiet[0] < 5 < quiet[1] < noisy[1]
    # Even if all rounds agree, another run may differ.
    assert ratio_interval(np.full(6, 5.0), 0.0)[0] < 5
    assert [student_95(freedom) for freedom in (2, 5, 30)] == pytest.approx([4.303, 2.571, 2.042], rel=0.01)


def test_wilson_s_interval_of_a_share() -> None:
    assert share_interval(0.998, 1000) == pytest.approx((0.99274, 0.99945), abs=1e-5)
    assert share_interval(1.0, 10) == pytest.approx((0.72247, 1.0), abs=1e-5)
