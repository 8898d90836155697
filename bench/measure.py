"""Measure the engines in turn, on the same texts, with the same threads, round after round in one run."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import Engine, EngineSpec, load_onnx, load_pytorch, start_engine
from ftx.bench.report import BenchReport, EngineFigures
from ftx.environment import environment
from ftx.export.parity.batches import BATCH_SIZE
from ftx.export.parity.gate import check_labels, compare_logits
from ftx.heldout import HeldOut, find_held_out, read_held_out
from ftx.machine import usable_cores
from ftx.manifest import Manifest
from ftx.run_folder import find_checkpoint
from ftx.runtime.model_file import describe, find_onnx
from ftx.text import Text

__all__ = ["bench"]

PERCENTILES = (50, 90, 95, 99)
WARMUP_TEXTS = 16
# A pause lets the spinning threads of the engine before come to rest.
PAUSE_SEC = 0.05


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
            print(f"Loading {spec.name}", file=sys.stderr)
            engines.append(stack.enter_context(start_engine(spec)))
        answers = [engine.logits(held_out.texts, BATCH_SIZE) for engine in engines]
        for engine in engines:
            engine.latencies_ms(timed[:WARMUP_TEXTS])
        latencies, seconds = take_turns(engines, timed, rounds)
        figures = [
            figure(
                engine, answers[place], answers[-1], held_out, manifest, latencies[place], seconds[place], len(timed)
            )
            for place, engine in enumerate(engines)
        ]
    # A ratio of each round's own pair: what slows the machine for a while slows both.
    speedups = {
        engine.name: {
            "batch_1": float(np.median(np.median(latencies[-1], axis=1) / np.median(latencies[place], axis=1))),
            f"batch_{BATCH_SIZE}": float(np.median(seconds[-1] / seconds[place])),
        }
        for place, engine in enumerate(specs)
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
    """Name an ONNX file by its scheme."""
    manifest, _ = describe(path)
    return "ftx int8" if manifest.is_int8 else f"ftx fp32 ({path.name})" if manifest.probes else path.name


def take_turns(
    engines: list[Engine], timed: list[Text], rounds: int
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Time every engine in every round, another one first each time.

    Returns:
        By engine: latencies at batch 1 in ms, *shape:* `(rounds, len(timed) // rounds)`, and seconds for all texts in
        batches, *shape:* `(rounds,)`.
    """
    each = max(1, len(timed) // rounds)
    latencies = [np.zeros((rounds, each)) for _ in engines]
    seconds = [np.zeros(rounds) for _ in engines]
    for turn in range(rounds):
        print(f"Round {turn + 1} of {rounds}", file=sys.stderr)
        some = [timed[(turn * each + place) % len(timed)] for place in range(each)]
        for step in range(len(engines)):
            place = (turn + step) % len(engines)
            time.sleep(PAUSE_SEC)
            latencies[place][turn] = engines[place].latencies_ms(some)
            seconds[place][turn] = engines[place].batch_sec(timed, BATCH_SIZE)
    return latencies, seconds


def figure(
    engine: Engine,
    logits: NDArray[np.float32],
    reference_logits: NDArray[np.float32],
    held_out: HeldOut,
    manifest: Manifest,
    latencies_ms: NDArray[Any],
    batch_sec: NDArray[Any],
    timed_texts: int,
) -> EngineFigures:
    """Sum up what was measured of one engine."""
    parity = compare_logits(logits, reference_logits, held_out, manifest, BATCH_SIZE)
    path = engine.spec.path
    files = [path] if path.is_file() else list(path.glob("*.safetensors"))
    return EngineFigures(
        name=engine.spec.name,
        latency_ms={f"p{p}": float(np.percentile(latencies_ms, p)) for p in PERCENTILES},
        texts_per_sec={
            "batch_1": 1000 / float(latencies_ms.mean()),
            f"batch_{BATCH_SIZE}": timed_texts / float(np.median(batch_sec)),
        },
        load_ms=engine.load_ms,
        peak_rss_bytes=engine.peak_rss_bytes(),
        size_bytes=sum(file.stat().st_size for file in files),
        accuracy=parity.accuracy,
        label_agreement=parity.label_agreement,
    )
