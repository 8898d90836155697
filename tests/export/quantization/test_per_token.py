from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ftx.errors import ModelError
from ftx.export.quantization.per_token import raise_opset, write_token_steps
from ftx.export.quantization.rounding import TokenRounding, token_rounding
from ftx.export.quantization.scheme import SCHEMES, Scheme
from ftx.runtime.session import open_session
from tests.export.conftest import Graphs

SCHEME = SCHEMES["dynamic-per-token"]
CHANNELS, OUT = 8, 5


def product(rounding: TokenRounding, weights: NDArray[np.int8], scales: NDArray[np.float32]) -> bytes:
    """Make a graph of an activation that is rounded token by token, and its product."""
    graph = helper.make_graph(
        [], "product", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", CHANNELS])],
        [onnx.ValueInfoProto(name=name) for name in ("x/int8", "x/scale", "y")],
        [numpy_helper.from_array(array, name) for name, array in
         (("w", weights), ("w_scale", scales), ("w_zero", np.zeros(OUT, dtype=np.int8)))],
    )  # fmt: skip
    write_token_steps(graph, "x", "x", rounding, CHANNELS)
    inputs = ["x/int8", "w", "x/scale", "w_scale", "x/zero", "w_zero"]
    graph.node.append(helper.make_node("MatMulIntegerToFloat", inputs, ["y"], domain="com.microsoft"))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    )
    model.ir_version = 9  # onnx may write a newer format than onnxruntime reads
    raise_opset(model)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 1), (4, 9), (33, 2)])
@pytest.mark.parametrize("zero", [1, 17, 128, 254])
def test_the_operators_do_what_numpy_does(tmp_path: Path, shape: tuple[int, int], zero: int) -> None:
    random = np.random.default_rng(zero)
    x = random.normal(size=(*shape, CHANNELS)).astype(np.float32) * random.choice([1e-3, 1, 1e3], size=(*shape, 1))
    x = x.astype(np.float32)
    x[0, 0] = 0  # a token without any value has no scale of its own
    weights = random.integers(-127, 128, size=(CHANNELS, OUT)).astype(np.int8)
    scales = random.uniform(0.001, 0.1, size=OUT).astype(np.float32)
    rounding = TokenRounding(zero=np.uint8(zero), mean_square_step=0)
    (tmp_path / "product.onnx").write_bytes(product(rounding, weights, scales))
    integers, steps, y = open_session(tmp_path / "product.onnx").run(None, {"x": x})
    np.testing.assert_array_equal(steps, rounding.steps(x))
    expected = np.clip(np.round(x / steps) + zero, 0, 255)
    np.testing.assert_array_equal(integers, expected)
    exact = (expected - zero).astype(np.int64) @ weights.astype(np.int64)
    np.testing.assert_allclose(y, exact * steps * scales, rtol=1e-5, atol=1e-6)


@given(arrays(np.float32, (6, 4), elements=st.floats(-1000, 1000, width=32)), st.integers(1, 254))
def test_no_value_is_clipped_whatever_the_zero_point(x: NDArray[np.float32], zero: int) -> None:
    rounding = TokenRounding(zero=np.uint8(zero), mean_square_step=0)
    assert (np.abs(rounding.apply(x) - x) <= rounding.steps(x) * 0.501).all()


def test_the_zero_point_uses_the_range_that_is_there() -> None:
    x = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    above = np.maximum(x, np.float32(-0.17))  # as after GELU
    even, low = token_rounding(x), token_rounding(above)
    assert 100 < even.zero < 156
    assert low.zero < 40
    symmetric = TokenRounding(zero=np.uint8(128), mean_square_step=0)
    error, least = (np.square(way.apply(above) - above).mean() for way in (symmetric, low))
    assert least < error / 2
    assert low.mean_square_step == pytest.approx(float(np.square(low.steps(above)).mean()), rel=1e-5)


def test_an_old_graph_is_refused() -> None:
    graph = helper.make_graph([], "empty", [], [])
    with pytest.raises(ModelError, match="opset 17, scales for each token need 18"):
        raise_opset(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


@pytest.mark.parametrize("fallback", ["none", "outliers", "fp32"])
def test_no_text_depends_on_its_batch(graphs: Graphs, fallback: str) -> None:
    nodes = [node.name for node in onnx.load(str(graphs.optimised)).graph.node if node.op_type == "MatMul"][:2]
    scheme = SCHEME if fallback == "none" else replace(
        SCHEME, name=f"per-token-{fallback}", fallback=fallback, fallback_nodes=tuple(nodes)
    )  # fmt: skip
    session = open_session(graphs.write(scheme))
    rows = graphs.batches.spread(8)
    for row in rows:
        alone = session.run(None, graphs.batches.of(1, [row])[0])[0]
        # Beside copies of itself no padding changes the order of a sum: the same bits.
        assert np.array_equal(session.run(None, graphs.batches.of(3, [row] * 3)[0])[0], np.repeat(alone, 3, axis=0))
        beside = session.run(None, graphs.batches.of(len(rows), [row, *rows[:-1]])[0])[0][:1]
        np.testing.assert_allclose(beside, alone, atol=1e-5, rtol=0)
        padded = session.run(None, graphs.batches.padded([row])[0])[0]
        np.testing.assert_allclose(padded, alone, atol=1e-5, rtol=0)


def test_it_is_closer_to_fp32_than_one_scale_for_the_batch(graphs: Graphs) -> None:
    exact = graphs.batches.logits(open_session(graphs.optimised), 32)

    def error(scheme: Scheme) -> float:
        found = graphs.batches.logits(open_session(graphs.write(scheme)), 32)
        return float(np.sqrt(np.square(found - exact).mean()))

    assert error(SCHEME) < error(SCHEMES["dynamic-per-batch"])


def test_the_exact_kernel_says_the_same(graphs: Graphs) -> None:
    path = graphs.write(SCHEME)
    exact, usual = (open_session(path, exact_kernel=exact) for exact in (True, False))
    np.testing.assert_allclose(graphs.batches.logits(exact, 8), graphs.batches.logits(usual, 8), atol=1e-4)


def test_operators_apart_say_the_same(graphs: Graphs) -> None:
    usual = open_session(graphs.write(SCHEME))
    apart = open_session(graphs.write(replace(SCHEME, name="per-token-apart"), rearrange=False))
    np.testing.assert_allclose(graphs.batches.logits(apart, 8), graphs.batches.logits(usual, 8), atol=1e-4)
