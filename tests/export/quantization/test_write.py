from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ftx.export.quantization.calibration import calibrate
from ftx.export.quantization.linear import linears
from ftx.export.quantization.scheme import SCHEMES, TARGETS, for_target
from ftx.runtime.session import open_session
from tests.export.conftest import TEXTS, Graphs

# How far the tiny model's logits (spread over some 2) may move.
CLOSE = 0.35


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_gives_nearly_the_same_logits(graphs: Graphs, name: str) -> None:
    path = graphs.write(SCHEMES[name])
    exact = graphs.batches.logits(open_session(graphs.optimised), 32)
    found = graphs.batches.logits(open_session(path), 32)
    assert 0 < np.abs(found - exact).max() < CLOSE
    kinds = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    assert ("DynamicQuantizeLinear" in kinds) == (SCHEMES[name].activations == "dynamic")
    assert ("QuantizeLinear" in kinds) == (SCHEMES[name].activations in ("static", "per-token"))
    # A layer has three products besides those of query, key and value.
    whole = name in ("blockwise", "static-fp32-attention")
    assert kinds["Attention"] == (2 if whole else 0)
    assert (kinds["MatMulIntegerToFloat"] or kinds["MatMulNBits"]) == (6 if whole else 12)
    assert kinds["MatMul"] == 0


@pytest.mark.parametrize("name", [name for name in SCHEMES if SCHEMES[name].activations != "dynamic"])
def test_fixed_scales_do_not_depend_on_batch_mates(graphs: Graphs, name: str) -> None:
    session = open_session(graphs.write(SCHEMES[name]))
    alone, together = graphs.batches.logits(session, 1), graphs.batches.logits(session, 32)
    # Another order of summation may round an activation of a block to the other side.
    np.testing.assert_allclose(alone, together, atol=1e-2 if name == "blockwise" else 1e-5, rtol=0)
    dynamic = open_session(graphs.write(SCHEMES["dynamic-per-batch"]))
    moved = graphs.batches.logits(dynamic, 1) - graphs.batches.logits(dynamic, 32)
    assert np.abs(moved).max() > 1e-3


def weights(path: object, kind: type) -> list[np.ndarray]:
    tensors = onnx.load(str(path)).graph.initializer
    return [array for array in map(numpy_helper.to_array, tensors) if array.dtype == kind and array.ndim == 2]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_the_bits_that_are_safe_there(graphs: Graphs, target: str) -> None:
    scheme = for_target(replace(SCHEMES["static"], name=f"for-{target}"), target)
    found = weights(graphs.write(scheme), np.int8)
    assert len(found) == 12
    largest = max(int(np.abs(array.astype(int)).max()) for array in found)
    assert largest == (127 if target in ("vnni", "arm64") else 63)
    assert for_target(SCHEMES["static-u8u8"], target) == SCHEMES["static-u8u8"]


def test_u8_weights_are_the_s8_ones_moved(graphs: Graphs) -> None:
    s8, u8 = (open_session(graphs.write(SCHEMES[name])) for name in ("static", "static-u8u8"))
    np.testing.assert_allclose(graphs.batches.logits(s8, 32), graphs.batches.logits(u8, 32), atol=1e-5)
    assert not weights(graphs.folder / "static-u8u8.onnx", np.int8)


def test_operators_are_rescued_as_asked(graphs: Graphs) -> None:
    found = linears(onnx.load(str(graphs.optimised)).graph)
    assert Counter(linear.kind for linear in found) == {"Attention": 2, "MatMul": 6}
    first, second = [linear.node for linear in found if linear.kind == "MatMul"][:2]
    for rescue, expected in (("fp32", "MatMul"), ("blockwise", "MatMulNBits"), ("outliers", "MatMulIntegerToFloat")):
        scheme = replace(SCHEMES["static"], name=rescue, fallback=rescue, fallback_nodes=(first, second))
        nodes = {
            node.name.removesuffix("/int8"): node.op_type for node in onnx.load(str(graphs.write(scheme))).graph.node
        }
        assert nodes[first] == nodes[second] == expected
        assert Counter(nodes.values())["MatMulIntegerToFloat"] == (12 if rescue == "outliers" else 10)
        assert Counter(nodes.values())["MatMul"] == (0 if rescue == "blockwise" else 2)


def test_large_embedding_tables_are_int8_row_by_row(graphs: Graphs, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftx.export.quantization import write

    exact = graphs.batches.logits(open_session(graphs.write(SCHEMES["static"])), 32)
    monkeypatch.setattr(write, "MIN_TABLE_ROWS", 50)
    path = graphs.write(replace(SCHEMES["static"], name="tables"))
    # Only the vocabulary and the positions have 50 rows; a row is exact to half a step of its own scale.
    assert len(weights(path, np.int8)) == 12 + 2
    assert 0 < np.abs(graphs.batches.logits(open_session(path), 32) - exact).max() < 0.1
    fp32 = graphs.write(replace(SCHEMES["static"], name="no-tables", embeddings=False))
    assert len(weights(fp32, np.int8)) == 12


def test_calibration_sees_real_tokens_only(graphs: Graphs) -> None:
    observed = graphs.fitted.observed
    assert set(observed) == {linear.activation for linear in linears(onnx.load(str(graphs.optimised)).graph)}
    for found in observed.values():
        assert (found.low <= found.high).all()
        assert (found.low <= found.sample).all() and (found.sample <= found.high).all()
        assert len(found.sample) >= len(TEXTS)
        np.testing.assert_array_equal(found.largest, np.maximum(-found.low, found.high))
    assert not (graphs.folder / "watched.onnx").exists()
    again = calibrate(graphs.optimised, graphs.batches)
    assert all(np.array_equal(again[name].sample, observed[name].sample) for name in again)
