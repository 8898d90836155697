"""The linear operators of a graph: products of an activation with a constant weight, where int8 saves time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.export.batches import Batches
from ftx.export.onnx_graph import constants
from ftx.runtime.session import open_session

__all__ = ["Linear", "Observed", "calibrate", "linears"]

CALIBRATION_TEXTS = 256
# Tokens kept of each activation, to measure what rounding does to its products.
SAMPLE_TOKENS = 1024
BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Linear:
    """An operator that multiplies an activation with a constant weight.

    Attributes:
        node: The operator's name.
        kind: `MatMul`, or `Attention`: the fused block, whose weight is that of query, key and value side by side.
        activation: The name of the tensor that comes in.
        weight: The name of the weight. *Shape:* `(in_channels, out_channels)`.
    """

    node: str
    kind: str
    activation: str
    weight: str


@dataclass(frozen=True, kw_only=True)
class Observed:
    """An activation as it was on real tokens.

    Attributes:
        low: Smallest value of each channel. *Shape:* `(channels,)`.
        high: Largest, likewise.
        sample: Some of the tokens, of every text as many. *Shape:* `(tokens, channels)`.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    sample: NDArray[np.float32]

    @property
    def largest(self) -> NDArray[np.float32]:
        """Largest magnitude. *Shape:* `(channels,)`."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


def linears(graph: Any) -> list[Linear]:
    """Find the linear operators of a graph, in its order. Gemm, the small head, is not among them."""
    known = constants(graph)
    found = []
    for node in graph.node:
        if node.op_type not in ("MatMul", "Attention"):
            continue
        activation, weight = node.input[:2]
        if weight in known and activation not in known and len(known.shape(weight)) == 2:
            found.append(Linear(node=node.name, kind=node.op_type, activation=activation, weight=weight))
    return found


def calibrate(path: Path, batches: Batches) -> dict[str, Observed]:
    """Observe every activation that goes into a linear operator, channel by channel.

    Args:
        path: The fp32 graph.
        batches: Texts like those the model will see; up to `CALIBRATION_TEXTS` of them are taken.

    Returns:
        What was seen, by the activation's name. Padding does not count.
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
    rows = batches.spread(CALIBRATION_TEXTS)
    share = -(-SAMPLE_TOKENS * BATCH_SIZE // len(rows))
    for batch in batches.of(BATCH_SIZE, rows):
        real = batch["attention_mask"].astype(bool)
        for name, values in zip(names, session.run(names, batch), strict=True):
            # In the last layer one token stands for the text.
            tokens = values[real] if values.shape[:-1] == real.shape else values.reshape(-1, values.shape[-1])
            lows[name].append(tokens.min(axis=0))
            highs[name].append(tokens.max(axis=0))
            places = np.linspace(0, len(tokens) - 1, min(share, len(tokens))).astype(int)
            samples[name].append(tokens[places])
    watched.unlink()
    return {
        name: Observed(
            low=np.min(lows[name], axis=0), high=np.max(highs[name], axis=0), sample=np.concatenate(samples[name])
        )
        for name in names
    }
