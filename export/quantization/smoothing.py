"""How an activation and the weights that it meets share the burden of rounding.

An activation shares one scale, a weight has one for each output channel. Smoothing by s, one factor for each input
channel, leaves the product as it is, x W = (x / s)(s W), and moves outlying channels from x into W (SmoothQuant, Xiao
et al. 2022, arXiv:2211.10438). Its strength is found for each activation alone, by what rounding then does to the
product on texts. What outlies most can be kept out of int8: x W = x_few W_few + x_rest W_rest, the first in fp32
(LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.quantization.linear import Observed

__all__ = ["OUTLIERS", "Calibration", "Smoothing", "activation_rounding", "find_smoothing", "round_weight", "smoothing"]

# How many channels are kept out of int8. Of LayerNorm's outputs very few outlie, always the same ones.
OUTLIERS = 4
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TINY = 1e-5


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """How the channels of an activation are scaled before it is rounded.

    Attributes:
        factors: What each channel is divided by; infinite for an outlier, which int8 then does not see.
            *Shape:* `(in_channels,)`.
        outliers: Channels that are multiplied in fp32, ascending.
    """

    factors: NDArray[np.float32]
    outliers: NDArray[np.int64]

    @staticmethod
    def none(channels: int) -> Smoothing:
        """Leave an activation as it is."""
        return Smoothing(factors=np.ones(channels, dtype=np.float32), outliers=np.array([], dtype=np.int64))

    @property
    def is_none(self) -> bool:
        """Whether it leaves the activation as it is."""
        return bool((self.factors == 1).all())

    @property
    def of_weights(self) -> NDArray[np.float32]:
        """What each row of a weight is multiplied with: the factors, and 0 for an outlier."""
        return np.where(np.isfinite(self.factors), self.factors, np.float32(0))


class Calibration:
    """What was seen of the activations, and how each is smoothed best, which is found once.

    Args:
        observed: What was seen, by the activation's name.
    """

    def __init__(self, observed: dict[str, Observed]) -> None:
        self.observed = observed
        self._found: dict[tuple[object, ...], Smoothing] = {}

    def smoothing(
        self, activation: str, weights: dict[str, NDArray[np.float32]], *, bits: int, outliers: int = 0
    ) -> Smoothing:
        """Give the best smoothing for an activation and the weights, by name, that share it."""
        key = (activation, *weights, bits, outliers)
        if key not in self._found:
            side_by_side = np.concatenate(list(weights.values()), axis=1)
            self._found[key] = find_smoothing(self.observed[activation], side_by_side, bits=bits, outliers=outliers)
        return self._found[key]


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How an activation becomes u8: q = round(x / step) + zero."""

    step: np.float32
    zero: np.uint8

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Round, and scale back."""
        zero = np.float32(self.zero)
        return np.asarray((np.clip(np.round(values / self.step) + zero, 0, 255) - zero) * self.step)


def smoothing(largest: NDArray[np.float32], weights: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """Compute s = max|x|^alpha / max|W|^(1 - alpha) for each input channel, scaled so that its geometric mean is 1.

    Args:
        largest: max|x|. *Shape:* `(in_channels,)`.
        weights: All weights that share x, side by side. *Shape:* `(in_channels, out_channels)`.
        alpha: How much of x's range moves.

    Returns:
        *Shape:* `(in_channels,)`.
    """
    factors = np.maximum(largest, TINY) ** alpha / np.maximum(np.abs(weights).max(axis=1), TINY) ** (1 - alpha)
    return np.asarray(factors / np.exp(np.mean(np.log(factors))), dtype=np.float32)


def activation_rounding(observed: Observed, factors: NDArray[np.float32]) -> Rounding:
    """Choose step and zero point so that all that was observed fits into u8, once divided by the factors."""
    low = min(0.0, float((observed.low / factors).min()))
    high = max(0.0, float((observed.high / factors).max()))
    step = np.float32(max(high - low, TINY) / 255)
    return Rounding(step=step, zero=np.uint8(np.clip(round(-low / float(step)), 0, 255)))


def round_weight(
    weight: NDArray[np.float32], bits: int, *, per_channel: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Round a weight, symmetrically.

    Args:
        weight: *Shape:* `(in_channels, out_channels)`.
        bits: 8, or 7.
        per_channel: Whether each output channel has a scale of its own.

    Returns:
        Whole numbers of the weight's shape; scales. *Shape:* `(out_channels,)`, or `()`.
    """
    limit = 2 ** (bits - 1) - 1
    largest = np.abs(weight).max(axis=0) if per_channel else np.abs(weight).max()
    steps = np.asarray(np.maximum(largest, TINY) / limit, dtype=np.float32)
    return np.clip(np.round(weight / steps), -limit, limit), steps


def find_smoothing(observed: Observed, weights: NDArray[np.float32], *, bits: int, outliers: int = 0) -> Smoothing:
    """Find the smoothing that changes the product least, in mean square over the sample.

    Args:
        observed: The activation.
        weights: All weights that share it, side by side. *Shape:* `(in_channels, out_channels)`.
        bits: Of the weights.
        outliers: How many channels to keep out of int8.
    """
    exact = observed.sample @ weights
    errors = []
    found = list(candidates(observed, weights, outliers))
    for candidate in found:
        rounding = activation_rounding(observed, candidate.factors)
        values, steps = round_weight(weights * candidate.of_weights[:, None], bits)
        product = rounding.apply(observed.sample / candidate.factors) @ (values * steps)
        few = candidate.outliers
        errors.append(float(np.mean(np.square(product + observed.sample[:, few] @ weights[few] - exact))))
    return found[int(np.argmin(errors))]


def candidates(observed: Observed, weights: NDArray[np.float32], outliers: int) -> Iterator[Smoothing]:
    """Give ways to smooth: none, and each strength; outliers are those of x, or those of x and W together."""
    in_weights = np.abs(weights).max(axis=1)
    for measure in (observed.largest, observed.largest * in_weights)[: 2 if outliers else 1]:
        few = np.sort(np.argsort(-measure, kind="stable")[:outliers])
        rest = np.setdiff1d(np.arange(len(measure)), few)
        ways = [np.ones(len(rest), dtype=np.float32)]
        ways += [smoothing(observed.largest[rest], weights[rest], alpha) for alpha in STRENGTHS]
        for way in ways:
            factors = np.full(len(measure), np.inf, dtype=np.float32)
            factors[rest] = way
            yield Smoothing(factors=factors, outliers=few)
