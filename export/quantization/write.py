"""Write a quantised graph: what a scheme says, operator by operator.

An int8 product is exact; what is lost is lost in rounding its operands. With scales a (activation) and b (weight, one
for each output channel), x W = a b ((q_x - z) q_W) with q_x = x / a + z and q_W = W / b rounded. Smoothing by s, one
for each input channel, leaves the product as it is, x W = (x / s)(s W), and moves outlying channels from x, which
shares one scale, into W (SmoothQuant, Xiao et al. 2022, arXiv:2211.10438).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import ModelError
from ftx.export.onnx_graph import Constants, constants, consumers, drop_unused, sort_nodes
from ftx.export.quantization.linear import Linear, Range, linears
from ftx.export.quantization.scheme import Scheme

__all__ = ["smoothing", "write_quantized"]

MICROSOFT = "com.microsoft"
ATTENTION_ATTRIBUTES = {"num_heads", "unidirectional", "mask_filter_value", "scale", "do_rotary"}
BLOCK = 128
# Smaller tables (positions, token types) are not worth their operators.
MIN_TABLE_ROWS = 1000
TINY = 1e-5


def write_quantized(
    base: Path, target: Path, scheme: Scheme, ranges: dict[str, Range], *, fold_biases: bool = True
) -> None:
    """Quantise a graph.

    Args:
        base: The fp32 graph.
        target: Where the quantised one goes.
        scheme: How.
        ranges: What `calibrate` measured on `base`.
        fold_biases: Whether products take over the biases that follow. Without it every operator's result is that of
            the one it replaces.

    Raises:
        ModelError: The graph has nothing that the scheme would quantise.
    """
    import onnx
    from onnx import helper

    model = onnx.load(str(base))
    if all(entry.domain != MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    writer = Writer(model.graph, scheme, ranges)
    writer.write_linears()
    if scheme.embeddings:
        writer.write_embeddings()
    if not writer.replaced:
        raise ModelError(f"this architecture has no operator for {scheme.name} int8")
    if fold_biases:
        writer.fold_biases()
    writer.finish()
    onnx.save(model, str(target))


def smoothing(largest: NDArray[np.float32], weights: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """Compute s = max|x|^alpha / max|W|^(1 - alpha) for each input channel, scaled so that its geometric mean is 1.

    Args:
        largest: max|x|. *Shape:* `(in_channels,)`.
        weights: All weights that share x, side by side. *Shape:* `(in_channels, out_channels)`.
        alpha: How much of x's range moves.

    Returns:
        *Shape:* `(in_channels,)`.
    """
    factors = np.maximum(largest, TINY) ** alpha / np.maximum(np.abs(weights).max(axis=1), TINY) ** (1 - alpha)
    return np.asarray(factors / np.exp(np.mean(np.log(factors))), dtype=np.float32)


class Writer:
    """Replaces operators of one graph.

    Attributes:
        replaced: Names of the operators that are int8 now.
    """

    def __init__(self, graph: Any, scheme: Scheme, ranges: dict[str, Range]) -> None:
        self.graph, self.scheme, self.ranges = graph, scheme, ranges
        self.known: Constants = constants(graph)
        self.nodes: dict[str, Any] = {node.name: node for node in graph.node}
        self.replaced: list[str] = []

    def write_linears(self) -> None:
        """Quantise the linear operators that the scheme names."""
        sharing: dict[str, list[Linear]] = defaultdict(list)
        for linear in linears(self.graph):
            if linear.node in self.scheme.fp32_nodes:
                continue
            blockwise = self.scheme.activations == "blockwise" or linear.node in self.scheme.blockwise_nodes
            if linear.kind == "Attention" and (blockwise or not self.scheme.attention):
                continue
            if blockwise:
                self.write_blockwise(linear)
            else:
                sharing[linear.activation].append(linear)
        for activation, together in sharing.items():  # query, key and value read the same activation: rounded once
            self.write_together(activation, together)

    def write_together(self, activation: str, together: list[Linear]) -> None:
        """Quantise one activation and the operators that read it."""
        weights = [self.known[linear.weight].astype(np.float32) for linear in together]
        given, factors = self.ranges[activation], np.ones(weights[0].shape[0], dtype=np.float32)
        source = activation
        if self.scheme.alpha is not None:
            factors = smoothing(given.largest, np.concatenate(weights, axis=1), self.scheme.alpha)
            source = f"{activation}/smooth"
            self.add("Mul", [activation, self.constant(f"{source}/factors", 1 / factors)], [source])
        rounded, scale, zero = (f"{activation}/{part}" for part in ("int8", "scale", "zero"))
        if self.scheme.activations == "static":
            low, high = min(0.0, float((given.low / factors).min())), max(0.0, float((given.high / factors).max()))
            step = np.float32(max(high - low, TINY) / 255)
            self.constant(scale, step)
            self.constant(zero, np.uint8(np.clip(round(-low / float(step)), 0, 255)))
            self.add("QuantizeLinear", [source, scale, zero], [rounded])
        else:
            self.add("DynamicQuantizeLinear", [source], [rounded, scale, zero])
        for linear, weight in zip(together, weights, strict=True):
            self.write_linear(linear, weight * factors[:, None], rounded, scale, zero)

    def write_linear(self, linear: Linear, weight: NDArray[np.float32], rounded: str, scale: str, zero: str) -> None:
        """Put an int8 operator in the place of a linear one."""
        from onnx import helper

        node = self.nodes[linear.node]
        values, steps, zeros = self.round_weight(weight)
        name = f"{linear.node}/weight"
        parts = [self.constant(f"{name}/{part}", array) for part, array in
                 (("int8", values), ("scale", steps), ("zero", zeros))]  # fmt: skip
        if linear.kind == "MatMul":
            inputs = [rounded, parts[0], scale, parts[1], zero, parts[2]]
            made = helper.make_node("MatMulIntegerToFloat", inputs, node.output, f"{node.name}/int8", domain=MICROSOFT)
        else:
            mask = node.input[3] if len(node.input) > 3 else ""
            inputs = [rounded, parts[0], node.input[2], scale, parts[1], mask, zero, parts[2]]
            made = helper.make_node("QAttention", inputs, node.output, f"{node.name}/int8", domain=MICROSOFT)
            made.attribute.extend(given for given in node.attribute if given.name in ATTENTION_ATTRIBUTES)
        self.replace(node, made)

    def round_weight(self, weight: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[Any]]:
        """Round a weight, symmetrically.

        Args:
            weight: *Shape:* `(in_channels, out_channels)`.

        Returns:
            Values of the weight's shape; scales and zero points. *Shape of both:* `(out_channels,)`, or `()`.
        """
        limit = 2 ** (self.scheme.weight_bits - 1) - 1
        largest = np.abs(weight).max(axis=0) if self.scheme.per_channel else np.abs(weight).max()
        steps = np.asarray(np.maximum(largest, TINY) / limit, dtype=np.float32)
        values = np.clip(np.round(weight / steps), -limit, limit)
        middle = 128 if self.scheme.weight_type == "u8" else 0
        kind = np.uint8 if self.scheme.weight_type == "u8" else np.int8
        return (values + middle).astype(kind), steps, np.full(steps.shape, middle, dtype=kind)

    def write_blockwise(self, linear: Linear) -> None:
        """Put a MatMulNBits in the place of a MatMul: weights u8 in blocks of 128 input channels, scaled alone."""
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
        """Quantise embedding tables row by row: the row that is looked up is scaled back at once."""
        users = consumers(self.graph)
        for table in list(self.known):
            read_by = users.get(table, [])
            large = len(self.known.shape(table)) == 2 and self.known.shape(table)[0] >= MIN_TABLE_ROWS
            if not large or any(node.op_type != "Gather" or node.input[0] != table for node in read_by):
                continue
            if any(node.name in self.scheme.fp32_nodes for node in read_by):
                continue
            rows = self.known[table].astype(np.float32)
            steps = np.maximum(np.abs(rows).max(axis=1, keepdims=True), TINY).astype(np.float32) / np.float32(127)
            values = self.constant(f"{table}/int8", np.round(rows / steps).astype(np.int8))
            scale = self.constant(f"{table}/scale", steps)
            for node in read_by:
                self.write_lookup(node, values, scale)

    def write_lookup(self, node: Any, values: str, scale: str) -> None:
        """Put the lookup of a row and of its scale in the place of a Gather."""
        from onnx import helper

        result, ids = node.output[0], node.input[1]
        self.add("Gather", [values, ids], [f"{result}/int8"])
        self.add("Gather", [scale, ids], [f"{result}/scale"])
        self.add("Cast", [f"{result}/int8"], [f"{result}/float"], to=1)
        self.replace(node, helper.make_node("Mul", [f"{result}/float", f"{result}/scale"], [result], node.name))

    def fold_biases(self) -> None:
        """Let products add the bias of the BiasGelu that follows: it costs them nothing, and Gelu alone is faster."""
        users = consumers(self.graph)
        for node in self.graph.node:
            read_by = users.get(node.output[0], [])
            if node.op_type != "MatMulIntegerToFloat" or len(read_by) != 1 or read_by[0].op_type != "BiasGelu":
                continue
            activation = read_by[0]
            node.input.append(activation.input[1])
            activation.op_type = "Gelu"
            del activation.input[1:]

    def constant(self, name: str, values: Any) -> str:
        """Add an initializer and give its name."""
        from onnx import numpy_helper

        self.graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name)
        )
        return name

    def add(self, kind: str, inputs: list[str], outputs: list[str], **attributes: int) -> None:
        """Add a standard operator, named by its result."""
        from onnx import helper

        self.graph.node.append(helper.make_node(kind, inputs, outputs, outputs[0], **attributes))

    def replace(self, node: Any, made: Any) -> None:
        """Put an operator in the place of another."""
        self.replaced.append(node.name)
        node.CopyFrom(made)

    def finish(self) -> None:
        """Leave nothing behind that no operator reads."""
        drop_unused(self.graph)
        del self.graph.value_info[:]
        sort_nodes(self.graph)
