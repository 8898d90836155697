"""The figures that every form of the report shows: one list of columns for Markdown, the page and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

from ftx.bench.report import BenchReport, EngineFigures
from ftx.bench.statistics import Interval

__all__ = ["COLUMNS", "Column", "Table", "tables", "to_csv"]

MIB = 2**20
MISSING = "-"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A figure of each engine.

    Attributes:
        name: In CSV, with its unit.
        heading: In a table; `{batch}` stands for the batch size.
        form: How it is formatted there.
        value: Gives it; None where it was not measured.
        interval: Gives its 95 % interval, likewise.
    """

    name: str
    heading: str
    form: str
    value: Callable[[BenchReport, EngineFigures], float | None]
    interval: Callable[[BenchReport, EngineFigures], Interval | None] | None = None

    def cell(self, report: BenchReport, engine: EngineFigures) -> str:
        """Format an engine's figure."""
        value = self.value(report, engine)
        if value is None:
            return MISSING
        said = format(value, self.form)
        interval = self.interval(report, engine) if self.interval else None
        return said if interval is None else f"{said} ({interval[0]:{self.form}} to {interval[1]:{self.form}})"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the report.

    Attributes:
        title: Its heading.
        headings: Of the columns; the first is the engine.
        rows: The cells, an engine a row.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]


def percentile(name: str) -> Column:
    """Make the column of a percentile of latency, which is given where there are enough samples for an interval."""
    return Column(
        name=f"{name}_ms",
        heading=f"{name} ms",
        form=".1f",
        value=lambda _, engine: engine.latency_ms[name] if engine.latency_interval_ms[name] else None,
    )


def speedup(name: str, heading: str, key: Callable[[BenchReport], str]) -> Column:
    """Make the column of a speed relative to PyTorch's."""
    return Column(
        name=name,
        heading=heading,
        form=".2f",
        value=lambda report, engine: report.speedup_over_pytorch[engine.name][key(report)],
        interval=lambda report, engine: report.speedup_interval[engine.name][key(report)],
    )


COLUMNS = {
    "Speed": [
        *map(percentile, ("p50", "p90", "p95", "p99", "p99.9")),
        Column(name="max_ms", heading="max ms", form=".1f", value=lambda _, e: e.latency_ms["max"]),
        Column(name="texts_per_sec_batch_1", heading="texts/s, batch 1", form=".0f",
               value=lambda _, e: e.texts_per_sec["batch_1"]),
        Column(name="texts_per_sec", heading="texts/s, batch {batch}", form=".0f",
               value=lambda r, e: e.texts_per_sec[r.many]),
        Column(name="tokens_per_sec", heading="tokens/s", form=".0f", value=lambda r, e: e.tokens_per_sec[r.many]),
        speedup("speedup_batch_1", "× PyTorch, batch 1", lambda _: "batch_1"),
        speedup("speedup", "× PyTorch, batch {batch}", lambda r: r.many),
        Column(name="ceiling_share", heading="share of the ceiling", form=".0%", value=lambda _, e: e.ceiling_share),
        Column(name="joules_per_text", heading="J a text", form=".3f", value=lambda _, e: e.joules_per_text),
    ],
    "Agreement with PyTorch": [
        Column(name="accuracy", heading="accuracy", form=".4f", value=lambda _, e: e.accuracy,
               interval=lambda _, e: e.accuracy_interval),
        Column(name="label_agreement", heading="label agreement", form=".4f", value=lambda _, e: e.label_agreement,
               interval=lambda _, e: e.label_agreement_interval),
        Column(name="p99_abs_prob_diff", heading="p99 |Δp|", form=".4f", value=lambda _, e: e.p99_abs_prob_diff),
        Column(name="max_abs_prob_diff", heading="max |Δp|", form=".4f", value=lambda _, e: e.max_abs_prob_diff),
    ],
    "Start and memory": [
        Column(name="first_start_sec", heading="first start s", form=".2f",
               value=lambda _, e: e.cold_start.first_sec if e.cold_start else None),
        Column(name="first_start_cpu_sec", heading="its CPU s", form=".2f",
               value=lambda _, e: e.cold_start.first_cpu_sec if e.cold_start else None),
        Column(name="later_start_sec", heading="later starts s", form=".2f",
               value=lambda _, e: e.cold_start.later_sec if e.cold_start else None),
        Column(name="later_start_cpu_sec", heading="their CPU s", form=".2f",
               value=lambda _, e: e.cold_start.later_cpu_sec if e.cold_start else None),
        Column(name="load_sec", heading="load s", form=".2f", value=lambda _, e: e.load_ms / 1000),
        Column(name="peak_rss_mib", heading="peak RSS MiB", form=".0f", value=lambda _, e: e.peak_rss_bytes / MIB),
        Column(name="rss_mib", heading="steady RSS MiB", form=".0f",
               value=lambda _, e: None if e.rss_bytes is None else e.rss_bytes / MIB),
        Column(name="file_mib", heading="file MiB", form=".1f",
               value=lambda _, e: None if e.size_bytes is None else e.size_bytes / MIB),
    ],
}  # fmt: skip


def tables(report: BenchReport) -> list[Table]:
    """Make the tables; a column that no engine has a figure for is left out."""
    made = []
    for title, columns in COLUMNS.items():
        shown = [one for one in columns if any(one.value(report, engine) is not None for engine in report.engines)]
        headings = [one.heading.format(batch=report.batch_size) for one in shown]
        rows = [[engine.name, *(one.cell(report, engine) for one in shown)] for engine in report.engines]
        made.append(Table(title=title, headings=["engine", *headings], rows=rows))
    return made


def to_csv(report: BenchReport) -> str:
    """Write all columns, unrounded, with the bounds of their intervals; a row an engine."""
    columns = [column for group in COLUMNS.values() for column in group]
    names = ["engine"]
    for column in columns:
        names += [column.name, f"{column.name}_low", f"{column.name}_high"] if column.interval else [column.name]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for engine in report.engines:
        row: list[str | float | None] = [engine.name]
        for column in columns:
            row.append(column.value(report, engine))
            if column.interval:
                row += column.interval(report, engine) or (None, None)
        writer.writerow(row)
    return stream.getvalue()
