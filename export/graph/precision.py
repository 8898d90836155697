"""Tell from its operators how a graph is quantised, whoever made it."""

from __future__ import annotations

from typing import Any

from ftx.export.graph.edit import constants

__all__ = ["precision_of"]

DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul"}  # they find scales at run time
MULTIPLIES = {"MatMulInteger", "MatMulIntegerToFloat", "QAttention", "QGemm", "QLinearMatMul"}  # of int8


def precision_of(model: Any) -> tuple[str, str]:
    """Tell how a graph is quantised.

    Args:
        model: The `ModelProto`.

    Returns:
        One of `ftx.quantization.KINDS`, and the type of the weights. int8 weights whose products are in fp32 count as
        static: no activation is scaled at run time.
    """
    from onnx import TensorProto

    graph = model.graph
    operators = {node.op_type for node in graph.node}
    known = constants(graph)
    types = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) >= 2}
    rounded = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    weights = "uint8" if TensorProto.UINT8 in types else "int8"
    if operators & DYNAMIC or any(node.input[1] not in known for node in rounded):
        return "dynamic", weights
    if rounded or operators & MULTIPLIES:
        return "static", weights
    if "MatMulNBits" in operators:
        return "blockwise", weights
    if types & {TensorProto.INT8, TensorProto.UINT8}:
        return "static", weights
    return ("fp16", "fp16") if types & {TensorProto.FLOAT16, TensorProto.BFLOAT16} else ("none", "fp32")
