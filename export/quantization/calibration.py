"""Observe the inputs of a graph's linear operators on real text."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.batches import Batches
from ftx.export.quantization.linear import linears
from ftx.runtime.session import open_session

__all__ = ["Observed", "calibrate"]

CALIBRATION_TEXTS = 256
# Tokens of each activation to keep, to measure the effect of rounding on its products.
SAMPLE_TOKENS = 1024
BATCH_SIZE = 16
# Texts at a time where they may be long: all activations of a batch are in memory together.
COVERING_BATCH_SIZE = 4


@dataclass(frozen=True, kw_only=True)
class Observed:
    """An activation, observed on real tokens.

    Attributes:
        low: Smallest value of each channel. *Shape:* `(channels,)`.
        high: Largest, likewise.
        sample: Some of the tokens, equally many of each text. *Shape:* `(tokens, channels)`.
        moments: The mean of x xᵀ over all tokens. *Shape:* `(channels, channels)`.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    sample: NDArray[np.float32]
    moments: NDArray[np.float32]

    @property
    def largest(self) -> NDArray[np.float32]:
        """Largest magnitude. *Shape:* `(channels,)`."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


def calibrate(path: Path, batches: Batches, covering: Batches | None = None) -> dict[str, Observed]:
    """Observe the input of every linear operator, channel by channel.

    Args:
        path: The fp32 graph.
        batches: Texts like those the model will see; up to `CALIBRATION_TEXTS` of them are used.
        covering: Longer and odder texts, all of which count for the smallest and largest values only: what rounding
            is fitted to is text like that which will come, but no other is to be clipped.

    Returns:
        What was observed, by the activation's name, without padding.
    """
    import onnx

    model = onnx.load(str(path))
    names = sorted({linear.activation for linear in linears(model.graph)})
    results = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in results)
    watched = path.with_name("watched.onnx")
    onnx.save(model, str(watched))
    session = open_session(watched)
    lows: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    highs: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    samples: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    products: dict[str, NDArray[np.float32]] = {}
    counts: Counter[str] = Counter()
    rows = batches.spread(CALIBRATION_TEXTS)

    def tokens_of(values: NDArray[np.float32], real: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Leave out padding; the last layer computes the first token only. *Shape:* `(tokens, channels)`."""
        return values[real] if values.shape[:-1] == real.shape else values.reshape(-1, values.shape[-1])

    share = -(-SAMPLE_TOKENS * BATCH_SIZE // len(rows))
    for batch in batches.of(BATCH_SIZE, rows):
        real = batch["attention_mask"].astype(bool)
        for name, values in zip(names, session.run(names, batch), strict=True):
            tokens = tokens_of(values, real)
            lows[name].append(tokens.min(axis=0))
            highs[name].append(tokens.max(axis=0))
            places = np.linspace(0, len(tokens) - 1, min(share, len(tokens))).astype(int)
            samples[name].append(tokens[places])
            products[name] = products.get(name, np.float32(0)) + tokens.T @ tokens
            counts[name] += len(tokens)
    for batch in covering.of(COVERING_BATCH_SIZE) if covering else ():
        real = batch["attention_mask"].astype(bool)
        for name, values in zip(names, session.run(names, batch), strict=True):
            tokens = tokens_of(values, real)
            lows[name].append(tokens.min(axis=0))
            highs[name].append(tokens.max(axis=0))
    watched.unlink()
    return {
        name: Observed(
            low=np.min(lows[name], axis=0),
            high=np.max(highs[name], axis=0),
            sample=np.concatenate(samples[name]),
            moments=products[name] / np.float32(counts[name]),
        )
        for name in names
    }
