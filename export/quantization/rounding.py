"""Round the operands of a product.

An activation has one scale, fixed by calibration, or one for each token, found at run time. In the latter case
calibration chooses the zero point only: a token's scale is the smallest with which its own values fit beside that, so
none is ever clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.quantization.calibration import Observed

__all__ = ["ActivationRounding", "Rounding", "TokenRounding", "activation_rounding", "keep_product", "round_weight"]

TINY = 1e-5
# Added to the second moments, as a share of their mean, so that they are invertible.
DAMPING = 0.01
# Input channels that are rounded before the rest is updated: one large product instead of many small ones.
BLOCK = 128


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """The quantisation of an activation to u8: q = round(x / step) + zero."""

    step: np.float32
    zero: np.uint8

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Quantise and dequantise."""
        zero = np.float32(self.zero)
        return np.asarray((np.clip(np.round(values / self.step) + zero, 0, 255) - zero) * self.step)

    @property
    def mean_square_step(self) -> float:
        """The square of the step."""
        return float(self.step) ** 2


@dataclass(frozen=True, kw_only=True)
class TokenRounding:
    """The quantisation of an activation to u8 with a step for each token: q = round(x / step) + zero.

    Attributes:
        zero: The zero point, which is the same for all tokens, as onnxruntime's product requires.
        mean_square_step: The mean of the observed tokens' squared steps.
    """

    zero: np.uint8
    mean_square_step: float

    @property
    def of_high(self) -> np.float32:
        """What a token's largest value is multiplied by; its step is the larger of the two products."""
        return np.float32(1 / (255 - float(self.zero)))

    @property
    def of_low(self) -> np.float32:
        """What its smallest value is multiplied by."""
        return np.float32(-1 / float(self.zero))

    def steps(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Find the step of each token.

        Args:
            values: *Shape:* `(..., tokens, channels)`.

        Returns:
            *Shape:* `(..., tokens, 1)`.
        """
        high, low = values.max(axis=-1, keepdims=True), values.min(axis=-1, keepdims=True)
        return np.asarray(np.maximum(np.maximum(high * self.of_high, low * self.of_low), np.float32(TINY)))

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Quantise and dequantise."""
        steps, zero = self.steps(values), np.float32(self.zero)
        return np.asarray((np.clip(np.round(values / steps) + zero, 0, 255) - zero) * steps)


ActivationRounding = Rounding | TokenRounding


def activation_rounding(
    observed: Observed, factors: NDArray[np.float32], *, per_token: bool = False
) -> ActivationRounding:
    """Choose how an activation, divided by the factors, is rounded."""
    return token_rounding(observed.sample / factors) if per_token else fixed_rounding(observed, factors)


def token_rounding(sample: NDArray[np.float32]) -> TokenRounding:
    """Choose the zero point with the smallest mean squared step over a sample. *Shape:* `(tokens, channels)`."""
    high, low = sample.max(axis=1, keepdims=True), sample.min(axis=1, keepdims=True)
    zeros = np.arange(1, 255, dtype=np.float32)
    squares = np.square(np.maximum(high / (255 - zeros), -low / zeros)).mean(axis=0)
    best = int(np.argmin(squares))
    return TokenRounding(zero=np.uint8(zeros[best]), mean_square_step=float(squares[best]))


def fixed_rounding(observed: Observed, factors: NDArray[np.float32]) -> Rounding:
    """Choose step and zero point so that all observed values, divided by the factors, fit into u8."""
    low = min(0.0, float((observed.low / factors).min()))
    high = max(0.0, float((observed.high / factors).max()))
    step = np.float32(max(high - low, TINY) / 255)
    return Rounding(step=step, zero=np.uint8(np.clip(round(-low / float(step)), 0, 255)))


def round_weight(
    weight: NDArray[np.float32],
    bits: int,
    *,
    per_channel: bool = True,
    moments: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Quantise a weight symmetrically.

    Args:
        weight: *Shape:* `(in_channels, out_channels)`.
        bits: 8, or 7.
        per_channel: Whether each output channel has a scale of its own.
        moments: The mean of x xᵀ, where x is the weight's input, to preserve the products. Without them each number is
            rounded to the nearest step. *Shape:* `(in_channels, in_channels)`.

    Returns:
        Integers of the weight's shape; scales. *Shape:* `(out_channels,)`, or `()`.
    """
    limit = 2 ** (bits - 1) - 1
    largest = np.abs(weight).max(axis=0) if per_channel else np.abs(weight).max()
    steps = np.asarray(np.maximum(largest, TINY) / limit, dtype=np.float32)
    if moments is not None:
        return keep_product(weight, steps, limit, moments), steps
    return np.clip(np.round(weight / steps), -limit, limit), steps


def keep_product(
    weight: NDArray[np.float32], steps: NDArray[np.float32], limit: int, moments: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Round a weight W to steps times Q so that tr((W - steps Q)ᵀ E[x xᵀ] (W - steps Q)) is small: GPTQ.

    Channels with the largest moments come first, while most others are left to compensate for them.

    Args:
        weight: *Shape:* `(in_channels, out_channels)`.
        steps: The scale of each output channel, or of all.
        limit: The largest integer.
        moments: E[x xᵀ]. *Shape:* `(in_channels, in_channels)`.

    Returns:
        Q, integers of the weight's shape.
    """
    size = np.diag(moments)
    order = np.argsort(-size, kind="stable")
    damped = moments[np.ix_(order, order)] + np.eye(len(order)) * max(DAMPING * float(size.mean()), TINY)
    # Row i of the inverse's Cholesky factor says how channel i's error is best spread over the channels after it.
    spread = np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)
    left = weight[order]
    found = np.empty_like(left)
    for start in range(0, len(order), BLOCK):
        end = min(start + BLOCK, len(order))
        errors = np.empty_like(left[start:end])
        for row in range(start, end):
            found[row] = np.clip(np.round(left[row] / steps), -limit, limit)
            errors[row - start] = (left[row] - found[row] * steps) / spread[row, row]
            left[row + 1 : end] -= np.outer(spread[row, row + 1 : end], errors[row - start])
        left[end:] -= spread[start:end, end:].T @ errors
    result = np.empty_like(found)
    result[order] = found
    return result
