"""Make other toolkits' int8 models of the same checkpoint, as their manuals say, to be timed beside ftx's or chosen."""

from __future__ import annotations

import hashlib
import io
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ftx.errors import ModelError, out_of_memory, write_failed
from ftx.export.quiet import quiet
from ftx.export.search.forms import Form
from ftx.export.search.timing import Run
from ftx.runtime.session import first_line, open_session
from ftx.runtime.tokenization import Batch

__all__ = ["OPTIMUM", "optimum_form", "optimum_peers", "optimum_preset", "peers"]

log = logging.getLogger(__name__)

# Optimum's presets of dynamic int8, the most used first; those with the same graph as an earlier one are dropped.
PRESETS = ("avx512_vnni", "avx2", "arm64")
# What `--quantize` calls the preset that fits the target: here the one for CPUs of which it has none of its own, whose
# u8 weights are exact on any. (Its `avx512` is that of `avx512_vnni`, whose s8 weights saturate without VNNI.)
OPTIMUM, ANY_CPU = "optimum", "avx2"
TARGET_PRESETS = {"vnni": "avx512_vnni", "arm64": "arm64"}
# NNCF's default.
CALIBRATION_BATCHES = 300


def peers(folder: Path, work: Path, calibration: list[Batch], threads: int) -> Iterator[Form]:
    """Make the peers, one after the other; one that can't be made is reported on stderr and skipped.

    Args:
        folder: Holds `model.onnx` in fp32, as Optimum exports it, and `config.json`; not changed.
        work: An empty folder for the peers' files, which must exist as long as they run.
        calibration: Batches for those with static quantisation.
        threads: Threads that share one batch, for each peer.
    """
    yield from optimum_peers(folder, work, threads)
    if any(find_spec(module) is None for module in ("openvino", "nncf")):
        log.warning("OpenVINO is skipped: install ftx-toolkit[peers]")
        return
    yield from made("OpenVINO fp32", partial(openvino_fp32, folder, threads))
    yield from made("OpenVINO int8 (NNCF)", partial(openvino_int8, folder, work, calibration, threads))


def optimum_peers(folder: Path, work: Path, threads: int) -> Iterator[Form]:
    """Make Optimum's models, as `peers` does; the most used preset comes first, if it can be made."""
    seen: set[str] = set()
    for preset in PRESETS:
        yield from made(f"Optimum {preset}", partial(optimum, folder, work, preset, threads, seen))


def optimum_form(folder: Path, path: Path, target: str) -> Form:
    """Make Optimum's model by the preset for a kind of CPU, to be judged and chosen as ftx's own forms are.

    Args:
        folder: Holds `model.onnx` in fp32, as Optimum exports it, and `config.json`; not changed.
        path: Where the model goes.
        target: The kind of CPU, one of `TARGETS`.

    Raises:
        ModelError: Optimum can't quantise this architecture.
    """
    preset = TARGET_PRESETS.get(target, ANY_CPU)
    try:
        optimum_preset(folder, path, preset)
        session = open_session(path)
    except Exception as error:  # Optimum and onnxruntime raise anything on an unknown architecture
        if out_of_memory(error) or write_failed(error):
            raise
        raise ModelError(f"Optimum can't quantise this architecture: {first_line(error)}") from error
    weights = "uint8" if preset == ANY_CPU else "int8"
    return Form(
        name=OPTIMUM,
        kind="int8",
        size_bytes=path.stat().st_size,
        run=lambda batch: np.asarray(session.run(None, batch)[0]),
        depends_on_batch=True,
        made={
            "scheme": f"dynamic int8 by Optimum's preset {preset}: weights {weights} per channel",
            "kind": "dynamic",
            "name": OPTIMUM,
            "activations": "dynamic",
            "weights": weights,
            "per_channel": True,
            "preset": preset,
        },
    )


def made(name: str, make: Callable[[], tuple[int, Run] | None]) -> Iterator[Form]:
    """Give the peer that a function makes, if it makes one: it returns the size in bytes and how to run it."""
    try:
        with undisturbed():
            result = make()
    except Exception as error:  # other toolkits raise anything on an unknown architecture
        log.warning(f"{name} is skipped: {first_line(error)}")
        return
    if result:
        yield Form(name=name, kind="peer", size_bytes=result[0], run=result[1], depends_on_batch=True)


def optimum(folder: Path, work: Path, preset: str, threads: int, seen: set[str]) -> tuple[int, Run] | None:
    """Make Optimum's int8 model by one preset, unless it is among those `seen`, by SHA-256."""
    target = work / f"optimum_{preset}.onnx"
    optimum_preset(folder, target, preset)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    if digest in seen:
        target.unlink()
        return None
    seen.add(digest)
    session = open_session(target, intra_op_num_threads=threads)
    return target.stat().st_size, lambda batch: np.asarray(session.run(["logits"], batch)[0])


def optimum_preset(folder: Path, target: Path, preset: str = "avx512_vnni") -> None:
    """Quantise `folder/model.onnx` with Optimum's `ORTQuantizer`, dynamically, with weights per channel.

    Args:
        folder: Holds `model.onnx` and `config.json`; nothing is left there, unless the target is.
        target: Where the quantised graph goes.
        preset: A name of `AutoQuantizationConfig`.
    """
    with quiet(), TemporaryDirectory(dir=target.parent) as scratch:
        from optimum.onnxruntime import ORTQuantizer
        from optimum.onnxruntime.configuration import AutoQuantizationConfig

        config = getattr(AutoQuantizationConfig, preset)(is_static=False, per_channel=True)
        quantizer = ORTQuantizer.from_pretrained(folder, file_name="model.onnx")
        quantizer.quantize(config, save_dir=scratch, file_suffix=preset)
        Path(scratch, f"model_{preset}.onnx").replace(target)


def openvino_fp32(folder: Path, threads: int) -> tuple[int, Run]:
    """Open the fp32 graph in OpenVINO, which reads ONNX as it stands."""
    path = folder / "model.onnx"
    # By default OpenVINO computes in bf16 where the CPU supports it.
    return path.stat().st_size, compiled(path, {"INFERENCE_PRECISION_HINT": "f32"}, threads)


def openvino_int8(folder: Path, work: Path, calibration: list[Batch], threads: int) -> tuple[int, Run]:
    """Quantise the fp32 graph with NNCF's defaults for transformers, and open it in OpenVINO as a user would."""
    import nncf
    import openvino

    model = nncf.quantize(
        openvino.Core().read_model(folder / "model.onnx"),
        nncf.Dataset(calibration),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=min(CALIBRATION_BATCHES, len(calibration)),
    )
    path = work / "openvino_int8.xml"
    openvino.save_model(model, path)
    return path.stat().st_size + path.with_suffix(".bin").stat().st_size, compiled(path, {}, threads)


def compiled(path: Path, settings: dict[str, Any], threads: int) -> Run:
    """Open a file in OpenVINO on the CPU, for one batch at a time."""
    import openvino

    latency = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(path, "CPU", latency | settings).create_infer_request()
    return lambda batch: np.asarray(request.infer(batch, share_inputs=True)["logits"])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Suppress log lines, progress bars and warnings, and the telemetry of OpenVINO and NNCF.

    Both send usage data over the network, the former when it is imported, unless the user has opted out; if they can't
    import openvino_telemetry, each uses a stub of its own.
    """
    before = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        with quiet(), redirect_stdout(io.StringIO()):
            yield
    finally:
        del sys.modules["openvino_telemetry"]
        if before:
            sys.modules["openvino_telemetry"] = before
