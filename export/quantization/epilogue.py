"""Make the operators around the products of an int8 graph faster: biases, sums, normalisation and attention."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ftx.export.graph.edit import add_constant, constants, consumers
from ftx.export.quantization.attention import AttentionParts

__all__ = ["rearrange", "split_skips"]


def rearrange(graph: Any, sums: dict[str, str], rows: Collection[str] = ()) -> None:
    """Rearrange a quantised graph in place; afterwards its nodes are unsorted.

    Args:
        graph: An `onnx.GraphProto`.
        sums: The whole result, by the result of a product without its outlier channels.
        rows: Scales that have one value for each token.
    """
    fold_biases(graph, sums, rows)
    split_skips(graph)
    AttentionParts(graph, rows).replace_all()


def fold_biases(graph: Any, sums: dict[str, str], rows: Collection[str]) -> None:
    """Move the biases of the following operators into the products: there they are free, and plain Gelu is faster.

    A product with a scale for each token would multiply its bias by it, too: there it is added afterwards, as a matrix
    of one row, which onnxruntime does not fuse with Gelu again. (Sum would do, but runs on one core.)
    """
    from onnx import helper

    users, known = consumers(graph), constants(graph)
    for node in list(graph.node):
        read_by = users.get(sums.get(node.output[0], node.output[0]), [])
        if node.op_type != "MatMulIntegerToFloat" or len(read_by) != 1:
            continue
        follower = read_by[0]
        if follower.op_type == "BiasGelu":
            follower.op_type = "Gelu"
        elif follower.op_type != "SkipLayerNormalization" or len(follower.input) != 5:
            continue
        bias = follower.input.pop()
        if node.input[2] in rows:
            source = follower.input[0]
            follower.input[0] = f"{source}/biased"
            row = add_constant(graph, f"{source}/bias", known[bias].reshape(1, -1))
            graph.node.append(helper.make_node("Add", [source, row], [f"{source}/biased"], f"{source}/biased"))
        else:
            node.input.append(bias)


def split_skips(graph: Any) -> None:
    """Replace each SkipLayerNormalization by a Sum and a LayerNormalization.

    onnxruntime's CPU kernel of the fused operator is not vectorised, and takes four times as long. Sum, unlike Add, is
    not fused again when the file is loaded.
    """
    from onnx import helper

    for node in list(graph.node):
        if node.op_type != "SkipLayerNormalization":
            continue
        activation, skip, scale, *rest = node.input
        shift, bias = rest[:1], rest[1:]
        total = node.output[3] if len(node.output) > 3 else f"{node.output[0]}/sum"
        graph.node.append(helper.make_node("Sum", [activation, skip, *bias], [total], total))
        del node.input[:], node.output[1:]
        node.input.extend([total, scale, *shift])
        node.op_type, node.domain = "LayerNormalization", ""
        if not node.attribute:  # the operators' defaults differ
            node.attribute.append(helper.make_attribute("epsilon", 1e-12))
