"""The smoothings and rounded weights that fit a graph's calibration data, each computed once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ftx.export.quantization.calibration import Observed
from ftx.export.quantization.rounding import activation_rounding, round_weight
from ftx.export.quantization.smoothing import Smoothing, find_smoothing

__all__ = ["Fitted"]


class Fitted:
    """Observed activations, and the smoothings and rounded weights that fit them.

    Args:
        observed: What calibration observed, by the activation's name.
    """

    def __init__(self, observed: dict[str, Observed]) -> None:
        self.observed = observed
        self._smoothings: dict[tuple[object, ...], Smoothing] = {}
        self._weights: dict[tuple[object, ...], tuple[NDArray[np.int8], NDArray[np.float32]]] = {}

    def smoothing(
        self,
        activation: str,
        weights: dict[str, NDArray[np.float32]],
        *,
        bits: int,
        outliers: int = 0,
        per_token: bool = False,
    ) -> Smoothing:
        """Give the best smoothing for an activation and the weights, by name, that read it."""
        key = (activation, *weights, bits, outliers, per_token)
        if key not in self._smoothings:
            side_by_side = np.concatenate(list(weights.values()), axis=1)
            self._smoothings[key] = find_smoothing(
                self.observed[activation], side_by_side, bits=bits, outliers=outliers, per_token=per_token
            )
        return self._smoothings[key]

    def rounded(
        self,
        node: str,
        activation: str,
        weight: NDArray[np.float32],
        smoothing: Smoothing,
        *,
        bits: int,
        per_channel: bool,
        per_token: bool = False,
    ) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Round the weight of an operator so that its products on the calibration data change least.

        Args:
            node: The operator's name.
            activation: The name of its input.
            weight: In fp32. *Shape:* `(in_channels, out_channels)`.
            smoothing: What the activation is divided by and the weight multiplied by.
            bits: 8, or 7.
            per_channel: Whether each output channel has a scale of its own.
            per_token: Whether each token of the activation has.

        Returns:
            Integers of the weight's shape; scales. *Shape:* `(out_channels,)`, or `()`.
        """
        key = (node, bits, per_channel, per_token, smoothing.factors.tobytes())
        if key not in self._weights:
            observed = self.observed[activation]
            inverse = 1 / smoothing.factors.astype(np.float64)
            # The activation is rounded, too: an error distributed uniformly over a step has the variance step² / 12.
            noise = activation_rounding(observed, smoothing.factors, per_token=per_token).mean_square_step / 12
            moments = observed.moments * inverse[:, None] * inverse + np.eye(len(inverse)) * noise
            values, steps = round_weight(
                weight * smoothing.of_weights[:, None], bits, per_channel=per_channel, moments=moments
            )
            self._weights[key] = values.astype(np.int8), steps
        return self._weights[key]
