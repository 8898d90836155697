from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from packaging.version import Version

from ftx.export.parity.saturation import can_saturate, portability
from ftx.machine import INSTRUCTION_SETS, cpu_flags
from ftx.quantization import EXACT_SETTING
from ftx.runtime.session import open_session

MS = "com.microsoft"
X86 = platform.machine().lower() in ("x86_64", "amd64")
# Before 1.25 onnxruntime heeds the setting only on CPUs without VNNI; those with it are exact in any case.
HEEDED = X86 and (Version(onnxruntime.__version__) >= Version("1.25") or not cpu_flags() & {"avx_vnni", "avx512_vnni"})
VNNI = ["avx512_vnni", "avx_vnni", "amx_int8", "arm64"]
ROWS, COLUMNS = 64, 32
FULL_RANGE = np.full((ROWS, COLUMNS), 127, np.int8)
SEVEN_BITS = np.full((ROWS, COLUMNS), -64, np.int8)
SCALES = {
    "activation_scale": np.float32(0.01),
    "weight_scale": np.float32(0.0002),
    "activation_zero": np.uint8(3),
    "result_scale": np.float32(0.1),
}
TYPES = {"x": TensorProto.FLOAT, "q": TensorProto.UINT8}
# The inputs of each operator that multiplies by s8 weights: x in fp32 or q in u8, constants from SCALES, and these two.
WEIGHT, ZERO = "weight", "weight_zero"
OPERATORS = {
    "MatMulInteger": ["q", WEIGHT, "activation_zero", ZERO],
    "MatMulIntegerToFloat": ["q", WEIGHT, "activation_scale", "weight_scale", "activation_zero", ZERO],
    "DynamicQuantizeMatMul": ["x", WEIGHT, "weight_scale", ZERO],
    "QGemm": ["q", "activation_scale", "activation_zero", WEIGHT, "weight_scale", ZERO],
    "QLinearMatMul": [
        "q", "activation_scale", "activation_zero", WEIGHT, "weight_scale", ZERO, "result_scale", "activation_zero",
    ],
    "QAttention": ["q", WEIGHT, "bias", "activation_scale", "weight_scale", "", "activation_zero", ZERO],
}  # fmt: skip


def vpmaddubsw(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> NDArray[np.int32]:
    """The dot product as CPUs without VNNI compute it: pairs of products saturate in int16."""
    products = activations.astype(np.int32)[:, None] * weights.astype(np.int32)
    pairs = products[::2] + np.concatenate([products[1::2], np.zeros_like(products[: len(products) % 2])])
    return np.clip(pairs, -32768, 32767).sum(axis=0)


def exact(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> NDArray[np.int32]:
    return activations.astype(np.int32) @ weights.astype(np.int32)


def matrices(largest: int) -> st.SearchStrategy[NDArray[np.int8]]:
    return arrays(np.int8, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(-largest, largest))


def save(path: Path, nodes: list[Any], constants: dict[str, Any], *, opset: int = 18) -> Path:
    """A graph that takes whichever of x and q its nodes want, and gives every result that no node takes."""
    taken = {name for node in nodes for name in node.input}
    made = [name for node in nodes for name in node.output if name not in taken]
    shape = [1, None, ROWS] if any(node.op_type == "QAttention" for node in nodes) else [None, ROWS]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TYPES[name], shape) for name in TYPES if name in taken],
        [helper.make_value_info(name, onnx.TypeProto()) for name in made],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in taken],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
    return path


def operator(op_type: str, number: int = 0, inputs: list[str] | None = None) -> Any:
    domain = "" if op_type in ("MatMulInteger", "QLinearMatMul") else MS
    options = {"num_heads": 4} if op_type == "QAttention" else {}
    return helper.make_node(op_type, inputs or OPERATORS[op_type], [f"y{number}"], domain=domain, **options)


def constants(op_type: str, weights: NDArray[Any]) -> dict[str, Any]:
    if op_type == "QAttention":
        weights = np.tile(weights, (1, 6))
    return {**SCALES, WEIGHT: weights, ZERO: weights.dtype.type(0), "bias": np.zeros(weights.shape[1], np.float32)}


def weight_types(path: Path, *, exact_kernel: bool) -> set[str]:
    """The types of the matrices in the graph that onnxruntime really runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_name("optimised.onnx"))
    options.log_severity_level = 3
    if exact_kernel:
        options.add_session_config_entry(*EXACT_SETTING.split("="))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    tensors = onnx.load(options.optimized_model_filepath).graph.initializer
    return {TensorProto.DataType.Name(tensor.data_type) for tensor in tensors if len(tensor.dims) == 2}


def test_full_range_weights_give_a_wrong_product_without_vnni() -> None:
    activations, weights = np.full(4, 255, np.uint8), np.array([[127], [127], [-128], [-128]], np.int8)
    assert exact(activations, weights) == [-510]
    assert vpmaddubsw(activations, weights) == [32767 - 32768]
    assert can_saturate(weights)


@given(weights=matrices(64), seed=st.integers(0, 2**32 - 1))
def test_seven_bit_weights_never_do(weights: NDArray[np.int8], seed: int) -> None:
    for activations in (
        np.random.default_rng(seed).integers(0, 256, len(weights), dtype=np.uint8),
        np.full(len(weights), 255, np.uint8),
    ):
        np.testing.assert_array_equal(vpmaddubsw(activations, weights), exact(activations, weights))
    assert not can_saturate(weights)


@given(weights=matrices(127) | matrices(70))
@settings(max_examples=300)
def test_the_verdict_is_that_of_the_worst_activations(weights: NDArray[np.int8]) -> None:
    # A product is linear in each activation, so that a pair's worst sums are at 0 and 255.
    one, zero = np.uint8(255), np.uint8(0)
    columns = (weights[:, [column]] for column in range(weights.shape[1]))
    wrong = any(
        (vpmaddubsw(activations, column) != exact(activations, column)).any()
        for column in columns
        for activations in (
            np.where(column[:, 0] > 0, one, zero),
            np.where(column[:, 0] < 0, one, zero),
        )
    )
    assert can_saturate(weights) == wrong


@pytest.mark.parametrize(
    ("rows", "saturates"),
    [
        ([64, 64], False),
        ([65, 64], True),
        ([-64, -65], True),
        ([127, -128], False),
        ([0, 127, 127, 0], False),
        ([127], False),
    ],
)
def test_the_border_and_the_pairs(rows: list[int], saturates: bool) -> None:
    assert can_saturate(np.array([rows], np.int8).T) is saturates


@pytest.mark.parametrize("op_type", OPERATORS)
def test_each_operator_with_full_range_weights_is_mended_by_the_setting(tmp_path: Path, op_type: str) -> None:
    path = save(tmp_path / "model.onnx", [operator(op_type)], constants(op_type, FULL_RANGE))
    assert portability(path) == {"safe_on": VNNI, "safe_setting": EXACT_SETTING}
    if HEEDED:
        assert weight_types(path, exact_kernel=False) == {"INT8"}
        assert weight_types(path, exact_kernel=True) == {"UINT8"}


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("weights", [SEVEN_BITS, FULL_RANGE.astype(np.uint8) + 100], ids=["seven bits", "u8"])
def test_weights_that_can_not_saturate_are_safe_everywhere(tmp_path: Path, op_type: str, weights: NDArray[Any]) -> None:
    path = save(tmp_path / "model.onnx", [operator(op_type)], constants(op_type, weights))
    assert portability(path) == {"safe_on": list(INSTRUCTION_SETS), "safe_setting": None}


def test_one_operator_among_safe_ones_decides(tmp_path: Path) -> None:
    nodes = [
        operator("MatMulInteger"),
        operator("QGemm", 1, [*OPERATORS["QGemm"][:3], "other", "weight_scale", "other_zero"]),
    ]
    for other, safe in ((SEVEN_BITS, list(INSTRUCTION_SETS)), (FULL_RANGE, VNNI)):
        values = {**constants("QGemm", SEVEN_BITS), "other": other, "other_zero": np.int8(0)}
        assert portability(save(tmp_path / "model.onnx", nodes, values))["safe_on"] == safe


def test_qlinearmatmul_of_a_new_opset_is_not_mended(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", [operator("QLinearMatMul")], constants("", FULL_RANGE), opset=21)
    assert portability(path) == {"safe_on": VNNI, "safe_setting": None}
    if X86:
        assert weight_types(path, exact_kernel=True) == {"INT8"}


@pytest.mark.parametrize("shared", [WEIGHT, ZERO])
def test_the_setting_can_not_open_a_file_that_shares_a_weight_or_a_zero_point(tmp_path: Path, shared: str) -> None:
    own = {WEIGHT: "other", ZERO: "other_zero"}
    del own[shared]
    inputs = [own.get(name, name) for name in OPERATORS["MatMulInteger"]]
    values = {**constants("", FULL_RANGE), "other": FULL_RANGE, "other_zero": np.int8(0)}
    nodes = [operator("MatMulInteger"), operator("MatMulInteger", 1, inputs)]
    path = save(tmp_path / "model.onnx", nodes, values)
    assert portability(path) == {"safe_on": VNNI, "safe_setting": None}
    open_session(path, exact_kernel=False)
    if HEEDED:
        with pytest.raises(Exception, match="can't load"):
            open_session(path, exact_kernel=True)


def test_an_operator_without_a_zero_point_is_not_mended(tmp_path: Path) -> None:
    # onnxruntime 1.20 aborts on it.
    path = save(tmp_path / "model.onnx", [operator("MatMulInteger", 0, ["q", WEIGHT])], constants("", FULL_RANGE))
    assert portability(path) == {"safe_on": VNNI, "safe_setting": None}


@pytest.mark.parametrize("transposed", [False, True])
def test_a_weight_is_read_as_the_operator_reads_it(tmp_path: Path, transposed: bool) -> None:
    # Saturates along the rows only.
    weights = np.zeros((ROWS, ROWS), np.int8)
    weights[0] = 127
    node = operator("QGemm")
    node.attribute.append(helper.make_attribute("transB", int(transposed)))
    path = save(tmp_path / "model.onnx", [node], constants("", weights))
    assert (portability(path)["safe_on"] == VNNI) is transposed


@pytest.mark.parametrize("turn", [False, True])
def test_the_qdq_format_is_judged_too(tmp_path: Path, turn: bool) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "activation_scale", "activation_zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "activation_scale", "activation_zero"], ["read"]),
        helper.make_node("DequantizeLinear", [WEIGHT, "weight_scale", ZERO], ["w"]),
        *([helper.make_node("Transpose", ["w"], ["turned"])] if turn else []),
        helper.make_node("MatMul", ["read", "turned" if turn else "w"], ["y"]),
    ]
    weights = FULL_RANGE.T.copy() if turn else FULL_RANGE
    path = save(tmp_path / "model.onnx", nodes, constants("", weights))
    assert portability(path) == {"safe_on": VNNI, "safe_setting": EXACT_SETTING}
    if HEEDED:
        assert weight_types(path, exact_kernel=True) == {"UINT8"}


def test_embeddings_multiply_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["q"], ["ids"], to=TensorProto.INT64),
        helper.make_node("DequantizeLinear", [WEIGHT, "weight_scale", ZERO], ["table"]),
        helper.make_node("Gather", ["table", "ids"], ["y0"]),
        helper.make_node("Gather", ["other", "ids"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "weight_scale", ZERO], ["y1"]),
    ]
    path = save(tmp_path / "model.onnx", nodes, {**constants("", FULL_RANGE), "other": FULL_RANGE})
    assert portability(path)["safe_on"] == list(INSTRUCTION_SETS)


def test_products_of_activations_are_safe_where_they_are_u8(tmp_path: Path) -> None:
    rounding = helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "scale", "zero"])
    both = [helper.make_node("Transpose", ["a"], ["t"]), helper.make_node("MatMulInteger", ["t", "a"], ["y"])]
    path = save(tmp_path / "model.onnx", [rounding, *both], {})
    assert portability(path)["safe_on"] == list(INSTRUCTION_SETS)
    signed = helper.make_node("QuantizeLinear", ["x", "activation_scale", ZERO], ["a"])
    path = save(tmp_path / "model.onnx", [signed, *both], constants("", FULL_RANGE))
    assert portability(path) == {"safe_on": VNNI, "safe_setting": None}


@pytest.mark.parametrize(("bits", "safe"), [(4, list(INSTRUCTION_SETS)), (8, list(INSTRUCTION_SETS)), (2, VNNI)])
def test_blockwise_weights_have_their_own_exact_kernels(tmp_path: Path, bits: int, safe: list[str]) -> None:
    blocks = np.full((COLUMNS, 2, 32 * bits // 8), 255, np.uint8)
    node = helper.make_node(
        "MatMulNBits", ["x", "blocks", "scales"], ["y"], domain=MS,
        K=ROWS, N=COLUMNS, bits=bits, block_size=32, accuracy_level=4,
    )  # fmt: skip
    values = {"blocks": blocks, "scales": np.full(COLUMNS * 2, 0.01, np.float32)}
    assert portability(save(tmp_path / "model.onnx", [node], values)) == {"safe_on": safe, "safe_setting": None}


def test_an_fp32_graph_is_safe_everywhere(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save(tmp_path / "model.onnx", [node], {"w": np.ones((ROWS, 2), np.float32)})
    assert portability(path) == {"safe_on": list(INSTRUCTION_SETS), "safe_setting": None}
