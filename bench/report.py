"""The latency report: one object, which gives JSON, CSV, Markdown and a page."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import Any

from ftx.bench.ceiling import Ceiling
from ftx.bench.noise import NOISY
from ftx.bench.profile import Profile
from ftx.bench.statistics import Interval
from ftx.bench.workloads.cold_start import ColdStart
from ftx.bench.workloads.file_job import FileJob
from ftx.bench.workloads.server.figures import ServerLoad
from ftx.bench.workloads.threads import ThreadFigures
from ftx.bench.workloads.training import TrainingSpeed

__all__ = ["BenchReport", "EngineFigures", "Samples"]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Every single measurement of an engine.

    Attributes:
        latencies_ms: Of single texts, by round.
        batch_sec: For all timed texts in batches, by round.
    """

    latencies_ms: list[list[float]]
    batch_sec: list[float]


@dataclass(frozen=True, kw_only=True)
class EngineFigures:
    """What was measured of one engine, from text to logits.

    Attributes:
        name: The engine.
        latency_ms: p50, p90, p95, p99, p99.9 and max of single texts.
        latency_interval_ms: 95 % intervals of the percentiles; None where there are too few samples for one.
        texts_per_sec: At batch 1, and at the report's batch size with texts sorted by length.
        tokens_per_sec: Likewise; padding does not count.
        gmac_per_sec: Multiply-accumulates a second in batches, in 10^9; None where the model's sizes are not known.
        ceiling_share: That, as a share of the highest rate that onnxruntime reaches here in int8 or fp32.
        joules_per_text: Energy of the processors in batches; None where the machine does not count it.
        load_ms: Milliseconds from an empty process to a loaded model.
        cold_start: Whole processes; None where they were not measured.
        peak_rss_bytes: Peak memory of its process.
        rss_bytes: Its memory after the last round; None where the system does not say.
        size_bytes: Of the model file; None for an engine of one's own.
        accuracy: On all texts; None for regression.
        accuracy_interval: Its 95 % interval.
        label_agreement: Share of the texts with PyTorch's label: for an engine of a teacher that of the teacher.
        label_agreement_interval: Its 95 % interval.
        max_abs_prob_diff: Largest |difference| of a probability from PyTorch's (of a value, for regression), likewise.
        p99_abs_prob_diff: 99th percentile over the texts of each one's largest.
        latency_by_length_ms: Median latency by number of tokens; empty where it was not measured.
        texts_per_sec_by_batch: By batch size; empty likewise.
        by_threads: By number of threads; empty likewise.
        samples: Every single measurement.
    """

    name: str
    latency_ms: dict[str, float]
    latency_interval_ms: dict[str, Interval | None]
    texts_per_sec: dict[str, float]
    tokens_per_sec: dict[str, float]
    gmac_per_sec: float | None
    ceiling_share: float | None
    joules_per_text: float | None
    load_ms: float
    cold_start: ColdStart | None
    peak_rss_bytes: int
    rss_bytes: int | None
    size_bytes: int | None
    accuracy: float | None
    accuracy_interval: Interval | None
    label_agreement: float
    label_agreement_interval: Interval
    max_abs_prob_diff: float
    p99_abs_prob_diff: float
    latency_by_length_ms: dict[str, float]
    texts_per_sec_by_batch: dict[str, float]
    by_threads: list[ThreadFigures]
    samples: Samples


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """Engines side by side.

    Attributes:
        engines: Their figures; PyTorch comes last, before it the file and PyTorch of a student's teacher.
        left_out: Why others, or a workload of one, could not be measured, by name.
        speedup_over_pytorch: By engine and batch size: the median of the ratios within a round.
        speedup_interval: Their 95 % intervals: what another run on this machine would find, see `ratio_interval`.
        speedup_over_teacher: For a student of `ftx distill`, by the teacher's engine, its PyTorch last: likewise, over
            that engine. Empty: no teacher was measured.
        speedup_over_teacher_interval: Their 95 % intervals.
        held_out: The file of the texts.
        texts: How many texts accuracy and agreement were measured on.
        timed_texts: How many of them were timed.
        token_counts: How many of the timed texts have as many tokens, by number of tokens.
        rounds: Complete rounds in which the engines took turns.
        interrupted: Whether Ctrl-C ended it early.
        threads: Threads of each engine.
        batch_size: Texts in a batch.
        p99_confidence: That of the 99th percentile by MLPerf's formula, see `confidence_reached`.
        noise: Spread of a fixed calculation before, between and after the turns, as a share of its median.
        calibration_sec: What that calculation took, each time.
        ceiling: The highest rates of onnxruntime's matrix products here; None where they were not measured.
        file_job: A job over a file; None likewise.
        server: Servers under load; None likewise.
        training: Training speed; None likewise.
        profile: Where the time goes in the first engine's graph; None likewise.
        environment: CPU, cores, memory, governor, load, versions, git revision and time.
    """

    engines: list[EngineFigures]
    left_out: dict[str, str]
    speedup_over_pytorch: dict[str, dict[str, float]]
    speedup_interval: dict[str, dict[str, Interval]]
    speedup_over_teacher: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    speedup_over_teacher_interval: dict[str, dict[str, dict[str, Interval]]] = field(default_factory=dict)
    held_out: str
    texts: int
    timed_texts: int
    token_counts: dict[str, int]
    rounds: int
    interrupted: bool
    threads: int
    batch_size: int
    p99_confidence: float
    noise: float
    calibration_sec: list[float]
    ceiling: Ceiling | None
    file_job: FileJob | None
    server: ServerLoad | None = None
    training: TrainingSpeed | None
    profile: Profile | None
    environment: dict[str, Any]

    @property
    def many(self) -> str:
        """The key of figures in batches."""
        return f"batch_{self.batch_size}"

    @property
    def mean_tokens(self) -> float:
        """Mean tokens in a timed text."""
        return sum(int(tokens) * count for tokens, count in self.token_counts.items()) / self.timed_texts

    @property
    def is_noisy(self) -> bool:
        """Whether the machine was so noisy that the report warns of it."""
        return self.noise > NOISY

    @property
    def verdict(self) -> str:
        """What the first engine gains over PyTorch and keeps of its labels, in a sentence."""
        first = self.engines[0]
        low, high = self.speedup_interval[first.name][self.many]
        least, most = first.label_agreement_interval
        said = (
            f"{first.name} answers {self.speedup_over_pytorch[first.name][self.many]:.2f} times as many texts a second "
            f"as PyTorch ({low:.2f} to {high:.2f}) and agrees with it on {first.label_agreement:.1%} of the texts "
            f"({least:.1%} to {most:.1%})."
        )
        return f"{said} {self.beside_teacher}" if self.speedup_over_teacher else said

    @property
    def beside_teacher(self) -> str:
        """What the first engine gains over its teacher's engines, and both sides' accuracy, in a sentence."""
        first = self.engines[0]
        gains = []
        for name, speedup in self.speedup_over_teacher.items():
            low, high = self.speedup_over_teacher_interval[name][first.name][self.many]
            gains.append(f"{speedup[first.name][self.many]:.2f} times as many as the {name} ({low:.2f} to {high:.2f})")
        accuracies = [
            f"{one.accuracy:.4f} for the {one.name}"
            for one in self.engines
            if one.name in self.speedup_over_teacher and one.accuracy is not None
        ]
        accuracy = (
            "" if first.accuracy is None else f"; its accuracy is {first.accuracy:.4f}, {' and '.join(accuracies)}"
        )
        return f"It answers {' and '.join(gains)}{accuracy}."

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return {"format_version": 1, **asdict(self)}

    def to_csv(self) -> str:
        """Write the figures of the tables as CSV, unrounded, a row an engine."""
        from ftx.bench.table import to_csv

        return to_csv(self)

    def to_markdown(self) -> str:
        """Write the report as Markdown."""
        import jinja2

        from ftx.bench.table import tables

        template = resources.files("ftx.bench").joinpath("bench.md.jinja").read_text(encoding="utf-8")
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(template).render(report=self, tables=tables(self)).strip() + "\n"

    def to_html(self) -> str:
        """Write the report as one page that needs nothing else."""
        from ftx.bench.pages.page import render

        return render(self)
