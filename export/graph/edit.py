"""Read and edit an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import ModelError

__all__ = ["MICROSOFT", "add_constant", "constants", "consumers", "drop_unused", "sort_nodes"]

# The domain of onnxruntime's own operators.
MICROSOFT = "com.microsoft"


class Constants(dict[str, Any]):
    """Constant tensors by name, converted to arrays on access only: weights are large."""

    def __getitem__(self, name: str) -> NDArray[Any]:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(super().__getitem__(name)))

    def shape(self, name: str) -> tuple[int, ...]:
        """Give a tensor's shape without converting it."""
        return tuple(super().__getitem__(name).dims)


def constants(graph: Any) -> Constants:
    """Collect initializers and the results of Constant nodes by name, including their aliases by Identity nodes."""
    found = Constants({tensor.name: tensor for tensor in graph.initializer})
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = dict.__getitem__(found, node.input[0])
    return found


def consumers(graph: Any) -> dict[str, list[Any]]:
    """List the nodes that read each tensor, by its name."""
    found: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def add_constant(graph: Any, name: str, values: Any) -> str:
    """Add an initializer and give its name."""
    from onnx import numpy_helper

    # ascontiguousarray turns a scalar into a row.
    tensor = numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name)
    graph.initializer.append(tensor)
    return name


def drop_unused(graph: Any) -> None:
    """Remove the initializers that no node reads."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def sort_nodes(graph: Any) -> None:
    """Sort nodes topologically, as ONNX requires.

    Raises:
        ModelError: The graph has a cycle, or uses a result that no node makes.
    """
    # Not by onnxruntime's OnnxModel, whose order differs: exported files should stay the same, byte for byte.
    known = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if all(name in known for name in node.input)]
        if not ready:
            raise ModelError("the graph has a cycle, or uses a result that no node makes")
        ordered += ready
        known.update(output for node in ready for output in node.output)
        done = {id(node) for node in ready}
        waiting = [node for node in waiting if id(node) not in done]
    del graph.node[:]
    graph.node.extend(ordered)
