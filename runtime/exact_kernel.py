"""Decide whether a file's int8 weights need onnxruntime's exact kernel on this CPU."""

from __future__ import annotations

from pathlib import Path

from ftx.errors import OnnxFileError
from ftx.machine import instruction_sets, int8_can_saturate
from ftx.manifest import Manifest
from ftx.quantization import EXACT_SETTING

__all__ = ["NOTICE", "needs_exact_kernel"]

NOTICE = (
    "This CPU reports no VNNI, without which the file's int8 weights could saturate: "
    f"using onnxruntime's exact, slower kernel ({EXACT_SETTING})"
)


def needs_exact_kernel(manifest: Manifest, path: Path) -> bool | None:
    """Tell whether a file gives exact results here only with onnxruntime's exact kernel.

    Args:
        manifest: Its manifest: `quantization.safe_on` lists the instruction sets on which the weights can't saturate,
            `quantization.safe_setting` the setting that prevents it elsewhere.
        path: The file.

    Returns:
        None if the file does not say where its weights are safe.

    Raises:
        OnnxFileError: Its weights could saturate here, and no setting prevents that.
    """
    quantization = manifest.quantization
    if quantization.kind == "none":
        return False
    if quantization.safe_on is None:
        return None
    if "any" in quantization.safe_on or safe_here(set(quantization.safe_on)):
        return False
    if quantization.safe_setting == EXACT_SETTING:
        return True
    raise OnnxFileError(
        f"{path} has int8 weights that could saturate on this CPU, which reports "
        f"{', '.join(sorted(instruction_sets())) or 'no int8 instructions'}; expected one of "
        f"{', '.join(quantization.safe_on)}: export it with ftx export --target avx2, or use model.onnx"
    )


def safe_here(safe_on: set[str]) -> bool:
    """Tell whether the weights can't saturate on this CPU."""
    here = instruction_sets()
    # An x86 CPU that reports nothing is taken for one with AVX2 alone, the worst case; no other CPUs saturate.
    return bool(safe_on & here) if here else "avx2" in safe_on or not int8_can_saturate()
