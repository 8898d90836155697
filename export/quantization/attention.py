"""Replace int8 attention by plain operators over whole batches; the logits stay the same up to rounding."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.export.graph.edit import MICROSOFT, Constants, add_constant, constants, consumers
from ftx.export.graph.fusion import FIRST_TOKEN

__all__ = ["AttentionParts", "can_take_apart"]

# What onnxruntime's attention adds to the scores of padding by default.
MASKED = -10000.0


class AttentionParts:
    """Replaces int8 attention by plain operators.

    onnxruntime's CPU kernel of the fused operator multiplies text by text and head by head, in small products. Plain
    operators take whole batches: 1/8 more texts per second with one core per batch. The memory layout is token by
    token, `(sequence, batch, heads, head_size)`, which FusedMatMul reads directly; so query, key and value need no
    transposition, only their input does, which is a quarter as large in int8.

    Args:
        graph: An `onnx.GraphProto`, changed in place.
        rows: Scales that have one value for each token, which the fused operator can't have.
    """

    def __init__(self, graph: Any, rows: Collection[str] = ()) -> None:
        self.graph, self.rows = graph, rows
        self.known: Constants = constants(graph)
        self.users = consumers(graph)
        self.added: set[str] = set()
        self.masks: dict[tuple[str, float], tuple[str, str]] = {}

    def replace_all(self) -> None:
        """Replace every int8 attention that does not use the operator's rarer features."""
        for node in list(self.graph.node):
            if node.op_type == "QAttention" and can_take_apart(node) and not any(node.input[8:]):
                self.take_apart(node, {attribute.name: attribute for attribute in node.attribute})

    def take_apart(self, node: Any, given: dict[str, Any]) -> None:
        """Replace one attention.

        Args:
            node: The QAttention.
            given: Its attributes by name.
        """
        name, mask = node.name, node.input[5]
        size = self.known.shape(node.input[1])[1] // 3 // given["num_heads"].i
        context, first, factors = self.what_follows(node)
        self.add("Transpose", [node.input[0]], f"{name}/input", perm=[1, 0, 2])
        if first:
            self.add("Gather", [f"{name}/input", FIRST_TOKEN], f"{name}/first_input", axis=0)
        if node.input[3] in self.rows:
            self.add("Transpose", [node.input[3]], f"{name}/input/scale", perm=[1, 0, 2])
            if first:
                self.add("Gather", [f"{name}/input/scale", FIRST_TOKEN], f"{name}/first_input/scale", axis=0)
        query = self.project(node, 0, f"{name}/query", f"{name}/{'first_' if first else ''}input", size)
        key = self.project(node, 1, f"{name}/key", f"{name}/input", size)
        value = self.project(node, 2, f"{name}/value", f"{name}/input", size, factors)
        scale = given["scale"].f if "scale" in given else size**-0.5
        turned = {"transBatchA": 1, "transBatchB": 1, "transB": 1}
        scores = self.add("FusedMatMul", [query, key], f"{name}/scores", domain=MICROSOFT, alpha=scale, **turned)
        if mask:
            filter_value = given["mask_filter_value"].f if "mask_filter_value" in given else MASKED
            row, rows = self.mask(mask, filter_value)
            scores = self.add("Add", [scores, row if first else rows], f"{name}/masked")
        shares = self.add("Softmax", [scores], f"{name}/shares", axis=-1)
        mixed = self.add("FusedMatMul", [shares, value], f"{name}/mixed", domain=MICROSOFT, transBatchB=1)
        turned_back = self.add("Transpose", [mixed], f"{name}/turned_back", perm=[0, 2, 1, 3])
        self.add("Reshape", [turned_back, self.constant("attention/joined", np.array([0, 0, -1]))], context)
        self.graph.node.remove(node)

    def what_follows(self, node: Any) -> tuple[str, bool, NDArray[np.float32] | None]:
        """Find and remove the operators after an attention that the plain ones can absorb.

        Returns:
            The name of the result to produce; whether it is of the first token only; the factors of its channels, or
            None.
        """
        context, factors = node.output[0], None
        readers = self.users.get(context, [])
        first = len(readers) == 1 and readers[0].op_type == "Gather" and readers[0].input[1] == FIRST_TOKEN
        if first:
            self.graph.node.remove(readers[0])
            context = readers[0].output[0]
            readers = self.users.get(context, [])
        if len(readers) == 1 and readers[0].op_type == "Mul" and readers[0].input[1] in self.known:
            self.graph.node.remove(readers[0])
            context, factors = readers[0].output[0], self.known[readers[0].input[1]]
        return context, first, factors

    def project(
        self,
        node: Any,
        place: int,
        name: str,
        source: str,
        size: int,
        factors: NDArray[np.float32] | None = None,
    ) -> str:
        """Multiply by one third of an attention's weights, and split the channels into heads.

        Args:
            node: The QAttention.
            place: 0 for query, 1 for key, 2 for value.
            name: Of the result.
            source: The u8 activation.
            size: Channels of a head.
            factors: Of each channel; the scales and the bias absorb them.
        """
        _, weight, bias, scale, steps, _, zero, weight_zero = node.input[:8]
        columns = self.known.shape(weight)[1]
        its = slice(place * columns // 3, (place + 1) * columns // 3)
        multiplied = 1 if factors is None else factors
        parts = {
            "int8": self.known[weight][:, its],
            "scale": np.broadcast_to(self.known[steps], (columns,))[its] * multiplied,
            "zero": np.broadcast_to(self.known[weight_zero], (columns,))[its],
            "bias": self.known[bias][its] * multiplied,
        }
        its_weight, its_scale, its_zero, its_bias = (
            self.constant(f"{name}/{part}", array) for part, array in parts.items()
        )
        inputs = [source, its_weight, scale, its_scale, zero, its_zero, its_bias]
        if scale not in self.rows:
            product = self.add("MatMulIntegerToFloat", inputs, name, domain=MICROSOFT)
        else:
            inputs[2] = f"{source}/scale"
            product = self.add("MatMulIntegerToFloat", inputs[:6], f"{name}/unbiased", domain=MICROSOFT)
            if place != 1:  # the key's bias adds the same to all scores of a query: softmax is blind to it
                product = self.add("Add", [product, its_bias], name)
        heads = self.constant(f"attention/heads_of_{size}", np.array([0, 0, -1, size]))
        return self.add("Reshape", [product, heads], f"{name}/heads")

    def mask(self, mask: str, filter_value: float) -> tuple[str, str]:
        """Make the mask that is added to the scores, once: 0 for a token, `filter_value` for padding.

        Returns:
            The names of the mask with one row for each text, `(batch, 1, 1, sequence)`, and with a row for each token,
            `(batch, 1, sequence, sequence)`: onnxruntime adds the full mask faster than it broadcasts one row.
        """
        if (mask, filter_value) not in self.masks:
            prefix = f"{mask}/{len(self.masks)}"
            tokens = self.add("Cast", [mask], f"{prefix}/tokens", to=1)
            minus_one = self.add("Sub", [tokens, self.constant(f"{prefix}/one", np.float32(1))], f"{prefix}/padding")
            filters = self.add(
                "Mul", [minus_one, self.constant(f"{prefix}/filter", np.float32(-filter_value))], f"{prefix}/filters"
            )
            row = self.add("Unsqueeze", [filters, self.constant("attention/row", np.array([1, 2]))], f"{prefix}/row")
            column = self.add(
                "Unsqueeze", [tokens, self.constant("attention/column", np.array([1, 3]))], f"{prefix}/column"
            )
            nothing = self.add("Mul", [column, self.constant(f"{prefix}/zero", np.float32(0))], f"{prefix}/nothing")
            self.masks[mask, filter_value] = row, self.add("Add", [row, nothing], f"{prefix}/rows")
        return self.masks[mask, filter_value]

    def constant(self, name: str, values: Any) -> str:
        """Add an initializer unless it exists, and give its name."""
        if name not in self.added:
            self.added.add(add_constant(self.graph, name, values))
        return name

    def add(self, kind: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        """Add an operator named after its result, and give the name."""
        from onnx import helper

        self.graph.node.append(helper.make_node(kind, inputs, [output], output, domain=domain, **attributes))
        return output


def can_take_apart(node: Any) -> bool:
    """Tell whether an attention, fused in fp32 or int8, does not use the operator's rarer features."""
    return not any(given.i for given in node.attribute if given.name in ("unidirectional", "do_rotary"))
