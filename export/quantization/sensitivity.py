"""Find out which operators int8 hurts most, with one graph that holds each of them twice and a switch between them.

With `Where(switch, int8 result, fp32 result)` after each operator one session measures every operator alone and any of
them together; building a model for each attempt would take minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import ModelError
from ftx.export.graph.edit import constants, sort_nodes
from ftx.export.parity.batches import Batches
from ftx.export.quantization.linear import linears
from ftx.runtime.session import open_session

__all__ = ["Sensitivity", "Switched", "write_switched"]

BATCH_SIZE = 16
# Texts to measure on: enough for a ranking. A larger model gets fewer, by its size and not by the clock, so that every
# machine finds the same ranking: this many products of a weight and a text's tokens take 15 s on 2 cores.
MAX_TEXTS, MIN_TEXTS = 32, 8
PRODUCTS = 350_000_000
# How many of the worst remaining ones are tried in each step of a greedy choice.
AMONG = 4


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The sensitivity of one operator to int8.

    Attributes:
        node: The operator's name in the graph.
        rms_logit_error: RMS change of the logits, over texts and labels, when it alone is int8.
    """

    node: str
    rms_logit_error: float


class Switched:
    """A graph in which every quantised operator can be switched between int8 and fp32.

    Args:
        fp32: The fp32 graph.
        int8: The same graph, quantised.
        batches: Texts to measure on.
        texts: How many of them to use; default: by the size of the model, see `texts_for`.
    """

    def __init__(self, fp32: Path, int8: Path, batches: Batches, texts: int | None = None) -> None:
        path = int8.with_name("switched.onnx")
        self._switches = write_switched(fp32, int8, path)
        self._session = open_session(path)
        path.unlink()
        self._batches = batches.of(BATCH_SIZE, batches.spread(texts or texts_for(fp32)))
        self._exact = self.logits(set())

    def runs(self, count: int) -> int:
        """Count the runs of the graph that ranking and a greedy choice of so many operators take."""
        return len(self._switches) + count * AMONG

    def rank(self) -> list[Sensitivity]:
        """Measure each operator's error alone; the worst first."""
        ranked = [Sensitivity(node=node, rms_logit_error=self.error({node})) for node in self._switches]
        return sorted(ranked, key=lambda entry: (-entry.rms_logit_error, entry.node))

    def worst_together(self, ranking: list[Sensitivity], count: int, among: int = AMONG) -> list[str]:
        """Choose operators to keep in fp32, greedily: each is the one that helps most together with those before it.

        Args:
            ranking: The result of `rank`.
            count: How many to choose.
            among: How many of the worst remaining ones are tried in each step.
        """
        chosen: list[str] = []
        for _ in range(count):
            candidates = [entry.node for entry in ranking if entry.node not in chosen][:among]
            if not candidates:
                break
            chosen.append(min(candidates, key=lambda node: self.error({*self._switches} - {*chosen, node})))
        return chosen

    def error(self, int8: set[str]) -> float:
        """Compute the RMS change of the logits when these operators are int8."""
        return float(np.sqrt(np.mean(np.square(self.logits(int8) - self._exact))))

    def logits(self, int8: set[str]) -> NDArray[np.float32]:
        """Compute the logits with some operators in int8. *Shape:* `(num_texts, num_labels)`."""
        positions = {switch: np.array(node in int8) for node, switch in self._switches.items()}
        return np.concatenate([self._session.run(None, {**batch, **positions})[0] for batch in self._batches])


def texts_for(fp32: Path) -> int:
    """Choose how many texts to compare the operators of a graph on: fewer for a larger model."""
    import onnx

    graph = onnx.load(str(fp32)).graph
    known = constants(graph)
    weights = sum(math.prod(known.shape(linear.weight)) for linear in linears(graph))
    return min(MAX_TEXTS, max(MIN_TEXTS, PRODUCTS // max(1, weights)))


def write_switched(fp32: Path, int8: Path, target: Path) -> dict[str, str]:
    """Write the int8 graph with each quantised operator's fp32 original beside it and a boolean input to switch.

    Returns:
        The switch's name by operator.
    """
    import onnx
    from onnx import TensorProto, helper

    original, graph_model = onnx.load(str(fp32)), onnx.load(str(int8))
    graph = graph_model.graph
    have = {tensor.name for tensor in graph.initializer}
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    producer: dict[str, Any] = {output: node for node in graph.node for output in node.output}
    switches: dict[str, str] = {}
    for node in original.graph.node:
        result = node.output[0]
        maker = producer.get(result)
        if maker is None or maker.op_type == node.op_type:
            continue
        maker.output[list(maker.output).index(result)] = f"{result}/int8_side"
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name += "/fp32_side"
        twin.output[0] = f"{result}/fp32_side"
        switch = f"switch/{len(switches)}"
        switches[node.name] = switch
        graph.input.append(helper.make_tensor_value_info(switch, TensorProto.BOOL, []))
        sides = [switch, f"{result}/int8_side", f"{result}/fp32_side"]
        graph.node.extend([twin, helper.make_node("Where", sides, [result])])
        for name in node.input:
            if name in weights and name not in have:
                graph.initializer.append(weights[name])
                have.add(name)
    if not switches:
        raise ModelError(f"{int8.name} has no quantised operator: int8 has nothing to offer for this architecture")
    del graph.value_info[:]
    sort_nodes(graph)
    onnx.save(graph_model, str(target))
    return switches
