"""Optimise a graph before it is quantised: fuse operators, and compute the last layer for the first token only.

Both leave the logits unchanged, which is verified.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ftx.export.graph.edit import constants, consumers, sort_nodes
from ftx.export.quiet import quiet

__all__ = ["Fusion", "fuse", "keep_first_token"]

# Architectures whose attention block onnxruntime's optimiser recognises.
KNOWN = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
COUNTED = (
    "Attention",
    "MultiHeadAttention",
    "SkipLayerNormalization",
    "LayerNormalization",
    "BiasGelu",
    "Gelu",
    "FastGelu",
)
# Operators that treat each token independently, provided that their other operands are weights or do so, too.
TOKEN_WISE = {
    "Add", "BiasGelu", "Cast", "Div", "Erf", "FastGelu", "Gelu", "LayerNormalization", "MatMul", "Mul",
    "SkipLayerNormalization", "Sub", "Tanh",
}  # fmt: skip
FIRST_TOKEN = "first_token/index"


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """What the optimiser did to a graph.

    Attributes:
        found: Fused operators by kind.
        expected: How many this architecture should have; empty where that is not known.
        first_token_nodes: Operators of the last layer that compute the first token only.
        problem: Why the graph could not be optimised; empty if it could.
    """

    found: dict[str, int]
    expected: dict[str, int]
    first_token_nodes: int
    problem: str = ""

    @property
    def missed(self) -> dict[str, int]:
        """How many fused operators are missing, by kind."""
        lack = {kind: count - self.found.get(kind, 0) for kind, count in self.expected.items()}
        return {kind: count for kind, count in lack.items() if count > 0}

    def to_text(self) -> str:
        """Report fused and missed operators on one line."""
        if self.problem:
            return f"NOT optimised, slower than it could be: {self.problem}"
        found = ", ".join(f"{count} {kind}" for kind, count in self.found.items()) or "nothing"
        if self.missed:
            missed = ", ".join(f"{count} {kind}" for kind, count in self.missed.items())
            return f"fused {found}; MISSED {missed}: slower than this architecture can be, with the same predictions"
        return f"fused {found}" + ("" if self.expected else " (no attention fusion is known for this architecture)")


def fuse(plain: Path, target: Path, config: Any) -> Fusion:
    """Write the graph with onnxruntime's fused operators.

    Args:
        plain: The graph from Optimum.
        target: Where the fused one goes.
        config: The model's `transformers` configuration.
    """
    import onnx
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import AttentionMaskFormat, FusionOptions

    options = FusionOptions("bert")
    # The embeddings are quantised row by row, which a fused EmbedLayerNormalization can't be.
    options.enable_embed_layer_norm = False
    # The mask itself: a length would misread masks with holes, and padding on the left.
    options.attention_mask_format = AttentionMaskFormat.AttentionMask
    with quiet():
        optimised = optimizer.optimize_model(
            str(plain),
            model_type="bert",
            num_heads=int(config.num_attention_heads),
            hidden_size=int(config.hidden_size),
            opt_level=0,
            optimization_options=options,
        )
    first_token_nodes = keep_first_token(optimised.model)
    onnx.save(optimised.model, str(target))
    kinds = Counter(node.op_type for node in optimised.model.graph.node)
    return Fusion(
        found={kind: kinds[kind] for kind in COUNTED if kinds[kind]},
        expected=count_expected(config),
        first_token_nodes=first_token_nodes,
    )


def count_expected(config: Any) -> dict[str, int]:
    """Count the fused operators that a graph of this architecture should have."""
    if config.model_type not in KNOWN:
        return {}
    layers = int(config.num_hidden_layers)
    activation = getattr(config, "hidden_act", None) or getattr(config, "activation", None)
    gelu = {"BiasGelu": layers} if activation == "gelu" else {}
    return {"Attention": layers, "SkipLayerNormalization": 2 * layers, **gelu}


def keep_first_token(model: Any) -> int:
    """Compute what follows the last attention for the first token only, if the classifier reads no other.

    The classifier of a BERT takes one row of the last layer: `Gather(x, 0, axis=1)`. The operators before it that treat
    each token independently compute this row from the same row of their input, so the Gather moves up to where tokens
    interact, the attention.

    Args:
        model: An `onnx.ModelProto`, changed in place.

    Returns:
        How many operators now compute one token of each text; 0 where there is no such Gather.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    known, users = constants(graph), consumers(graph)
    results = {value.name for value in graph.output}
    first = [node for node in graph.node if takes_first_token(node, known)]
    if len(first) != 1:
        return 0
    moved = {first[0].name: first[0]}
    for node in reversed(graph.node):
        read_by = [user for name in node.output for user in users.get(name, [])]
        token_wise = node.op_type in TOKEN_WISE and not results & {*node.output}
        if token_wise and read_by and all(user.name in moved for user in read_by):
            moved[node.name] = node
    of_moved = {name for node in moved.values() for name in node.output}
    gathers = {}
    for node in moved.values():
        if node is first[0]:
            continue
        for place, name in enumerate(node.input):
            if name and name not in known and name not in of_moved:
                node.input[place] = f"{name}/first_token"
                gathers[name] = helper.make_node(
                    "Gather", [name, FIRST_TOKEN], [f"{name}/first_token"], axis=1, name=f"{name}/first_token"
                )
    if not gathers:
        return 0
    # A list of one index keeps the axis, so that the moved operators see inputs of the same rank.
    graph.initializer.append(numpy_helper.from_array(np.array([0], dtype=np.int64), FIRST_TOKEN))
    graph.node.extend(gathers.values())
    del graph.value_info[:]
    sort_nodes(graph)
    return len(moved) - 1


def takes_first_token(node: Any, known: dict[str, Any]) -> bool:
    """Tell whether a node is `Gather(x, 0, axis=1)` with a scalar index, x being computed."""
    from onnx import helper

    if node.op_type != "Gather" or node.input[0] in known or node.input[1] not in known:
        return False
    index = known[node.input[1]]
    axis = next((helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == "axis"), 0)
    return axis == 1 and index.ndim == 0 and int(index) == 0
