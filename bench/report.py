"""The latency report: JSON for programs, Markdown for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from ftx.bench.noise import NOISY
from ftx.bench.statistics import Interval

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
        load_ms: Milliseconds from an empty process to a loaded model.
        peak_rss_bytes: Peak memory of its process.
        size_bytes: Of the model file.
        accuracy: On all texts; None for regression.
        accuracy_interval: Its 95 % interval.
        label_agreement: Share of the texts with PyTorch's label.
        label_agreement_interval: Its 95 % interval.
        max_abs_prob_diff: Largest |difference| of a probability from PyTorch's (of a value, for regression).
        p99_abs_prob_diff: 99th percentile over the texts of each one's largest.
        samples: Every single measurement.
    """

    name: str
    latency_ms: dict[str, float]
    latency_interval_ms: dict[str, Interval | None]
    texts_per_sec: dict[str, float]
    load_ms: float
    peak_rss_bytes: int
    size_bytes: int
    accuracy: float | None
    accuracy_interval: Interval | None
    label_agreement: float
    label_agreement_interval: Interval
    max_abs_prob_diff: float
    p99_abs_prob_diff: float
    samples: Samples


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """Engines side by side.

    Attributes:
        engines: Their figures; PyTorch comes last.
        speedup_over_pytorch: By engine and batch size: the median of the ratios within a round.
        speedup_interval: Their 95 % intervals, by the bootstrap over the rounds.
        held_out: The file of the texts.
        texts: How many texts accuracy and agreement were measured on.
        timed_texts: How many of them were timed.
        rounds: Complete rounds in which the engines took turns.
        interrupted: Whether Ctrl-C ended it early.
        threads: Threads of each engine.
        batch_size: Texts in a batch.
        p99_confidence: That of the 99th percentile by MLPerf's formula, see `confidence_reached`.
        noise: Spread of a fixed calculation before, between and after the turns, as a share of its median.
        calibration_sec: What that calculation took, each time.
        environment: CPU, cores, memory, governor, load, versions, git revision and time.
    """

    engines: list[EngineFigures]
    speedup_over_pytorch: dict[str, dict[str, float]]
    speedup_interval: dict[str, dict[str, Interval]]
    held_out: str
    texts: int
    timed_texts: int
    rounds: int
    interrupted: bool
    threads: int
    batch_size: int
    p99_confidence: float
    noise: float
    calibration_sec: list[float]
    environment: dict[str, Any]

    @property
    def is_noisy(self) -> bool:
        """Whether the machine was so noisy that the report warns of it."""
        return self.noise > NOISY

    @property
    def verdict(self) -> str:
        """What the first engine gains over PyTorch and keeps of its labels, in a sentence."""
        first, many = self.engines[0], f"batch_{self.batch_size}"
        low, high = self.speedup_interval[first.name][many]
        least, most = first.label_agreement_interval
        return (
            f"{first.name} answers {self.speedup_over_pytorch[first.name][many]:.2f} times as many texts a second as "
            f"PyTorch ({low:.2f} to {high:.2f}) and agrees with it on {first.label_agreement:.1%} of the texts "
            f"({least:.1%} to {most:.1%})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return {"format_version": 1, **asdict(self)}

    def to_markdown(self) -> str:
        """Write the report as Markdown."""
        import jinja2

        template = resources.files("ftx.bench").joinpath("bench.md.jinja").read_text(encoding="utf-8")
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(template).render(report=self).strip() + "\n"
