"""Bring a report of `make bench` into the documentation: `.venv/bin/python -m tests.figures BENCH.json`.

It is kept in docs/measured/starter.json without its raw samples; README's table and docs/benchmark.md are made of that.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from ftx.bench import BenchReport

HOUSE = Path(__file__).parents[1]
REPORT = HOUSE / "docs/measured/starter.json"
README, PAGE = HOUSE / "README.md", HOUSE / "docs/benchmark.md"
TABLE = re.compile(r"^\| engine \|.*?\n(?=\n)", re.DOTALL | re.MULTILINE)
MIB = 2**20
# README shows the best of each toolkit that is commonly used for this, and what the others are compared with.
SHOWN = (
    "ftx int8", "ftx fp32 (model.onnx)", "OpenVINO int8 (NNCF)", "Optimum ORTModel int8", "transformers pipeline",
    "PyTorch eager",
)  # fmt: skip


def read() -> BenchReport:
    """Read the report that the documentation shows."""
    values = json.loads(REPORT.read_text(encoding="utf-8"))
    del values["format_version"]
    return msgspec.convert(values, BenchReport)


def readme(report: BenchReport) -> str:
    """Give README with the report's figures in its table."""
    headings = ["engine", "p50 ms", "p99 ms", f"texts/s, batch {report.batch_size}", "× PyTorch", "start to answer s",
                "peak RSS MiB", "file MiB", "accuracy", "label agreement"]  # fmt: skip
    rows = []
    for engine in sorted(report.engines, key=lambda one: (*SHOWN, one.name).index(one.name)):
        if engine.name not in SHOWN:
            continue
        low, high = report.speedup_interval[engine.name][report.many]
        start, size = engine.cold_start, engine.size_bytes
        ratio = f"{report.speedup_over_pytorch[engine.name][report.many]:.2f} ({low:.2f} to {high:.2f})"
        rows.append([
            engine.name, f"{engine.latency_ms['p50']:.1f}",
            f"{engine.latency_ms['p99']:.1f}" if engine.latency_interval_ms["p99"] else "-",
            f"{engine.texts_per_sec[report.many]:,.0f}", "1" if engine is report.engines[-1] else ratio,
            f"{start.later_sec:.2f}" if start else "-", f"{engine.peak_rss_bytes / MIB:.0f}",
            f"{size / MIB:.1f}" if size else "-", f"{engine.accuracy:.4f}", f"{engine.label_agreement:.4f}",
        ])  # fmt: skip
    lines = [" | ".join(cells) for cells in (headings, *rows)]
    lines.insert(1, "|".join(["---"] * len(headings)))
    table = "".join(f"| {line} |\n" if "---" not in line else f"|{line}|\n" for line in lines)
    found, count = TABLE.subn(lambda _: table, README.read_text(encoding="utf-8"))
    assert count == 1, "README has no table of engines"
    return found


def page(report: BenchReport) -> str:
    """Give the page of the whole report."""
    said = report.to_markdown().removeprefix("# Latency report\n\n")
    return (
        "# Benchmark of the starter model\n\nMade by `make bench`. [All figures as JSON](measured/starter.json), and "
        f"[what each means](reference/files.md#benchjson).\n\n{said}"
    )


def keep(path: Path) -> None:
    """Take over a report, and write what is made from it."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for engine in values["engines"]:
        engine["samples"] = {"latencies_ms": [], "batch_sec": []}
        if engine["cold_start"]:
            engine["cold_start"]["samples_sec"] = []
    values["held_out"] = Path(values["held_out"]).name
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    README.write_text(readme(read()), encoding="utf-8")
    PAGE.write_text(page(read()), encoding="utf-8")


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
