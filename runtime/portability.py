"""Decide how a file's int8 weights run exactly on this CPU, from what the file says of them."""

from __future__ import annotations

from pathlib import Path

from ftx.errors import OnnxFileError
from ftx.machine import instruction_sets, int8_can_saturate
from ftx.manifest import Manifest
from ftx.quantization import EXACT_SETTING

__all__ = ["NOTICE", "needs_exact_kernel"]

NOTICE = (
    "This CPU shows no VNNI, without which the file's int8 weights could saturate: "
    f"onnxruntime's exact, slower kernel is used ({EXACT_SETTING})"
)


def needs_exact_kernel(manifest: Manifest, path: Path) -> bool | None:
    """Tell whether a file is exact here only with onnxruntime's exact kernel.

    Args:
        manifest: What the file says of itself.
        path: The file.

    Returns:
        None where the file does not say what its weights are safe on.

    Raises:
        OnnxFileError: Its weights could saturate here, and no setting mends that.
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
        f"{path} holds int8 weights that could saturate on this CPU, which has "
        f"{', '.join(sorted(instruction_sets())) or 'no int8 instructions that it tells of'}; expected one of "
        f"{', '.join(quantization.safe_on)}: export it with ftx export --target avx2, or use model.onnx"
    )


def safe_here(safe_on: set[str]) -> bool:
    """Tell whether no weight can saturate on this CPU."""
    here = instruction_sets()
    # An x86 CPU that tells nothing counts as the worst, AVX2 alone; one of another kind has no such instruction.
    return bool(safe_on & here) if here else "avx2" in safe_on or not int8_can_saturate()
