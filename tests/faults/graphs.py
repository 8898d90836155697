"""Graphs that are no text classifiers, or none to trust."""

from __future__ import annotations

import onnx
import onnx.parser

__all__ = ["graphs"]

INPUTS = "int64[b,s] input_ids, int64[b,s] attention_mask"
# A column for each text, and its negative.
COLUMN = "x = Cast<to=1>(input_ids); m = ReduceMean<axes=[1], keepdims=1>(x); n = Neg(m);"
CLASSIFIER = f"{COLUMN} logits = Concat<axis=1>(m, n)"
ENDLESS = """
    many = Constant<value = int64 {9223372036854775807}>();
    yes = Constant<value = bool {1}>();
    last, all = Loop(many, yes, x) <
        body = b (int64 i, bool go, float[b,s] before) => (bool on, float[b,s] after, float[b,s] each)
        { on = Identity(go)  after = Identity(before)  each = Identity(before) }
    >;
    k = ReduceMean<axes=[1], keepdims=1>(last);
    logits = Concat<axis=1>(k, n)
"""
# What stands behind COLUMN, and the output.
BODIES = {
    "endless loop": (ENDLESS, "float[b,2] logits"),
    "not a number": ("z = Sub(m, m); q = Div(z, z); logits = Concat<axis=1>(q, n)", "float[b,2] logits"),
    "infinite": ("z = Sub(m, m); q = Div(m, z); r = Neg(q); logits = Concat<axis=1>(q, r)", "float[b,2] logits"),
    "one row for all": ("a = ReduceMean<axes=[0]>(m); logits = Concat<axis=1>(a, a)", "float[c,2] logits"),
    "rows too many": ("c = Concat<axis=1>(m, n); logits = Concat<axis=0>(c, c)", "float[c,2] logits"),
    "three columns": ("logits = Concat<axis=1>(m, n, m)", "float[b,3] logits"),
    "any columns": ("logits = Concat<axis=1>(m, n, m)", "float[b,c] logits"),
    "one column": ("logits = Identity(m)", "float[b,1] logits"),
    "three dimensions": (
        "c = Concat<axis=1>(m, n); a = Constant<value_ints=[1]>(); logits = Unsqueeze(c, a)",
        "float[b,1,2] logits",
    ),
    "a number": ("logits = ReduceMean<keepdims=0>(m)", "float logits"),
    "whole numbers": ("c = Concat<axis=1>(m, n); logits = Cast<to=7>(c)", "int64[b,2] logits"),
    "words": ("c = Concat<axis=1>(m, n); logits = Cast<to=8>(c)", "string[b,2] logits"),
    "two outputs": ("logits = Concat<axis=1>(m, n); more = Identity(m)", "float[b,2] logits, float[b,1] more"),
    "unknown operator": ("logits = mine.Thing(m)", "float[b,2] logits"),
    "very much memory": (
        "l = Constant<value_ints=[100000,1000000]>(); h = ConstantOfShape(l); k = ReduceMean<keepdims=1>(h);"
        "j = Add(m, k); logits = Concat<axis=1>(j, n)",
        "float[b,2] logits",
    ),
    "wrong shapes": (
        "l = Constant<value_ints=[7,3]>(); k = Reshape(x, l); logits = Concat<axis=1>(m, n, k)",
        "float[b,2] logits",
    ),
    "an index outside": (
        "t = Constant<value_floats=[1.0,2.0]>(); k = Gather(t, input_ids); j = ReduceMean<axes=[1], keepdims=1>(k);"
        "logits = Concat<axis=1>(j, n)",
        "float[b,2] logits",
    ),
}
# The same graph with other inputs.
HEADS = {
    "another input": f"{INPUTS}, float[b,1] pixels",
    "no input_ids": "int64[b,s] attention_mask",
    "inputs of another kind": "int32[b,s] input_ids, int32[b,s] attention_mask",
    "fixed length": "int64[b,3] input_ids, int64[b,3] attention_mask",
    "fixed batch": "int64[7,s] input_ids, int64[7,s] attention_mask",
}


def graph(body: str, inputs: str = INPUTS, outputs: str = "float[b,2] logits") -> onnx.ModelProto:
    """Make a model from onnx's text form, with semicolons in the place of line ends."""
    head = '<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>'
    lines = "\n".join(body.split(";"))
    return onnx.parser.parse_model(f"{head}\ng ({inputs}) => ({outputs})\n{{\n{lines}\n}}")


def with_weights(location: str, how: str) -> onnx.ModelProto:
    """Make a model whose weights lie in another file."""
    body = f"{COLUMN} c = Concat<axis=1>(m, n); logits = Add(c, w)"
    model = graph(body, inputs=f"{INPUTS}, float[2] w")
    del model.graph.input[2]
    outside = onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        outside.external_data.add(key=key, value=value)
    if how == "initializer":
        model.graph.initializer.append(outside)
    elif how == "constant":
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=outside))
    elif how == "sparse":
        indices = onnx.helper.make_tensor("indices", onnx.TensorProto.INT64, [2], [0, 1])
        model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=outside, indices=indices, dims=[2]))
    elif how == "function":
        node = onnx.helper.make_node("Constant", [], ["w"], value=outside)
        versions = [onnx.helper.make_opsetid("", 17)]
        model.functions.append(onnx.helper.make_function("mine", "Weights", [], ["w"], [node], versions))
        model.graph.node.insert(0, onnx.helper.make_node("Weights", [], ["w"], domain="mine"))
    return model


def graphs() -> dict[str, bytes]:
    """Give each by a name that says what is wrong with it."""
    made = {name: graph(f"{COLUMN} {body}", outputs=outputs) for name, (body, outputs) in BODIES.items()}
    made |= {
        name: graph(CLASSIFIER.replace("input_ids", "attention_mask") if name == "no input_ids" else CLASSIFIER, inputs)
        for name, inputs in HEADS.items()
    }
    for name in ("a version to come", "a format to come", "no nodes", "no graph", "nothing"):
        made[name] = graph(CLASSIFIER)
    made["a version to come"].opset_import[0].version = 999
    made["a format to come"].ir_version = 999
    del made["no nodes"].graph.node[:]
    made["no graph"].ClearField("graph")
    made["nothing"].Clear()
    for how in ("initializer", "constant", "sparse", "function"):
        for location in ("weights.bin", "../weights.bin", "/etc/passwd", ""):
            made[f"weights in {location or 'no file'}, {how}"] = with_weights(location, how)
    return {name: bytes(model.SerializeToString()) for name, model in made.items()}
