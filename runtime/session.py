"""Open an ONNX file in onnxruntime, with threads and an int8 kernel that suit the file and the machine."""

from __future__ import annotations

import re
import traceback
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from ftx.errors import OnnxFileError, ProviderError, out_of_memory, require
from ftx.machine import int8_can_saturate, usable_cores
from ftx.quantization import EXACT_SETTING
from ftx.snapshot import Snapshot

__all__ = ["PROVIDERS", "first_line", "open_session", "raised_in"]

# onnxruntime's name for each provider, and the package that has it.
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu (the extra gpu)"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
    "xnnpack": ("XnnpackExecutionProvider", "an onnxruntime built with it"),
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
        file: The `.onnx` file: a path for one that ftx has just written, a snapshot for an untrusted one.
        intra_op_num_threads: Threads that share one batch; default: the cores this process may use.
        exact_kernel: Whether to use onnxruntime's exact, slower int8 kernel; default: where this CPU's fast one can
            saturate, and not elsewhere: it cost a fifth of the throughput on a CPU with VNNI.
        provider: Where to run, one of `PROVIDERS`. Operators that it lacks, such as shape arithmetic, run on the CPU.
        spinning: Whether idle threads busy-wait for the next batch: faster, but it takes the cores from others.
        arena: Whether onnxruntime keeps memory for the next batch in an arena. Callers that share a session contend
            for it: without it two of them had 5 % more throughput.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        OnnxFileError: onnxruntime can't load the file, or it was changed since it was opened.
        MemoryError: It needs more memory than there is.
        ProviderError: The provider is not available, or does not start.
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
    # On the CPU every error is raised as well; why another provider fails is only logged.
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
    except Exception as error:
        if not raised_in("onnxruntime", error):
            raise
        if out_of_memory(error):
            raise MemoryError(f"{path} needs more memory than there is") from error
        reason = re.sub(r"/proc/self/fd/\d+", path.name, first_line(error))
        raise OnnxFileError(
            f"onnxruntime {onnxruntime.__version__} can't load {path}: {reason}; export it again, or update onnxruntime"
        ) from error
    if session.get_providers()[0] != name:  # onnxruntime only logs that it falls back
        raise ProviderError(
            f"provider {provider} is installed and does not start; onnxruntime would fall back to "
            f"{session.get_providers()[0]}: check its driver, or choose --provider cpu"
        )
    return session


@cache
def strict(session: Any) -> Any:
    """Derive a session class that never falls back to another provider, which onnxruntime reports on stdout."""
    return type("StrictSession", (session,), {"_enable_fallback": property(lambda _: False, lambda _, given: None)})


def raised_in(module: str, error: BaseException) -> bool:
    """Tell whether an exception was raised in a module, or by native code that it called.

    onnxruntime raises a dozen types, RuntimeError among them, so that the type does not tell its errors from one that
    the caller's signal handler raised during the call, and that must reach the caller as it is.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith(module)


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
