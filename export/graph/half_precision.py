"""Half precision, for a GPU: onnxruntime's own conversion of the optimised graph."""

from __future__ import annotations

from pathlib import Path

from ftx.export.quiet import quiet
from ftx.quantization import Quantization

__all__ = ["write_half"]


def write_half(optimised: Path, target: Path) -> Quantization:
    """Write a graph with weights and arithmetic in fp16; token ids go in and fp32 logits come out as before.

    Args:
        optimised: The fp32 graph with fused operators.
        target: Where the fp16 one goes.

    Returns:
        How it was made.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        model = convert_float_to_float16(onnx.load(str(optimised)), keep_io_types=True, disable_shape_infer=True)
    onnx.save(model, str(target))
    return Quantization(
        kind="fp16",
        scheme="fp16: half precision for a GPU",
        name="fp16",
        activations="none",
        weights="fp16",
        safe_on=("any",),
    )
