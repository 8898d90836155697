"""Make the report of what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftx.bench.ceiling import Ceiling, products_of
from ftx.bench.engines.kind import EngineKind, Sources
from ftx.bench.engines.teacher import with_thresholds
from ftx.bench.noise import Calibration, machine_state
from ftx.bench.profile import Profile
from ftx.bench.report import BenchReport, EngineFigures, Samples
from ftx.bench.statistics import Interval, confidence_reached, percentile_interval, ratio_interval, share_interval
from ftx.bench.timing import Timings
from ftx.bench.tokens import count_tokens
from ftx.bench.workloads.cold_start import ColdStart
from ftx.bench.workloads.file_job import FileJob
from ftx.bench.workloads.server.figures import ServerLoad
from ftx.bench.workloads.threads import ThreadFigures
from ftx.bench.workloads.training import TrainingSpeed
from ftx.environment import environment
from ftx.export.parity.gate import compare_logits
from ftx.heldout import HeldOut
from ftx.runtime.model_file import describe
from ftx.text import Text

__all__ = ["Measured", "assemble"]

PERCENTILES = (50, 90, 95, 99, 99.9)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured, before it is summarised.

    Attributes:
        kinds: The engines that ran; PyTorch comes last.
        load_ms: What each took to load.
        logits: Of each, on all texts.
        timings: Of each.
        calibration: The machine's noise.
        interrupted: Whether Ctrl-C ended it early.
        left_out: Why others could not be measured, by name.
        ceiling: See `BenchReport`, as for the rest.
        cold_starts: By the engine's name.
        by_threads: By the engine's name.
        file_job: A job over a file.
        server: Servers under load.
        training: Training speed.
        profile: Where the time goes.
    """

    kinds: list[EngineKind]
    load_ms: list[float]
    logits: list[NDArray[np.float32]]
    timings: list[Timings]
    calibration: Calibration
    interrupted: bool
    left_out: dict[str, str]
    ceiling: Ceiling | None = None
    cold_starts: dict[str, ColdStart] = field(default_factory=dict)
    by_threads: dict[str, list[ThreadFigures]] = field(default_factory=dict)
    file_job: FileJob | None = None
    server: ServerLoad | None = None
    training: TrainingSpeed | None = None
    profile: Profile | None = None


def assemble(
    measured: Measured,
    sources: Sources,
    held_out: HeldOut,
    held_out_file: Path,
    timed: list[Text],
    batch_size: int,
) -> BenchReport:
    """Make the report."""
    lengths = count_tokens(sources.onnx, timed)
    sizes = ("batch_1", f"batch_{batch_size}")
    noise = measured.calibration.spread

    def over(place: int) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Interval]]]:
        """Give each engine's speed as a multiple of that of one of them, and the intervals."""
        speedup: dict[str, dict[str, float]] = {}
        interval: dict[str, dict[str, Interval]] = {}
        for one, (kind, timing) in enumerate(zip(measured.kinds, measured.timings, strict=True)):
            pairs = dict(zip(sizes, timing.ratios_over(measured.timings[place]), strict=True))
            speedup[kind.title] = {size: float(np.median(each)) for size, each in pairs.items()}
            interval[kind.title] = {
                size: (1.0, 1.0) if one == place else ratio_interval(each, noise) for size, each in pairs.items()
            }
        return speedup, interval

    speedup, interval = over(len(measured.kinds) - 1)
    teachers = {kind.title: over(place) for place, kind in enumerate(measured.kinds) if kind.checkpoint}
    return BenchReport(
        engines=[
            summarise(measured, place, sources, held_out, lengths, batch_size) for place in range(len(measured.kinds))
        ],
        left_out=measured.left_out,
        speedup_over_pytorch=speedup,
        speedup_interval=interval,
        speedup_over_teacher={name: found for name, (found, _) in teachers.items()},
        speedup_over_teacher_interval={name: found for name, (_, found) in teachers.items()},
        held_out=str(held_out_file),
        texts=len(held_out),
        timed_texts=len(timed),
        token_counts={str(length): lengths.count(length) for length in sorted(set(lengths))},
        rounds=len(measured.timings[0].batch_sec),
        interrupted=measured.interrupted,
        threads=sources.threads,
        batch_size=batch_size,
        p99_confidence=confidence_reached(99, measured.timings[0].latencies_ms.size),
        noise=noise,
        calibration_sec=measured.calibration.seconds,
        ceiling=measured.ceiling,
        file_job=measured.file_job,
        server=measured.server,
        training=measured.training,
        profile=measured.profile,
        environment=environment() | machine_state(),
    )


def summarise(
    measured: Measured, place: int, sources: Sources, held_out: HeldOut, lengths: list[int], batch_size: int
) -> EngineFigures:
    """Summarise what was measured of one engine."""
    kind, timings = measured.kinds[place], measured.timings[place]
    manifest, _ = describe(sources.onnx)
    if kind.checkpoint:
        manifest = with_thresholds(manifest, kind.checkpoint)
    # PyTorch with the same weights: that of the teacher stands after the teacher's file, the other one last.
    own = max(place for place, other in enumerate(measured.kinds) if other.checkpoint == kind.checkpoint)
    parity = compare_logits(measured.logits[place], measured.logits[own], held_out, manifest, batch_size)
    latencies, seconds = timings.latencies_ms, float(np.median(timings.batch_sec))
    rates = {"batch_1": 1000 / float(latencies.mean()), f"batch_{batch_size}": len(lengths) / seconds}
    products = products_of(kind.checkpoint or sources.checkpoint)
    gmac_per_sec = products.of(lengths) / seconds if products else None
    ceiling = getattr(measured.ceiling, f"{kind.precision}_gmac_per_sec", None)
    files = [kind.path(sources), *([kind.fallback] if kind.fallback else [])]
    percentiles = {f"p{p}": float(np.percentile(latencies, p)) for p in PERCENTILES}
    return EngineFigures(
        name=kind.title,
        latency_ms=percentiles | {"max": float(latencies.max())},
        latency_interval_ms={f"p{p}": percentile_interval(latencies, p) for p in PERCENTILES},
        texts_per_sec=rates,
        tokens_per_sec={size: rate * float(np.mean(lengths)) for size, rate in rates.items()},
        gmac_per_sec=gmac_per_sec,
        ceiling_share=gmac_per_sec / ceiling if gmac_per_sec and ceiling else None,
        joules_per_text=None if timings.joules is None else timings.joules / len(lengths),
        load_ms=measured.load_ms[place],
        cold_start=measured.cold_starts.get(kind.title),
        peak_rss_bytes=timings.memory.peak_rss_bytes,
        rss_bytes=timings.memory.rss_bytes,
        size_bytes=sum(map(size_of, files)) if kind.has_file else None,
        accuracy=parity.accuracy,
        accuracy_interval=None if parity.accuracy is None else share_interval(parity.accuracy, parity.texts),
        label_agreement=parity.label_agreement,
        label_agreement_interval=share_interval(parity.label_agreement, parity.texts),
        max_abs_prob_diff=parity.max_abs_prob_diff,
        p99_abs_prob_diff=parity.p99_abs_prob_diff,
        latency_by_length_ms={str(size): ms for size, ms in timings.sweeps.get("lengths", {}).items()},
        texts_per_sec_by_batch={str(size): rate for size, rate in timings.sweeps.get("batches", {}).items()},
        by_threads=measured.by_threads.get(kind.title, []),
        samples=Samples(latencies_ms=latencies.tolist(), batch_sec=timings.batch_sec.tolist()),
    )


def size_of(path: Path) -> int:
    """Sum the sizes of a model's weights: of its file, or of those in its folder."""
    if path.is_file():
        files = [path, *(one for one in [path.with_suffix(".bin")] if path.suffix == ".xml" and one.is_file())]
    else:
        files = [one for one in path.iterdir() if one.suffix in (".safetensors", ".bin", ".npz")]
    return sum(file.stat().st_size for file in files)
