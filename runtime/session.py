"""Open an ONNX file in onnxruntime with the threads and safety settings that suit it."""

from __future__ import annotations

import re
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from ftx.errors import OnnxFileError, ProviderError, out_of_memory, require
from ftx.machine import int8_can_saturate, usable_cores
from ftx.quantization import EXACT_SETTING
from ftx.snapshot import Snapshot

__all__ = ["PROVIDERS", "first_line", "open_session"]

# onnxruntime's name for each provider, and what brings it.
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu (the extra gpu)"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
    "xnnpack": ("XnnpackExecutionProvider", "an onnxruntime that was built with it"),
}


def open_session(
    file: Path | Snapshot,
    *,
    intra_op_num_threads: int | None = None,
    exact_kernel: bool | None = None,
    provider: str = "cpu",
    spinning: bool = True,
    arena: bool = True,
) -> Any:
    """Open an inference session.

    Args:
        file: The `.onnx` file: one of our own making, or one of a stranger that was opened and checked.
        intra_op_num_threads: Threads that share one batch; default: the cores this process may use.
        exact_kernel: Whether to ask for onnxruntime's exact, slower int8 kernel; default: where this CPU's fast one can
            saturate. Not everywhere: it cost a fifth of the throughput on a CPU with VNNI.
        provider: What computes, one of `PROVIDERS`. What it can't do, such as the arithmetic of shapes, the CPU does.
        spinning: Whether idle threads wait busily for the next batch: faster, but it takes the cores from others.
        arena: Whether onnxruntime keeps memory for the next batch in an arena. Callers that share a session wait for
            each other there: without it two of them answered 5 % more texts a second.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        OnnxFileError: onnxruntime can't load the file, or it was changed since it was opened.
        MemoryError: It needs more memory than there is.
        ProviderError: The provider is not there, or does not start.
    """
    require("cpu", "onnxruntime")
    import onnxruntime

    if provider not in PROVIDERS:
        raise ProviderError(f"provider {provider}: expected one of {', '.join(PROVIDERS)}")
    name, package = PROVIDERS[provider]
    if name not in onnxruntime.get_available_providers():
        has = ", ".join(
            known for known, (full, _) in PROVIDERS.items() if full in onnxruntime.get_available_providers()
        )
        raise ProviderError(f"provider {provider}: this onnxruntime has {has}; install {package} in its place")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_num_threads or usable_cores()
    # On the CPU errors come as exceptions, too; what hinders another provider is only logged.
    options.log_severity_level = 4 if provider == "cpu" else 3
    if int8_can_saturate() if exact_kernel is None else exact_kernel:
        options.add_session_config_entry(*EXACT_SETTING.split("="))
    options.enable_cpu_mem_arena = arena
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = file if isinstance(file, Path) else file.path
    try:
        with nullcontext(str(path)) if isinstance(file, Path) else file.source() as source:
            session = strict(onnxruntime.InferenceSession)(source, options, providers=[name])
    except (OnnxFileError, MemoryError):
        raise
    except Exception as error:  # onnxruntime raises a dozen kinds, RuntimeError among them
        if out_of_memory(error):
            raise MemoryError(f"{path} needs more memory than there is") from error
        reason = re.sub(r"/proc/self/fd/\d+", path.name, first_line(error))
        raise OnnxFileError(
            f"onnxruntime {onnxruntime.__version__} can't load {path}: {reason}; export it again, or update onnxruntime"
        ) from error
    if session.get_providers()[0] != name:  # onnxruntime only logs that it takes another
        raise ProviderError(
            f"provider {provider} is installed and does not start; onnxruntime would take "
            f"{session.get_providers()[0]} in its place: check its driver, or choose --provider cpu"
        )
    return session


@cache
def strict(session: Any) -> Any:
    """Make of onnxruntime's session one that never tries another provider, which it would say on standard output."""
    return type("StrictSession", (session,), {"_enable_fallback": property(lambda _: False, lambda _, given: None)})


def first_line(error: Exception) -> str:
    """Cut an exception to its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
