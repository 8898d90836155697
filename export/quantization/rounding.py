"""How the operands of a product are rounded.

Each weight may be rounded to the nearest step. Rounding them one input channel after the other, and letting those that
are left make up for the error so far, changes the products less (GPTQ, Frantar et al. 2022, arXiv:2210.17323).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.quantization.calibration import Observed

__all__ = ["Rounding", "activation_rounding", "keep_product", "round_weight"]

TINY = 1e-5
# What is added to the second moments, as a share of their mean, so that they can be inverted.
DAMPING = 0.01
# Input channels that are rounded before the rest hears of their errors: one large product instead of many small ones.
BLOCK = 128


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How an activation becomes u8: q = round(x / step) + zero."""

    step: np.float32
    zero: np.uint8

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Round, and scale back."""
        zero = np.float32(self.zero)
        return np.asarray((np.clip(np.round(values / self.step) + zero, 0, 255) - zero) * self.step)


def activation_rounding(observed: Observed, factors: NDArray[np.float32]) -> Rounding:
    """Choose step and zero point so that all that was observed fits into u8, once divided by the factors."""
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
    """Round a weight, symmetrically.

    Args:
        weight: *Shape:* `(in_channels, out_channels)`.
        bits: 8, or 7.
        per_channel: Whether each output channel has a scale of its own.
        moments: The mean of x xᵀ, x being what the weight is multiplied with, to keep the products. Without them each
            number goes to the nearest step. *Shape:* `(in_channels, in_channels)`.

    Returns:
        Whole numbers of the weight's shape; scales. *Shape:* `(out_channels,)`, or `()`.
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

    The channels with the largest moments come first, for then most are left to make up for them.

    Args:
        weight: *Shape:* `(in_channels, out_channels)`.
        steps: Of each output channel, or of all.
        limit: The largest whole number.
        moments: E[x xᵀ]. *Shape:* `(in_channels, in_channels)`.

    Returns:
        Q, whole numbers of the weight's shape.
    """
    size = np.diag(moments)
    order = np.argsort(-size, kind="stable")
    damped = moments[np.ix_(order, order)] + np.eye(len(order)) * max(DAMPING * float(size.mean()), TINY)
    # Of the inverse's Cholesky factor, row i tells how channel i's error is best spread over those behind it.
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
