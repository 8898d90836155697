"""Open an ONNX file in onnxruntime with the threads and safety settings that suit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftx.errors import OnnxFileError, require
from ftx.machine import int8_can_saturate, usable_cores

__all__ = ["EXACT_SETTING", "open_session"]

# Makes onnxruntime turn s8 weights to u8, whose kernel is exact on every CPU (its Avx2WeightS8ToU8Transformer).
EXACT_SETTING = "session.x64quantprecision=1"


def open_session(path: Path, *, intra_op_num_threads: int | None = None, exact_kernel: bool | None = None) -> Any:
    """Open an inference session on the CPU.

    Args:
        path: The `.onnx` file.
        intra_op_num_threads: Threads that share one batch; default: the cores this process may use.
        exact_kernel: Whether to ask for onnxruntime's exact, slower int8 kernel; default: where this CPU's fast one can
            saturate. Not everywhere: it cost a fifth of the throughput on a CPU with VNNI.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        OnnxFileError: onnxruntime can't load the file.
    """
    require("cpu", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_num_threads or usable_cores()
    options.log_severity_level = 3  # errors only; those come as exceptions too
    if int8_can_saturate() if exact_kernel is None else exact_kernel:
        options.add_session_config_entry(*EXACT_SETTING.split("="))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen kinds, RuntimeError among them
        raise OnnxFileError(f"onnxruntime can't load {path}: {first_line(error)}; export it again") from error


def first_line(error: Exception) -> str:
    """Cut an exception to its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
