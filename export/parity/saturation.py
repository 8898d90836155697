"""Find out on which CPUs a quantised file's weights are exact, and which setting makes them so on the others.

Without dot-product instructions (VNNI, AMX, Arm's) onnxruntime multiplies u8 activations by s8 weights with vpmaddubsw,
which adds two products in int16 and saturates silently. u8 weights use another kernel, which is exact everywhere
(onnxruntime/core/mlas/lib/platform.cpp).

"Tested" below: with onnxruntime 1.31.1, on AVX2 (qemu's Haswell) and on AVX-512 with its check for VNNI patched out.
The starter's int8 file was off by 0.36 logits on AVX2, and by 1e-7 with `session.x64quantprecision=1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.machine import INSTRUCTION_SETS
from ftx.quantization import EXACT_SETTING

__all__ = ["can_saturate", "portability"]

# The inputs that hold each operator's weight and zero point, as in onnxruntime's Avx2WeightS8ToU8Transformer, which the
# setting enables (core/optimizer/qdq_transformer/avx2_weight_s8_to_u8.cc). Each saturates, and is exact with the
# setting (tested).
WEIGHT_PLACES = {
    "DequantizeLinear": (0, 2),  # onnxruntime fuses one between a weight and a MatMul or Gemm into the operators below
    "DynamicQuantizeMatMul": (1, 3),
    "MatMulInteger": (1, 3),
    "MatMulIntegerToFloat": (1, 5),
    "QAttention": (1, 7),
    "QGemm": (3, 5),
    "QLinearMatMul": (3, 5),
}
# The transformer handles QLinearMatMul of opset 10 only; from this opset on it leaves the weight s8 (tested).
QLINEARMATMUL_CHANGED = 21
# MatMulNBits has its own kernels. With 8 bits they multiply even and odd weights separately, so each int16 holds one
# product (sqnbitgemm_kernel_avx2_int8_blklen64.h: "2 x i8 x i8 may be larger than i16"); 4-bit products are small.
# Exact with accuracy_level 4, blocks of 16 to 256 and the largest weights and activations (tested).
EXACT_BITS = (4, 8)

ACTIVATION_MAX = 255  # u8
INT16_MIN, INT16_MAX = -32768, 32767
SEVEN_BITS = 64  # weights up to this can't saturate, and the transformer does not convert them


@dataclass(frozen=True, kw_only=True)
class Signed:
    """An operator that multiplies by s8 weights, or may.

    Attributes:
        names: Of its weight and its zero point; empty if it has none.
        saturates: Whether its products can overflow int16.
        converted: Whether the setting converts its weights to u8.
    """

    names: tuple[str, str]
    saturates: bool
    converted: bool


def portability(path: Path) -> dict[str, Any]:
    """Find out where an ONNX file's int8 weights are exact.

    Args:
        path: The file.

    Returns:
        `safe_on`: those of `INSTRUCTION_SETS` on which no weight can saturate; all of them also means any other CPU.
        `safe_setting`: the setting of onnxruntime's session that makes the rest exact; None if none is needed or
            helps.
    """
    import onnx

    operators = list(signed(onnx.load(str(path))))
    if not any(operator.saturates for operator in operators):
        return {"safe_on": list(INSTRUCTION_SETS), "safe_setting": None}
    # The session does not open if the transformer meets a weight or a zero point twice (tested, 1.20.1 too), and the
    # process aborts if a zero point is omitted (1.20.1).
    met = [name for operator in operators if operator.converted for name in operator.names]
    mended = all(operator.converted for operator in operators if operator.saturates)
    mended = mended and "" not in met and len(met) == len(set(met))
    safe_on = [name for name in INSTRUCTION_SETS if name not in ("avx2", "avx512")]
    return {"safe_on": safe_on, "safe_setting": EXACT_SETTING if mended else None}


def can_saturate(weights: NDArray[np.int8]) -> bool:
    """Tell whether vpmaddubsw can overflow int16 on these weights, for some u8 activations.

    It adds the products of rows 2i and 2i+1 (onnxruntime's pairs, tested). Either activation may be 0, so the worst
    sums are those of the positive and of the negative weights. Source: PMADDUBSW in Intel 64 and IA-32 Architectures
    Software Developer's Manual.

    Args:
        weights: *Shape:* `(..., in_channels, out_channels)`.
    """
    wide = weights.astype(np.int32)
    odd = wide[..., 1::2, :]
    even = wide[..., ::2, :][..., : odd.shape[-2], :]  # an unpaired last row can't overflow
    largest = ACTIVATION_MAX * (np.maximum(even, 0) + np.maximum(odd, 0))
    smallest = ACTIVATION_MAX * (np.minimum(even, 0) + np.minimum(odd, 0))
    return bool((largest > INT16_MAX).any() or (smallest < INT16_MIN).any())


def signed(model: Any) -> Iterator[Signed]:
    """Find the operators of a model that multiply by s8 weights, or may."""
    from onnx import TensorProto, helper, numpy_helper

    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    nodes = model.graph.node
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in nodes if node.op_type == "Constant"}
    makers = {output: node.op_type for node in nodes for output in node.output}
    multiplied = {name for node in nodes if node.op_type != "Gather" for name in node.input}
    for node in nodes:
        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "MatMulNBits" and options.get("bits", 4) not in EXACT_BITS:
            yield Signed(names=("", ""), saturates=True, converted=False)
        if node.op_type not in WEIGHT_PLACES:
            continue
        inputs = [*node.input, *[""] * 8]
        weight, zero_point = (inputs[place] for place in WEIGHT_PLACES[node.op_type])
        is_format = node.op_type == "DequantizeLinear"
        if weight not in constants:
            # Two activations multiplied: those that DynamicQuantizeLinear rounds are u8.
            if not is_format and makers.get(weight) != "DynamicQuantizeLinear":
                yield Signed(names=(weight, zero_point), saturates=True, converted=False)
            continue
        tensor = constants[weight]
        if tensor.data_type != TensorProto.INT8 or len(tensor.dims) < 2:
            continue
        if is_format and node.output[0] not in multiplied:  # an embedding
            continue
        values = numpy_helper.to_array(tensor)
        turned = np.swapaxes(values, -1, -2)
        if is_format:  # whoever multiplies by it may transpose it
            saturates = can_saturate(values) or can_saturate(turned)
        else:
            saturates = can_saturate(turned if options.get("transB") else values)
        known = node.op_type != "QLinearMatMul" or opset < QLINEARMATMUL_CHANGED
        fixed = not zero_point or zero_point in constants
        wide = bool((np.abs(values.astype(np.int16)) > SEVEN_BITS).any())
        yield Signed(names=(weight, zero_point), saturates=saturates, converted=known and fixed and wide)
