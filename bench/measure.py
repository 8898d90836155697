"""Measure an ONNX file beside PyTorch: on the same texts, with the same threads, in one run."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ftx.bench.engine import Engine, EngineSpec, load_onnx, load_pytorch, start_engine
from ftx.bench.report import BenchReport, EngineFigures
from ftx.bench.timing import Timings, time_engines
from ftx.environment import environment
from ftx.export.parity.batches import BATCH_SIZE
from ftx.export.parity.gate import Parity, check_labels, compare_logits
from ftx.heldout import find_held_out, read_held_out
from ftx.machine import usable_cores
from ftx.run_folder import find_checkpoint
from ftx.runtime.model_file import describe, find_onnx

__all__ = ["bench"]

log = logging.getLogger(__name__)

PERCENTILES = (50, 90, 95, 99)
WARMUP_TEXTS = 16


def bench(
    onnx: str | Path,
    against: str | Path,
    *,
    data: str | Path | None = None,
    threads: int | None = None,
    texts: int = 512,
    rounds: int = 4,
) -> BenchReport:
    """Measure an ONNX file, the fp32 `model.onnx` beside it, and PyTorch.

    Args:
        onnx: The file, or an export folder.
        against: The run or checkpoint it was made from.
        data: Labelled texts as JSON lines; default: the run's held-out ones.
        threads: Threads that share one batch, for every engine; default: the cores this process may use.
        texts: Texts to time on, taken evenly from the data; agreement and accuracy are measured on all.
        rounds: Rounds in which the engines take turns.

    Raises:
        ModelError, DataError, OnnxFileError: See there.
    """
    path, checkpoint = find_onnx(onnx), find_checkpoint(Path(against))
    manifest, _ = describe(path)
    held_out_file = Path(data) if data else find_held_out(checkpoint)
    held_out = read_held_out(held_out_file)
    check_labels(held_out, manifest, held_out_file)
    threads = threads or usable_cores()
    specs = [EngineSpec(name=engine_name(path), path=path, threads=threads, load=load_onnx)]
    fp32 = path.with_name("model.onnx")
    if fp32.is_file() and fp32 != path:
        specs.append(EngineSpec(name=engine_name(fp32), path=fp32, threads=threads, load=load_onnx))
    specs.append(EngineSpec(name="PyTorch eager", path=checkpoint, threads=threads, load=load_pytorch))

    timed = [held_out.texts[int(place)] for place in np.linspace(0, len(held_out) - 1, min(texts, len(held_out)))]
    with ExitStack() as stack:
        engines = []
        for spec in specs:
            log.info(f"Loading {spec.name}")
            engines.append(stack.enter_context(start_engine(spec)))
        logits = [engine.logits(held_out.texts, BATCH_SIZE) for engine in engines]
        for engine in engines:
            engine.latencies_ms(timed[:WARMUP_TEXTS])
        timings = time_engines(engines, timed, batch_size=BATCH_SIZE, rounds=rounds)
        figures = [
            summarise(engine, compare_logits(found, logits[-1], held_out, manifest, BATCH_SIZE), timing, len(timed))
            for engine, found, timing in zip(engines, logits, timings, strict=True)
        ]
    speedups = {
        spec.name: dict(zip(("batch_1", f"batch_{BATCH_SIZE}"), timing.speedup_over(timings[-1]), strict=True))
        for spec, timing in zip(specs, timings, strict=True)
    }
    return BenchReport(
        engines=figures,
        speedup_over_pytorch=speedups,
        held_out=str(held_out_file),
        texts=len(held_out),
        timed_texts=len(timed),
        rounds=rounds,
        threads=threads,
        batch_size=BATCH_SIZE,
        environment=environment(),
    )


def engine_name(path: Path) -> str:
    """Name an ONNX file by its kind, and one that ftx did not make by its file name."""
    manifest, _ = describe(path)
    if manifest.quantization.is_int8:
        return "ftx int8"
    kind = "fp16" if manifest.quantization.kind == "fp16" else "fp32"
    return f"ftx {kind} ({path.name})" if manifest.probes else path.name


def summarise(engine: Engine, parity: Parity, timings: Timings, timed_texts: int) -> EngineFigures:
    """Summarise what was measured of one engine."""
    path = engine.spec.path
    files = [path] if path.is_file() else list(path.glob("*.safetensors"))
    return EngineFigures(
        name=engine.spec.name,
        latency_ms={f"p{p}": float(np.percentile(timings.latencies_ms, p)) for p in PERCENTILES},
        texts_per_sec={
            "batch_1": 1000 / float(timings.latencies_ms.mean()),
            f"batch_{BATCH_SIZE}": timed_texts / float(np.median(timings.batch_sec)),
        },
        load_ms=engine.load_ms,
        peak_rss_bytes=engine.peak_rss_bytes(),
        size_bytes=sum(file.stat().st_size for file in files),
        accuracy=parity.accuracy,
        label_agreement=parity.label_agreement,
    )
