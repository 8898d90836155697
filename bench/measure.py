"""Measure an ONNX file beside PyTorch: on the same texts, with the same threads, in one run."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ftx.bench.engine import Engine, EngineSpec, load_onnx, load_pytorch, start_engine
from ftx.bench.noise import Calibration, machine_state
from ftx.bench.report import BenchReport, EngineFigures, Samples
from ftx.bench.statistics import confidence_reached, median_interval, percentile_interval, share_interval
from ftx.bench.timing import Timings, time_engines, warm_up
from ftx.environment import environment
from ftx.export.parity.batches import BATCH_SIZE
from ftx.export.parity.gate import Parity, compare_logits
from ftx.heldout import data_columns, find_held_out, read_held_out
from ftx.label_matching import match_labels
from ftx.machine import usable_cores
from ftx.run_folder import find_checkpoint
from ftx.runtime.model_file import describe, find_onnx

__all__ = ["bench"]

log = logging.getLogger(__name__)

PERCENTILES = (50, 90, 95, 99, 99.9)


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

    Example:
        >>> report = ftx.bench("runs/reviews/onnx", "runs/reviews", texts=8, rounds=1)
        >>> [engine.name for engine in report.engines]
        ['ftx int8', 'ftx fp32 (model.onnx)', 'PyTorch eager']

    Args:
        onnx: The file, or an export folder.
        against: The run or checkpoint it was made from.
        data: Labelled texts as JSON lines; default: the run's held-out ones.
        threads: Threads that share one batch, for every engine; default: the cores this process may use.
        texts: Texts to time on, taken evenly from the data; agreement and accuracy are measured on all.
        rounds: Rounds in which the engines take turns.

    Ctrl-C ends it early: the report then has the rounds that were complete.

    Raises:
        ModelError, DataError, OnnxFileError: See there.
        KeyboardInterrupt: Ctrl-C came before a round was complete.
    """
    path, checkpoint = find_onnx(onnx), find_checkpoint(Path(against))
    manifest, _ = describe(path)
    held_out_file = Path(data) if data else find_held_out(checkpoint)
    held_out = read_held_out(held_out_file, data_columns())
    held_out = match_labels(held_out, manifest.id2label, manifest.problem_type, held_out_file)
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
            warm_up(engine, timed)
        calibration = Calibration()
        timings, interrupted = time_engines(engines, timed, calibration, batch_size=BATCH_SIZE, rounds=rounds)
        figures = [
            summarise(engine, compare_logits(found, logits[-1], held_out, manifest, BATCH_SIZE), timing, len(timed))
            for engine, found, timing in zip(engines, logits, timings, strict=True)
        ]
    sizes = ("batch_1", f"batch_{BATCH_SIZE}")
    ratios = {
        spec.name: dict(zip(sizes, timing.ratios_over(timings[-1]), strict=True))
        for spec, timing in zip(specs, timings, strict=True)
    }
    return BenchReport(
        engines=figures,
        speedup_over_pytorch={
            name: {size: float(np.median(pairs)) for size, pairs in found.items()} for name, found in ratios.items()
        },
        speedup_interval={
            name: {size: median_interval(pairs) for size, pairs in found.items()} for name, found in ratios.items()
        },
        held_out=str(held_out_file),
        texts=len(held_out),
        timed_texts=len(timed),
        rounds=len(timings[0].batch_sec),
        interrupted=interrupted,
        threads=threads,
        batch_size=BATCH_SIZE,
        p99_confidence=confidence_reached(99, timings[0].latencies_ms.size),
        noise=calibration.spread,
        calibration_sec=calibration.seconds,
        environment=environment() | machine_state(),
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
    latencies = timings.latencies_ms
    percentiles = {f"p{p}": float(np.percentile(latencies, p)) for p in PERCENTILES}
    return EngineFigures(
        name=engine.spec.name,
        latency_ms=percentiles | {"max": float(latencies.max())},
        latency_interval_ms={f"p{p}": percentile_interval(latencies, p) for p in PERCENTILES},
        texts_per_sec={
            "batch_1": 1000 / float(latencies.mean()),
            f"batch_{BATCH_SIZE}": timed_texts / float(np.median(timings.batch_sec)),
        },
        load_ms=engine.load_ms,
        peak_rss_bytes=timings.peak_rss_bytes,
        size_bytes=sum(file.stat().st_size for file in files),
        accuracy=parity.accuracy,
        accuracy_interval=None if parity.accuracy is None else share_interval(parity.accuracy, parity.texts),
        label_agreement=parity.label_agreement,
        label_agreement_interval=share_interval(parity.label_agreement, parity.texts),
        max_abs_prob_diff=parity.max_abs_prob_diff,
        p99_abs_prob_diff=parity.p99_abs_prob_diff,
        samples=Samples(latencies_ms=latencies.tolist(), batch_sec=timings.batch_sec.tolist()),
    )
