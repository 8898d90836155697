from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from ftx.export.quantization.linear import calibrate, linears
from ftx.export.quantization.scheme import SCHEMES, TARGETS, for_target
from ftx.export.quantization.write import smoothing
from ftx.runtime.session import open_session
from tests.export.quantization.conftest import Graphs

# How far the tiny model's logits (spread over some 2) may move.
CLOSE = 0.35


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_gives_nearly_the_same_logits(graphs: Graphs, name: str) -> None:
    path = graphs.write(SCHEMES[name])
    exact = graphs.batches.logits(open_session(graphs.optimised), 32)
    found = graphs.batches.logits(open_session(path), 32)
    assert 0 < np.abs(found - exact).max() < CLOSE
    kinds = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    assert ("DynamicQuantizeLinear" in kinds) == name.startswith("dynamic")
    assert ("QuantizeLinear" in kinds) == name.startswith("static")
    assert (kinds["QAttention"] == 2) == (name not in ("blockwise", "static-fp32-attention"))
    assert (kinds["MatMulIntegerToFloat"] or kinds["MatMulNBits"]) == 6
    assert kinds["MatMul"] == 0


@pytest.mark.parametrize("name", [name for name in SCHEMES if not name.startswith("dynamic")])
def test_fixed_scales_do_not_depend_on_batch_mates(graphs: Graphs, name: str) -> None:
    session = open_session(graphs.write(SCHEMES[name]))
    alone, together = graphs.batches.logits(session, 1), graphs.batches.logits(session, 32)
    # Another order of summation may round an activation of a block to the other side.
    np.testing.assert_allclose(alone, together, atol=1e-2 if name == "blockwise" else 1e-5, rtol=0)
    dynamic = open_session(graphs.write(SCHEMES["dynamic"]))
    moved = graphs.batches.logits(dynamic, 1) - graphs.batches.logits(dynamic, 32)
    assert np.abs(moved).max() > 1e-3


def test_products_take_over_biases_without_changing_a_bit(graphs: Graphs) -> None:
    folded = graphs.write(SCHEMES["static-0.8"])
    apart = graphs.write(replace(SCHEMES["static-0.8"], name="apart"), fold_biases=False)
    kinds = [Counter(node.op_type for node in onnx.load(str(path)).graph.node) for path in (folded, apart)]
    assert (kinds[0]["Gelu"], kinds[0]["BiasGelu"]) == (kinds[1]["BiasGelu"], kinds[1]["Gelu"]) == (2, 0)
    found = [graphs.batches.logits(open_session(path), 32) for path in (folded, apart)]
    np.testing.assert_allclose(*found, atol=1e-5)


def weights(path: object, kind: type) -> list[np.ndarray]:
    tensors = onnx.load(str(path)).graph.initializer
    return [array for array in map(numpy_helper.to_array, tensors) if array.dtype == kind and array.ndim == 2]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_the_bits_that_are_safe_there(graphs: Graphs, target: str) -> None:
    scheme = for_target(replace(SCHEMES["static-0.8"], name=f"for-{target}"), target)
    found = weights(graphs.write(scheme), np.int8)
    assert len(found) == 8
    largest = max(int(np.abs(array.astype(int)).max()) for array in found)
    assert largest == (127 if target in ("vnni", "arm64") else 63)
    assert for_target(SCHEMES["static-u8u8"], target) == SCHEMES["static-u8u8"]


def test_u8_weights_are_the_s8_ones_moved(graphs: Graphs) -> None:
    s8, u8 = (open_session(graphs.write(SCHEMES[name])) for name in ("static-0.8", "static-u8u8"))
    np.testing.assert_allclose(graphs.batches.logits(s8, 32), graphs.batches.logits(u8, 32), atol=1e-5)
    assert not weights(graphs.folder / "static-u8u8.onnx", np.int8)


def test_operators_left_in_fp32_and_blockwise_ones_are_as_asked(graphs: Graphs) -> None:
    found = linears(onnx.load(str(graphs.optimised)).graph)
    assert Counter(linear.kind for linear in found) == {"Attention": 2, "MatMul": 6}
    first, second = [linear.node for linear in found if linear.kind == "MatMul"][:2]
    scheme = replace(SCHEMES["static-0.8"], name="mixed", fp32_nodes=(first,), blockwise_nodes=(second,))
    kinds = {node.name: node.op_type for node in onnx.load(str(graphs.write(scheme))).graph.node}
    assert kinds[first] == "MatMul"
    assert kinds[f"{second}/int8"] == "MatMulNBits"
    assert Counter(kinds.values())["MatMulIntegerToFloat"] == 4


def test_large_embedding_tables_are_int8_row_by_row(graphs: Graphs, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftx.export.quantization import write

    exact = graphs.batches.logits(open_session(graphs.write(SCHEMES["static-0.8"])), 32)
    monkeypatch.setattr(write, "MIN_TABLE_ROWS", 50)
    path = graphs.write(replace(SCHEMES["static-0.8"], name="tables"))
    # Only the vocabulary and the positions have 50 rows; a row is exact to half a step of its own scale.
    assert len(weights(path, np.int8)) == 8 + 2
    assert 0 < np.abs(graphs.batches.logits(open_session(path), 32) - exact).max() < 0.1
    fp32 = graphs.write(replace(SCHEMES["static-0.8"], name="no-tables", embeddings=False))
    assert len(weights(fp32, np.int8)) == 8


def test_calibration_sees_real_tokens_only(graphs: Graphs) -> None:
    assert set(graphs.ranges) == {linear.activation for linear in linears(onnx.load(str(graphs.optimised)).graph)}
    for found in graphs.ranges.values():
        assert (found.low <= found.high).all()
        np.testing.assert_array_equal(found.largest, np.maximum(-found.low, found.high))
    assert not (graphs.folder / "watched.onnx").exists()
    again = calibrate(graphs.optimised, graphs.batches)
    assert all(np.array_equal(again[name].low, graphs.ranges[name].low) for name in again)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_smoothing_leaves_the_product_as_it_is(seed: int, alpha: float) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(5, 7)).astype(np.float32) * 10 ** random.uniform(-3, 3, size=7).astype(np.float32)
    w = random.normal(size=(7, 3)).astype(np.float32)
    factors = smoothing(np.abs(x).max(axis=0), w, alpha)
    assert factors.dtype == np.float32
    assert np.exp(np.mean(np.log(factors))) == pytest.approx(1, rel=1e-3)
    product, scale = x @ w, np.abs(x) @ np.abs(w)
    np.testing.assert_array_less(np.abs((x / factors) @ (factors[:, None] * w) - product), 1e-5 * scale + 1e-30)


def test_smoothing_wholly_makes_all_channels_alike() -> None:
    largest = np.array([100, 1, 0.01], dtype=np.float32)
    factors = smoothing(largest, np.ones((3, 2), dtype=np.float32), 1.0)
    np.testing.assert_allclose(largest / factors, (largest / factors)[0], rtol=1e-4)
