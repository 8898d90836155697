"""Find the linear operators of a graph: products of an activation and a constant weight, where int8 saves time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftx.export.graph.edit import constants

__all__ = ["Linear", "linears"]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """An operator that multiplies an activation by a constant weight.

    Attributes:
        node: The operator's name.
        kind: `MatMul`, or `Attention`: the fused block, whose weight is that of query, key and value side by side.
        activation: The name of its input.
        weight: The name of the weight. *Shape:* `(in_channels, out_channels)`.
    """

    node: str
    kind: str
    activation: str
    weight: str


def linears(graph: Any) -> list[Linear]:
    """Find the linear operators of a graph, in its order, without Gemm, the small head."""
    known = constants(graph)
    found = []
    for node in graph.node:
        if node.op_type not in ("MatMul", "Attention"):
            continue
        activation, weight = node.input[:2]
        if weight in known and activation not in known and len(known.shape(weight)) == 2:
            found.append(Linear(node=node.name, kind=node.op_type, activation=activation, weight=weight))
    return found
