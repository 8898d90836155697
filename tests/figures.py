"""Bring a report of `ftx bench` into the documentation: `.venv/bin/python -m tests.figures BENCH.json [student]`.

It is kept in docs/measured/ without its raw samples. README's table and docs/benchmark.md are made of the starter's,
docs/benchmark_student.md of that of a student.
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
README = HOUSE / "README.md"
STARTER, STUDENT = "starter", "student"
PAGES = {STARTER: HOUSE / "docs/benchmark.md", STUDENT: HOUSE / "docs/benchmark_student.md"}
INTRODUCTIONS = {
    STARTER: "# Benchmark of the starter model\n\nMade by `make bench`.",
    STUDENT: "# Benchmark of a student of the starter model\n\nMade by `ftx train --seed 1 --output runs/one`, "
    "`ftx distill runs/one --layers 3 --seed 1 --output runs/small`, `ftx export` of both, and `ftx bench "
    "--onnx runs/small/onnx --against runs/small --engine ftx --engine teacher --engine pytorch --workload latency "
    "--rounds 16`.",
}
TABLE = re.compile(r"^\| engine \|.*?\n(?=\n)", re.DOTALL | re.MULTILINE)
MIB = 2**20
# README shows the best of each toolkit that is commonly used for this, and what the others are compared with.
SHOWN = (
    "ftx int8", "ftx fp32 (model.onnx)", "OpenVINO int8 (NNCF)", "Optimum ORTModel int8", "transformers pipeline",
    "PyTorch eager",
)  # fmt: skip


def kept(name: str) -> Path:
    """Name the file of a report that the documentation shows."""
    return HOUSE / f"docs/measured/{name}.json"


def read(name: str) -> BenchReport:
    """Read a report that the documentation shows."""
    values = json.loads(kept(name).read_text(encoding="utf-8"))
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


def page(name: str) -> str:
    """Give the page of a whole report."""
    said = read(name).to_markdown().removeprefix("# Latency report\n\n")
    return (
        f"{INTRODUCTIONS[name]} [All figures as JSON](measured/{name}.json), and "
        f"[what each means](reference/files.md#benchjson).\n\n{said}"
    )


def keep(path: Path, name: str) -> None:
    """Take over a report, and write what is made from it."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for engine in values["engines"]:
        engine["samples"] = {"latencies_ms": [], "batch_sec": []}
        if engine["cold_start"]:
            engine["cold_start"]["samples_sec"] = []
    values["held_out"] = Path(values["held_out"]).name
    kept(name).parent.mkdir(exist_ok=True)
    kept(name).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    README.write_text(readme(read(STARTER)), encoding="utf-8")
    PAGES[name].write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    keep(Path(sys.argv[1]), *(sys.argv[2:] or [STARTER]))
