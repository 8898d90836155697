"""Write the operators that quantise an activation token by token."""

from __future__ import annotations

from typing import Any

import numpy as np

from ftx.errors import ModelError
from ftx.export.graph.edit import add_constant
from ftx.export.quantization.rounding import TINY, TokenRounding

__all__ = ["raise_opset", "write_token_steps"]

# Reductions take their axes as an input from 18 on; QuantizeLinear takes a scale for each block of an axis from 21 on.
# The other operators of a BERT only gained types from 18 to 21.
LEAST_OPSET, OPSET = 18, 21
# The version of the file format that goes with opset 21.
IR_VERSION = 10


def raise_opset(model: Any) -> None:
    """Declare the operators' version that scales for each token need.

    Args:
        model: An `onnx.ModelProto`, changed in place.

    Raises:
        ModelError: It is older than what can be declared without converting operators.
    """
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            if entry.version < LEAST_OPSET:
                raise ModelError(
                    f"the graph has opset {entry.version}, scales for each token need {LEAST_OPSET} or later"
                )
            entry.version = max(entry.version, OPSET)
    model.ir_version = max(model.ir_version, IR_VERSION)


def write_token_steps(graph: Any, source: str, prefix: str, rounding: TokenRounding, channels: int) -> None:
    """Quantise an activation with a scale for each token.

    Args:
        graph: An `onnx.GraphProto`, changed in place.
        source: The activation. *Shape:* `(..., channels)`.
        prefix: Of the results' names: `int8`, `scale`, which has one channel, and `zero`, a scalar.
        rounding: How.
        channels: How many.
    """
    from onnx import TensorProto, helper

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        name = f"{prefix}/{output}"
        graph.node.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(name: str, values: Any) -> str:
        return add_constant(graph, f"{prefix}/{name}", values)

    last = constant("last_axis", np.array([-1]))
    high = add("ReduceMax", [source, last], "high", keepdims=1)
    low = add("ReduceMin", [source, last], "low", keepdims=1)
    for_high = add("Mul", [high, constant("of_high", rounding.of_high)], "for_high")
    for_low = add("Mul", [low, constant("of_low", rounding.of_low)], "for_low")
    scale = add("Max", [for_high, for_low, constant("least", np.float32(TINY))], "scale")
    constant("zero", rounding.zero)
    # QuantizeLinear wants as many zero points as scales, the product wants one.
    shape = add("Shape", [scale], "shape")
    value = helper.make_tensor("value", TensorProto.UINT8, [1], [int(rounding.zero)])
    zeros = add("ConstantOfShape", [shape], "zeros", value=value)
    add("QuantizeLinear", [source, scale, zeros], "int8", axis=-1, block_size=channels)
