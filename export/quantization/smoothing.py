"""Smooth activations: move their outliers into the weights, and keep the largest out of int8.

An activation has one scale, a weight one for each output channel. Smoothing by s, one factor for each input channel,
leaves the product unchanged, x W = (x / s)(s W), and moves outliers from x into W (SmoothQuant, Xiao et al. 2022,
arXiv:2211.10438). Its strength is found for each activation, by the effect of rounding on the product on texts. The
largest outliers can be kept out of int8: x W = x_few W_few + x_rest W_rest, the first product in fp32 (LLM.int8(),
Dettmers et al. 2022, arXiv:2208.07339).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.quantization.calibration import Observed
from ftx.export.quantization.rounding import activation_rounding, round_weight

__all__ = ["OUTLIERS", "Smoothing", "find_smoothing", "smoothing"]

# How many channels are kept out of int8. LayerNorm's outputs have very few outlier channels, always the same ones.
OUTLIERS = 4
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TINY = 1e-5


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """The scaling of an activation's channels before it is rounded.

    Attributes:
        factors: What each channel is divided by; infinite for an outlier, which is 0 in int8.
            *Shape:* `(in_channels,)`.
        outliers: Channels that are multiplied in fp32, ascending.
    """

    factors: NDArray[np.float32]
    outliers: NDArray[np.int64]

    @staticmethod
    def none(channels: int) -> Smoothing:
        """Give the smoothing that changes nothing."""
        return Smoothing(factors=np.ones(channels, dtype=np.float32), outliers=np.array([], dtype=np.int64))

    @property
    def is_none(self) -> bool:
        """Whether it changes nothing."""
        return bool((self.factors == 1).all())

    @property
    def of_weights(self) -> NDArray[np.float32]:
        """What each row of a weight is multiplied by: the factors, and 0 for an outlier."""
        return np.where(np.isfinite(self.factors), self.factors, np.float32(0))


def smoothing(largest: NDArray[np.float32], weights: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """Compute s = max|x|^alpha / max|W|^(1 - alpha) for each input channel, scaled so that its geometric mean is 1.

    Args:
        largest: max|x|. *Shape:* `(in_channels,)`.
        weights: All weights that read x, side by side. *Shape:* `(in_channels, out_channels)`.
        alpha: How much of x's range moves into W.

    Returns:
        *Shape:* `(in_channels,)`.
    """
    factors = np.maximum(largest, TINY) ** alpha / np.maximum(np.abs(weights).max(axis=1), TINY) ** (1 - alpha)
    return np.asarray(factors / np.exp(np.mean(np.log(factors))), dtype=np.float32)


def find_smoothing(
    observed: Observed, weights: NDArray[np.float32], *, bits: int, outliers: int = 0, per_token: bool = False
) -> Smoothing:
    """Find the smoothing with the smallest mean squared error of the product over the sample.

    Args:
        observed: The activation.
        weights: All weights that read it, side by side. *Shape:* `(in_channels, out_channels)`.
        bits: Of the weights.
        outliers: How many channels to keep out of int8.
        per_token: Whether each token of the activation has a scale of its own.
    """
    exact = observed.sample @ weights
    errors = []
    found = list(candidates(observed, weights, outliers))
    for candidate in found:
        rounding = activation_rounding(observed, candidate.factors, per_token=per_token)
        values, steps = round_weight(weights * candidate.of_weights[:, None], bits)
        product = rounding.apply(observed.sample / candidate.factors) @ (values * steps)
        few = candidate.outliers
        errors.append(float(np.mean(np.square(product + observed.sample[:, few] @ weights[few] - exact))))
    return found[int(np.argmin(errors))]


def candidates(observed: Observed, weights: NDArray[np.float32], outliers: int) -> Iterator[Smoothing]:
    """Give the smoothings to try: none, and each strength; outliers by the size of x, or of x and W together."""
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
