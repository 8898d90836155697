"""Intervals of what was measured: percentiles by order statistics, shares by Wilson, ratios by the bootstrap."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "P99_SAMPLES", "Interval", "confidence_reached", "median_interval", "percentile_interval", "ratio_interval",
    "samples_needed", "share_interval",
]  # fmt: skip

Interval = tuple[float, float]
RESAMPLES = 2000
# How much a ratio differs from run to run beyond what the rounds of one show, as a standard deviation of its logarithm:
# on a machine whose noise is no more than `QUIET`, and for each unit of noise above that.
BETWEEN_RUNS, QUIET, OF_NOISE = 0.02, 0.05, 0.1
# The least for an interval of a 99th percentile, see `percentile_interval`.
P99_SAMPLES = 368
Z_95 = NormalDist().inv_cdf(0.975)


def percentile_interval(samples: NDArray[np.float64], percentile: float) -> Interval | None:
    """Give a percentile's 95 % interval, without assuming a distribution.

    The number of samples below the percentile is binomial, so two order statistics enclose it (David and Nagaraja,
    "Order Statistics", 3rd edition, section 7.1).

    Returns:
        None where there are too few samples for one: 368 are the least for the 99th.
    """
    ordered, share = np.sort(samples, axis=None), percentile / 100
    size = len(ordered)
    below = np.arange(1, size + 1)
    logs = np.concatenate(([0.0], np.cumsum(np.log((size - below + 1) / below))))
    counts = np.arange(size + 1)
    mass = np.exp(logs + counts * math.log(share) + (size - counts) * math.log1p(-share))
    cumulated = np.cumsum(mass)
    # X(low) exceeds the percentile if fewer than low samples lie below it; X(high) is below it if at least high do.
    low = int(np.searchsorted(cumulated, 0.025, side="right"))
    high = int(np.searchsorted(cumulated, 0.975)) + 1
    if low < 1 or high > size:
        return None
    return float(ordered[low - 1]), float(ordered[high - 1])


def samples_needed(percentile: float, confidence: float) -> int:
    """Count the samples that MLPerf wants for a percentile.

    With a margin of a twentieth of the tail (Reddi et al. 2020, "MLPerf Inference Benchmark"): 262,742 for the 99th
    with 99 % confidence.
    """
    share = percentile / 100
    margin = (1 - share) / 20
    return round(NormalDist().inv_cdf((1 - confidence) / 2) ** 2 * share * (1 - share) / margin**2)


def confidence_reached(percentile: float, samples: int) -> float:
    """Give the confidence that this many samples reach by MLPerf's formula, which is that of `samples_needed`."""
    share = percentile / 100
    margin = (1 - share) / 20
    return 2 * NormalDist().cdf(margin * math.sqrt(samples / (share * (1 - share)))) - 1


def median_interval(values: NDArray[np.float64]) -> Interval:
    """Give the 95 % interval of a median by the percentile bootstrap, reproducibly. *Shape of values:* `(pairs,)`."""
    rows = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[rows], axis=1), (0.025, 0.975))
    return float(low), float(high)


def ratio_interval(ratios: NDArray[np.float64], noise: float) -> Interval:
    """Give the 95 % interval of the median of paired ratios, as another run on the same machine would find it.

    That of the bootstrap is too narrow in two ways. Of n pairs it is so by the ratio of Student's quantile to the
    normal one, and by the root of n / (n - 1) (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", on
    expanded percentile intervals). And the pairs of a run share what differs from run to run: that is added as an
    independent error.

    Args:
        ratios: *Shape:* `(pairs,)`.
        noise: The spread of the machine's speed, see `Calibration.spread`.
    """
    logs, size = np.log(ratios), len(ratios)
    middle, bounds = float(np.median(logs)), median_interval(logs)
    few = math.sqrt(size / (size - 1)) * student_95(size - 1) / Z_95 if size > 1 else 1.0
    runs = Z_95 * math.hypot(BETWEEN_RUNS, OF_NOISE * max(0.0, noise - QUIET))
    low, high = (math.hypot(few * (bound - middle), runs) for bound in bounds)
    return math.exp(middle - low), math.exp(middle + high)


def student_95(freedom: int) -> float:
    """Give the 0.975 quantile of Student's distribution (Abramowitz and Stegun, formula 26.7.5)."""
    terms = (
        1.0,
        (Z_95**2 + 1) / 4,
        (5 * Z_95**4 + 16 * Z_95**2 + 3) / 96,
        (3 * Z_95**6 + 19 * Z_95**4 + 17 * Z_95**2 - 15) / 384,
        (79 * Z_95**8 + 776 * Z_95**6 + 1482 * Z_95**4 - 1920 * Z_95**2 - 945) / 92160,
    )
    return Z_95 * math.fsum(term / freedom**power for power, term in enumerate(terms))


def share_interval(share: float, size: int) -> Interval:
    """Give Wilson's 95 % interval of a share (Wilson 1927, "Probable inference")."""
    scale = 1 + Z_95**2 / size
    middle = (share + Z_95**2 / (2 * size)) / scale
    half = Z_95 / scale * math.sqrt(max(0.0, share * (1 - share)) / size + Z_95**2 / (4 * size**2))
    return max(0.0, middle - half), min(1.0, middle + half)
