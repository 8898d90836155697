"""Write a quantised graph, operator by operator, as a scheme says.

An int8 product is exact; only rounding its operands loses precision. With scales a (activation) and b (weight, one
for each output channel), x W = a b ((q_x - z) q_W) with q_x = x / a + z and q_W = W / b rounded.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import ModelError
from ftx.export.graph.edit import MICROSOFT, Constants, add_constant, constants, consumers, drop_unused, sort_nodes
from ftx.export.quantization.attention import AttentionParts, can_take_apart
from ftx.export.quantization.epilogue import rearrange as rearrange_graph
from ftx.export.quantization.fitted import Fitted
from ftx.export.quantization.linear import Linear, linears
from ftx.export.quantization.per_token import raise_opset, write_token_steps
from ftx.export.quantization.rounding import fixed_rounding, token_rounding
from ftx.export.quantization.scheme import Scheme
from ftx.export.quantization.smoothing import OUTLIERS, Smoothing

__all__ = ["write_quantized"]

ATTENTION_ATTRIBUTES = {"num_heads", "unidirectional", "mask_filter_value", "scale", "do_rotary"}
BLOCK = 128
# Smaller tables (positions, token types) are not worth their operators.
MIN_TABLE_ROWS = 1000
TINY = 1e-5


def write_quantized(base: Path, target: Path, scheme: Scheme, fitted: Fitted, *, rearrange: bool = True) -> None:
    """Quantise a graph.

    Args:
        base: The fp32 graph.
        target: Where the quantised one goes.
        scheme: How to quantise.
        fitted: What fits the calibration data of `base`.
        rearrange: Whether to make the operators between the products faster, too. Without it every operator's result is
            that of the one it replaces. Attention is taken apart in any case where tokens have scales.

    Raises:
        ModelError: The graph has nothing that the scheme would quantise.
    """
    import onnx
    from onnx import helper

    model = onnx.load(str(base))
    if all(entry.domain != MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    if scheme.per_token:
        raise_opset(model)
    writer = Writer(model.graph, scheme, fitted)
    writer.write_linears()
    if scheme.embeddings:
        writer.write_embeddings()
    if not writer.replaced:
        raise ModelError(f"this architecture has no operator for {scheme.name} int8")
    if rearrange:
        rearrange_graph(writer.graph, writer.sums, writer.rows)
    elif writer.rows:
        AttentionParts(writer.graph, writer.rows).replace_all()
    writer.finish()
    onnx.save(model, str(target))


class Writer:
    """Replaces operators of one graph.

    Attributes:
        replaced: Names of the operators that are int8 now.
        sums: The whole result, by the name of the result without outliers.
        rows: Scales that have one value for each token.
    """

    def __init__(self, graph: Any, scheme: Scheme, fitted: Fitted) -> None:
        self.graph, self.scheme, self.fitted = graph, scheme, fitted
        self.known: Constants = constants(graph)
        self.nodes: dict[str, Any] = {node.name: node for node in graph.node}
        self.replaced: list[str] = []
        self.sums: dict[str, str] = {}
        self.rows: set[str] = set()

    def write_linears(self) -> None:
        """Quantise the linear operators that the scheme names."""
        sharing: dict[tuple[str, str], list[Linear]] = defaultdict(list)
        for linear in linears(self.graph):
            way = self.scheme.way(linear.node)
            if way == "fp32" or (linear.kind == "Attention" and not self.attention(self.nodes[linear.node])):
                continue
            if way != "blockwise":  # query, key and value read the same activation: rounded once
                sharing[linear.activation, way].append(linear)
            elif linear.kind == "MatMul":
                self.write_blockwise(linear)
        for (activation, way), together in sharing.items():
            self.write_together(activation, way, together)

    def attention(self, node: Any) -> bool:
        """Tell whether a fused attention's projections are to be int8."""
        return self.scheme.attention and (not self.scheme.per_token or can_take_apart(node))

    def write_together(self, activation: str, way: str, together: list[Linear]) -> None:
        """Quantise one activation and the operators that read it in the same way."""
        weights = {linear.node: self.known[linear.weight].astype(np.float32) for linear in together}
        smoothing = self.smoothing(activation, way, weights)
        source, prefix = activation, f"{activation}/{way}"
        if not smoothing.is_none:
            source = f"{prefix}/smooth"
            self.add("Mul", [activation, self.constant(f"{source}/factors", 1 / smoothing.factors)], [source])
        rounded, scale, zero = (f"{prefix}/{part}" for part in ("int8", "scale", "zero"))
        observed = self.fitted.observed[activation]
        if self.scheme.per_token:
            write_token_steps(
                self.graph, source, prefix, token_rounding(observed.sample / smoothing.factors), len(observed.low)
            )
            self.rows.add(scale)
        elif self.scheme.activations == "static":
            rounding = fixed_rounding(observed, smoothing.factors)
            self.constant(scale, rounding.step)
            self.constant(zero, rounding.zero)
            self.add("QuantizeLinear", [source, scale, zero], [rounded])
        else:
            self.add("DynamicQuantizeLinear", [source], [rounded, scale, zero])
        for linear in together:
            values, steps = self.fitted.rounded(
                linear.node, activation, weights[linear.node], smoothing,
                bits=self.scheme.weight_bits, per_channel=self.scheme.per_channel, per_token=self.scheme.per_token,
            )  # fmt: skip
            self.write_linear(linear, values, steps, [rounded, scale, zero])
        if way == "outliers":
            few = f"{prefix}/few"
            self.add("Gather", [activation, self.constant(f"{few}/channels", smoothing.outliers)], [few], axis=-1)
            for linear in together:
                self.add_outliers(linear, few, weights[linear.node][smoothing.outliers])

    def smoothing(self, activation: str, way: str, weights: dict[str, NDArray[np.float32]]) -> Smoothing:
        """Choose how an activation is smoothed."""
        bits = self.scheme.weight_bits
        if way == "outliers":
            return self.fitted.smoothing(
                activation, weights, bits=bits, outliers=OUTLIERS, per_token=self.scheme.per_token
            )
        if self.scheme.smooth:
            return self.fitted.smoothing(activation, weights, bits=bits, per_token=self.scheme.per_token)
        return Smoothing.none(len(self.fitted.observed[activation].low))

    def add_outliers(self, linear: Linear, few: str, rows: NDArray[np.float32]) -> None:
        """Add the product of the outlier channels, in fp32, to that of the others."""
        node = self.nodes[linear.node]
        result = node.output[0]
        node.output[0] = f"{result}/most"
        self.add("MatMul", [few, self.constant(f"{linear.node}/few", rows)], [f"{result}/few"])
        self.add("Add", [f"{result}/most", f"{result}/few"], [result])
        self.sums[f"{result}/most"] = result

    def write_linear(
        self, linear: Linear, values: NDArray[np.int8], steps: NDArray[np.float32], activation: list[str]
    ) -> None:
        """Replace a linear operator by an int8 one, which reads an activation's integers, scale and zero point."""
        from onnx import helper

        node = self.nodes[linear.node]
        rounded, scale, zero = activation
        middle, kind = (128, np.uint8) if self.scheme.weight_type == "u8" else (0, np.int8)
        name = f"{linear.node}/weight"
        parts = [self.constant(f"{name}/{part}", array) for part, array in
                 (("int8", (values.astype(np.int16) + middle).astype(kind)), ("scale", steps),
                  ("zero", np.full(steps.shape, middle, dtype=kind)))]  # fmt: skip
        if linear.kind == "MatMul":
            inputs = [rounded, parts[0], scale, parts[1], zero, parts[2]]
            made = helper.make_node("MatMulIntegerToFloat", inputs, node.output, f"{node.name}/int8", domain=MICROSOFT)
        else:
            mask = node.input[3] if len(node.input) > 3 else ""
            inputs = [rounded, parts[0], node.input[2], scale, parts[1], mask, zero, parts[2]]
            made = helper.make_node("QAttention", inputs, node.output, f"{node.name}/int8", domain=MICROSOFT)
            made.attribute.extend(given for given in node.attribute if given.name in ATTENTION_ATTRIBUTES)
        self.replace(node, made)

    def write_blockwise(self, linear: Linear) -> None:
        """Replace a MatMul by a MatMulNBits: u8 weights with a scale for each block of 128 input channels."""
        from onnx import helper

        node, weight = self.nodes[linear.node], self.known[linear.weight].astype(np.float32).T
        columns, rows = weight.shape
        blocks = -(-rows // BLOCK)
        whole = np.pad(weight, ((0, 0), (0, blocks * BLOCK - rows))).reshape(columns, blocks, BLOCK)
        steps = np.maximum(np.abs(whole).max(axis=2), TINY) / 127
        values = (np.round(whole / steps[:, :, None]) + 128).astype(np.uint8)  # 128 is the operator's own zero point
        name = f"{linear.node}/weight"
        inputs = [
            linear.activation,
            self.constant(f"{name}/blocks", values),
            self.constant(f"{name}/scale", steps.astype(np.float32).reshape(-1)),
        ]
        made = helper.make_node(
            "MatMulNBits", inputs, node.output, f"{node.name}/int8", domain=MICROSOFT,
            K=rows, N=columns, bits=8, block_size=BLOCK, accuracy_level=4,
        )  # fmt: skip
        self.replace(node, made)

    def write_embeddings(self) -> None:
        """Quantise embedding tables row by row; a row is scaled back right after its lookup."""
        users = consumers(self.graph)
        for table in list(self.known):
            read_by = users.get(table, [])
            large = len(self.known.shape(table)) == 2 and self.known.shape(table)[0] >= MIN_TABLE_ROWS
            if not large or any(node.op_type != "Gather" or node.input[0] != table for node in read_by):
                continue
            if any(self.scheme.way(node.name) == "fp32" for node in read_by):
                continue
            rows = self.known[table].astype(np.float32)
            steps = np.maximum(np.abs(rows).max(axis=1, keepdims=True), TINY).astype(np.float32) / np.float32(127)
            values = self.constant(f"{table}/int8", np.round(rows / steps).astype(np.int8))
            scale = self.constant(f"{table}/scale", steps)
            for node in read_by:
                self.write_lookup(node, values, scale)

    def write_lookup(self, node: Any, values: str, scale: str) -> None:
        """Replace a Gather by the lookup of a row and of its scale."""
        from onnx import helper

        result, ids = node.output[0], node.input[1]
        self.add("Gather", [values, ids], [f"{result}/int8"])
        self.add("Gather", [scale, ids], [f"{result}/scale"])
        self.add("Cast", [f"{result}/int8"], [f"{result}/float"], to=1)
        self.replace(node, helper.make_node("Mul", [f"{result}/float", f"{result}/scale"], [result], node.name))

    def constant(self, name: str, values: Any) -> str:
        """Add an initializer and give its name."""
        return add_constant(self.graph, name, values)

    def add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: int) -> None:
        """Add a standard operator, named by its result."""
        from onnx import helper

        self.graph.node.append(helper.make_node(kind, inputs, outputs, outputs[0], **attributes))

    def replace(self, node: Any, made: Any) -> None:
        """Replace an operator by another."""
        self.replaced.append(node.name)
        node.CopyFrom(made)

    def finish(self) -> None:
        """Remove what no operator reads, and sort the nodes."""
        drop_unused(self.graph)
        del self.graph.value_info[:]
        sort_nodes(self.graph)
