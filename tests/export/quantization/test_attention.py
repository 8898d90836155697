from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ftx.export.graph.edit import drop_unused, sort_nodes
from ftx.export.graph.fusion import FIRST_TOKEN
from ftx.export.quantization.epilogue import rearrange, split_skips
from ftx.export.quantization.scheme import SCHEMES
from ftx.runtime.session import open_session
from tests.export.conftest import Graphs

Feed = dict[str, NDArray[Any]]
HEADS, SIZE, TEXTS, TOKENS = 3, 4, 2, 5
WIDTH = HEADS * SIZE
OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]


def test_products_take_over_biases_and_say_the_same(graphs: Graphs) -> None:
    folded = graphs.write(SCHEMES["static"])
    apart = graphs.write(replace(SCHEMES["static"], name="apart"), rearrange=False)
    kinds = [Counter(node.op_type for node in onnx.load(str(path)).graph.node) for path in (folded, apart)]
    assert (kinds[0]["Gelu"], kinds[0]["BiasGelu"]) == (kinds[1]["BiasGelu"], kinds[1]["Gelu"]) == (2, 0)
    # The biases of the four normalisations, too: their sums are of two terms.
    sums = [node for node in onnx.load(str(folded)).graph.node if node.op_type == "Sum"]
    assert [len(node.input) for node in sums] == [2] * 4
    found = [graphs.batches.logits(open_session(path), 32) for path in (folded, apart)]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_a_slow_normalisation_is_split_and_not_fused_again(graphs: Graphs) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(graphs.folder / "as-run.onnx")
    onnxruntime.InferenceSession(str(graphs.write(SCHEMES["static"])), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    before = Counter(node.op_type for node in onnx.load(str(graphs.optimised)).graph.node)
    assert before["SkipLayerNormalization"] == kinds["Sum"] == 4
    assert kinds["LayerNormalization"] == before["LayerNormalization"] + 4
    assert kinds["SkipLayerNormalization"] == 0


@pytest.mark.parametrize(
    ("inputs", "outputs", "attributes"),
    [
        (["x", "skip", "scale"], ["y"], {}),
        (["x", "skip", "scale", "shift"], ["y"], {"epsilon": 1e-3}),
        (["x", "skip", "scale", "shift", "bias"], ["y"], {"epsilon": 1e-5}),
        (["x", "skip", "scale", "shift", "bias"], ["y", "", "", "total"], {"epsilon": 1e-5}),
    ],
)
def test_a_split_normalisation_is_the_fused_one(
    inputs: list[str], outputs: list[str], attributes: dict[str, float]
) -> None:
    random = np.random.default_rng(0)
    node = helper.make_node("SkipLayerNormalization", inputs, outputs, "norm", domain="com.microsoft", **attributes)
    tensors = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["texts", "tokens", 8])
               for name in ("x", "skip", *filter(None, outputs))}  # fmt: skip
    graph = helper.make_graph(
        [node], "norm", [tensors["x"], tensors["skip"]], [tensors[name] for name in outputs if name],
        [numpy_helper.from_array(random.normal(size=8).astype(np.float32), name) for name in inputs[2:]],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=9)
    feed = {name: random.normal(size=(2, 3, 8)).astype(np.float32) for name in ("x", "skip")}
    expected = run(model, feed)
    split_skips(model.graph)
    sort_nodes(model.graph)
    assert [one.op_type for one in model.graph.node] == ["Sum", "LayerNormalization"]
    found = run(model, feed)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def run(model: onnx.ModelProto, feed: Feed) -> list[NDArray[Any]]:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)  # type: ignore[no-any-return]


def rearranged(model: onnx.ModelProto, feed: Feed) -> tuple[list[NDArray[Any]], Counter[str]]:
    rearrange(model.graph, {})
    drop_unused(model.graph)
    sort_nodes(model.graph)
    return run(model, feed), Counter(node.op_type for node in model.graph.node)


def attention(*followers: onnx.NodeProto, masked: bool = True, weights: type = np.int8, per_channel: bool = True,
              **options: Any) -> tuple[onnx.ModelProto, Feed]:  # fmt: skip
    random = np.random.default_rng(0)
    middle = 128 if weights is np.uint8 else 0
    columns = 3 * WIDTH if per_channel else ()
    constants = {
        "weight": (random.integers(-127, 128, (WIDTH, 3 * WIDTH)) + middle).astype(weights),
        "bias": random.normal(size=3 * WIDTH).astype(np.float32),
        "steps": random.uniform(0.001, 0.01, columns).astype(np.float32),
        "weight_zero": np.full(columns, middle, weights),
        "scale": np.float32(0.05),
        "zero": np.uint8(120),
        "factors": random.uniform(0.5, 2, WIDTH).astype(np.float32),
        FIRST_TOKEN: np.array([0]),
    }
    mask = "mask" if masked else ""
    inputs = ["x", "weight", "bias", "scale", "steps", mask, "zero", "weight_zero"]
    last = followers[-1].output[0] if followers else "context"
    nodes = [
        helper.make_node(
            "QAttention", inputs, ["context"], "attention", domain="com.microsoft", num_heads=HEADS, **options
        ),
        *followers,
    ]
    graph = helper.make_graph(
        nodes, "attention",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["texts", "tokens", WIDTH]),
         *[helper.make_tensor_value_info("mask", TensorProto.INT32, ["texts", "tokens"])][:masked]],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    feed: Feed = {"x": random.integers(0, 256, (TEXTS, TOKENS, WIDTH)).astype(np.uint8)}
    if masked:
        # Padding behind one text; a hole and padding in front of the other.
        feed["mask"] = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]], np.int32)
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=9), feed


TAKES_FIRST = helper.make_node("Gather", ["context", FIRST_TOKEN], ["first"], "first", axis=1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"masked": False},
        {"per_channel": False},
        {"weights": np.uint8},
        {"scale": 0.3},
        {"mask_filter_value": -2.0},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "followers",
    [
        [],
        [TAKES_FIRST],
        [helper.make_node("Mul", ["context", "factors"], ["smooth"], "smooth")],
        [TAKES_FIRST, helper.make_node("Mul", ["first", "factors"], ["smooth"], "smooth")],
    ],
    ids=["alone", "first token", "smoothed", "first token, smoothed"],
)
def test_the_parts_of_attention_say_what_the_whole_says(
    followers: list[onnx.NodeProto], options: dict[str, Any]
) -> None:
    model, feed = attention(*followers, **options)
    expected = run(model, feed)
    found, kinds = rearranged(model, feed)
    assert found[0].shape == expected[0].shape
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    assert kinds["QAttention"] == 0
    assert kinds["MatMulIntegerToFloat"] == 3
    # Smoothing is in the value's scales; only the mask is multiplied, to be 0 or what hides padding.
    assert kinds["Mul"] == (2 if "mask" in feed else 0)
    assert kinds["Gather"] == (TAKES_FIRST in followers)


def test_factors_that_something_else_passes_by_stay() -> None:
    smooth = helper.make_node("Mul", ["context", "factors"], ["smooth"], "smooth")
    model, feed = attention(smooth, helper.make_node("Add", ["context", "smooth"], ["sum"], "sum"))
    expected = run(model, feed)
    found, kinds = rearranged(model, feed)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    assert kinds["Mul"] == 3


def test_the_mask_is_made_once(graphs: Graphs) -> None:
    kinds = Counter(node.op_type for node in onnx.load(str(graphs.write(SCHEMES["static"]))).graph.node)
    assert (kinds["Softmax"], kinds["Sub"]) == (2, 1)


def test_attention_that_looks_back_only_stays_whole() -> None:
    model, feed = attention(unidirectional=1)
    expected = run(model, feed)
    found, kinds = rearranged(model, feed)
    assert kinds["QAttention"] == 1
    np.testing.assert_array_equal(found[0], expected[0])
