"""Find out which operators suffer most from int8: one graph holds each of them twice, with a switch between.

`Where(switch, int8 result, fp32 result)` after each operator lets one session measure every operator alone, where
building one model an operator would take minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import ModelError
from ftx.runtime.model_file import describe
from ftx.runtime.session import open_session
from ftx.runtime.tokenization import Batch, encode, load_tokenizer, pad
from ftx.text import Text

__all__ = ["OP_TYPES", "Sensitivity", "rank"]

OP_TYPES = ("MatMul", "Gather")  # what is quantised


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What int8 does to one operator.

    Attributes:
        node: The operator's name in the graph.
        rms_logit_error: Root mean square over texts and labels of the logits' change when it alone is int8.
    """

    node: str
    rms_logit_error: float


def rank(fp32: Path, int8: Path, texts: list[Text]) -> list[Sensitivity]:
    """Measure each operator's error alone.

    Args:
        fp32: The fp32 graph, its tokenizer.json and config.json beside it.
        int8: The same graph with every operator in question quantised.
        texts: What to measure on.

    Returns:
        The quantised operators, the worst first.
    """
    manifest, tokenizer_json = describe(fp32)
    switched = int8.with_name("switched.onnx")
    switches = write_switched(fp32, int8, switched)
    session = open_session(switched)
    wanted = [node.name for node in session.get_inputs() if node.name not in switches.values()]
    encodings = sorted(encode(load_tokenizer(tokenizer_json, manifest, fp32), texts), key=len)
    batches = [pad(encodings[start : start + 16], manifest, wanted) for start in range(0, len(encodings), 16)]
    exact = run(session, batches, switches, None)
    ranked = []
    for node in switches:
        error = run(session, batches, switches, node) - exact
        ranked.append(Sensitivity(node=node, rms_logit_error=float(np.sqrt(np.mean(np.square(error))))))
    switched.unlink()
    return sorted(ranked, key=lambda entry: (-entry.rms_logit_error, entry.node))


def run(session: Any, batches: list[Batch], switches: dict[str, str], on: str | None) -> NDArray[np.float32]:
    """Compute the logits of all batches with one operator in int8, or none. *Shape:* `(num_texts, num_labels)`."""
    positions = {switch: np.array(node == on) for node, switch in switches.items()}
    return np.concatenate([session.run(None, {**batch, **positions})[0] for batch in batches])


def write_switched(fp32: Path, int8: Path, target: Path) -> dict[str, str]:
    """Write the int8 graph with each quantised operator's fp32 original beside it and a boolean input to choose.

    Returns:
        The switch's name by operator.
    """
    import onnx
    from onnx import TensorProto, helper

    original, graph_model = onnx.load(str(fp32)), onnx.load(str(int8))
    graph = graph_model.graph
    have = {tensor.name for tensor in graph.initializer}
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    producer = {output: node for node in graph.node for output in node.output}
    switches: dict[str, str] = {}
    for node in original.graph.node:
        result = node.output[0]
        maker = producer.get(result)
        # A quantised operator ends in another one, the Mul or DequantizeLinear that gives its result back as float.
        if node.op_type not in OP_TYPES or maker is None or maker.op_type == node.op_type:
            continue
        maker.output[list(maker.output).index(result)] = f"{result}/int8"
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name += "/fp32"
        twin.output[0] = f"{result}/fp32"
        switch = f"switch/{len(switches)}"
        switches[node.name] = switch
        graph.input.append(helper.make_tensor_value_info(switch, TensorProto.BOOL, []))
        graph.node.extend([twin, helper.make_node("Where", [switch, f"{result}/int8", f"{result}/fp32"], [result])])
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


def sort_nodes(graph: Any) -> None:
    """Put nodes behind those whose results they use, as ONNX demands."""
    known = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if all(name in known for name in node.input)]
        if not ready:
            raise ModelError("the graph has a cycle, or uses a result that nothing makes")
        ordered += ready
        known.update(output for node in ready for output in node.output)
        done = {id(node) for node in ready}
        waiting = [node for node in waiting if id(node) not in done]
    del graph.node[:]
    graph.node.extend(ordered)
