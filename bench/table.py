"""The figures that every form of the report shows: one list of columns for Markdown, the page and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from ftx.bench.column import Column, Table
from ftx.bench.report import BenchReport, EngineFigures
from ftx.bench.server_table import SERVER_COLUMNS, server_tables

__all__ = ["COLUMNS", "tables", "to_csv"]

MIB = 2**20
AGREEMENT = "Agreement with PyTorch"
OF_TEACHER = "The teacher's engines are compared with the teacher's own PyTorch, the others with the student's."
Engine = Column[EngineFigures]


def percentile(name: str) -> Engine:
    """Make the column of a percentile of latency, which is given where there are enough samples for an interval."""
    return Engine(
        name=f"{name}_ms",
        heading=f"{name} ms",
        form=".1f",
        value=lambda _, engine: engine.latency_ms[name] if engine.latency_interval_ms[name] else None,
    )


def speedup(name: str, heading: str, key: Callable[[BenchReport], str]) -> Engine:
    """Make the column of a speed relative to PyTorch's."""
    return Engine(
        name=name,
        heading=heading,
        form=".2f",
        value=lambda report, engine: report.speedup_over_pytorch[engine.name][key(report)],
        interval=lambda report, engine: report.speedup_interval[engine.name][key(report)],
    )


def over_teacher(name: str, heading: str, teacher: Callable[[list[str]], list[str]]) -> Engine:
    """Make the column of a speed in batches relative to that of one of the teacher's engines, if it was measured."""

    def find(figures: dict[str, dict[str, dict[str, Any]]], report: BenchReport, engine: EngineFigures) -> Any:
        those = teacher(list(figures))
        return figures[those[0]][engine.name][report.many] if those else None

    return Engine(
        name=name,
        heading=heading,
        form=".2f",
        value=lambda report, engine: find(report.speedup_over_teacher, report, engine),
        interval=lambda report, engine: find(report.speedup_over_teacher_interval, report, engine),
    )


COLUMNS = {
    "Speed": [
        *map(percentile, ("p50", "p90", "p95", "p99", "p99.9")),
        Engine(name="max_ms", heading="max ms", form=".1f", value=lambda _, e: e.latency_ms["max"]),
        Engine(name="texts_per_sec_batch_1", heading="texts/s, batch 1", form=".0f",
               value=lambda _, e: e.texts_per_sec["batch_1"]),
        Engine(name="texts_per_sec", heading="texts/s, batch {batch}", form=".0f",
               value=lambda r, e: e.texts_per_sec[r.many]),
        Engine(name="tokens_per_sec", heading="tokens/s", form=".0f", value=lambda r, e: e.tokens_per_sec[r.many]),
        speedup("speedup_batch_1", "× PyTorch, batch 1", lambda _: "batch_1"),
        speedup("speedup", "× PyTorch, batch {batch}", lambda r: r.many),
        over_teacher("speedup_over_teacher_file", "× teacher's file, batch {batch}", lambda names: names[:-1]),
        over_teacher("speedup_over_teacher", "× teacher's PyTorch, batch {batch}", lambda names: names[-1:]),
        Engine(name="ceiling_share", heading="share of the ceiling", form=".0%", value=lambda _, e: e.ceiling_share),
        Engine(name="joules_per_text", heading="J a text", form=".3f", value=lambda _, e: e.joules_per_text),
    ],
    AGREEMENT: [
        Engine(name="accuracy", heading="accuracy", form=".4f", value=lambda _, e: e.accuracy,
               interval=lambda _, e: e.accuracy_interval),
        Engine(name="label_agreement", heading="label agreement", form=".4f", value=lambda _, e: e.label_agreement,
               interval=lambda _, e: e.label_agreement_interval),
        Engine(name="p99_abs_prob_diff", heading="p99 |Δp|", form=".4f", value=lambda _, e: e.p99_abs_prob_diff),
        Engine(name="max_abs_prob_diff", heading="max |Δp|", form=".4f", value=lambda _, e: e.max_abs_prob_diff),
    ],
    "Start and memory": [
        Engine(name="first_start_sec", heading="first start s", form=".2f",
               value=lambda _, e: e.cold_start.first_sec if e.cold_start else None),
        Engine(name="first_start_cpu_sec", heading="its CPU s", form=".2f",
               value=lambda _, e: e.cold_start.first_cpu_sec if e.cold_start else None),
        Engine(name="later_start_sec", heading="later starts s", form=".2f",
               value=lambda _, e: e.cold_start.later_sec if e.cold_start else None),
        Engine(name="later_start_cpu_sec", heading="their CPU s", form=".2f",
               value=lambda _, e: e.cold_start.later_cpu_sec if e.cold_start else None),
        Engine(name="load_sec", heading="load s", form=".2f", value=lambda _, e: e.load_ms / 1000),
        Engine(name="peak_rss_mib", heading="peak RSS MiB", form=".0f", value=lambda _, e: e.peak_rss_bytes / MIB),
        Engine(name="rss_mib", heading="steady RSS MiB", form=".0f",
               value=lambda _, e: None if e.rss_bytes is None else e.rss_bytes / MIB),
        Engine(name="file_mib", heading="file MiB", form=".1f",
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
        note = OF_TEACHER if report.speedup_over_teacher and title == AGREEMENT else ""
        made.append(Table(title=title, headings=["engine", *headings], rows=rows, marked=[0], note=note))
    return made + (server_tables(report, report.server) if report.server else [])


def to_csv(report: BenchReport) -> str:
    """Write all columns, unrounded, with the bounds of their intervals; a row an engine, then a row a server."""
    columns = [column for group in COLUMNS.values() for column in group]
    of_engines = [name for column in columns for name in column.names()]
    of_servers = [f"server_{name}" for column in SERVER_COLUMNS for name in column.names()]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["engine", *of_engines, *of_servers])
    for engine in report.engines:
        values = [value for column in columns for value in column.values(report, engine)]
        writer.writerow([engine.name, *values, *([None] * len(of_servers))])
    for server in report.server.servers if report.server else []:
        values = [value for column in SERVER_COLUMNS for value in column.values(report, server)]
        writer.writerow([server.name, *([None] * len(of_engines)), *values])
    return stream.getvalue()
