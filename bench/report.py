"""The latency report: JSON for programs, Markdown for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

__all__ = ["BenchReport", "EngineFigures"]


@dataclass(frozen=True, kw_only=True)
class EngineFigures:
    """What was measured of one engine, from text to logits.

    Attributes:
        name: The engine.
        latency_ms: p50, p90, p95 and p99 of single texts.
        texts_per_sec: At batch 1, and at the report's batch size with texts sorted by length.
        load_ms: Milliseconds from an empty process to a loaded model.
        peak_rss_bytes: Peak memory of its process.
        size_bytes: Of the model file.
        accuracy: On all texts; None for regression.
        label_agreement: Share of the texts with PyTorch's label.
    """

    name: str
    latency_ms: dict[str, float]
    texts_per_sec: dict[str, float]
    load_ms: float
    peak_rss_bytes: int
    size_bytes: int
    accuracy: float | None
    label_agreement: float


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """Engines side by side.

    Attributes:
        engines: Their figures; PyTorch comes last.
        speedup_over_pytorch: By engine and batch size: the median of the ratios within a round.
        held_out: The file of the texts.
        texts: How many texts accuracy and agreement were measured on.
        timed_texts: How many of them were timed.
        rounds: Rounds in which the engines took turns.
        threads: Threads of each engine.
        batch_size: Texts in a batch.
        environment: CPU, cores, versions and time.
    """

    engines: list[EngineFigures]
    speedup_over_pytorch: dict[str, dict[str, float]]
    held_out: str
    texts: int
    timed_texts: int
    rounds: int
    threads: int
    batch_size: int
    environment: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return {"format_version": 1, **asdict(self)}

    def to_markdown(self) -> str:
        """Write the report as Markdown."""
        import jinja2

        template = resources.files("ftx.bench").joinpath("bench.md.jinja").read_text(encoding="utf-8")
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(template).render(report=self).strip() + "\n"
