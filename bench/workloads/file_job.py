"""A file job: `ftx predict --input` on a CSV file, beside the same rows in one call in memory."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from ftx.bench.engine import EngineSpec, start_engine
from ftx.bench.workloads.processes import run_python
from ftx.errors import FtxError

__all__ = ["FileJob", "measure_file_job"]

ROUNDS = 3
# The share of a job whose time is subtracted, so that starting the process does not count.
SMALL = 100


@dataclass(frozen=True, kw_only=True)
class FileJob:
    """How fast a file was predicted.

    Attributes:
        rows: How many it had.
        sec: The whole job, the median of three.
        rows_per_sec: Once it runs: without its start.
        in_memory_rows_per_sec: The same rows in one call in memory.
        times_in_memory: The one divided by the other, the median of the rounds' ratios.
    """

    rows: int
    sec: float
    rows_per_sec: float
    in_memory_rows_per_sec: float
    times_in_memory: float


def measure_file_job(spec: EngineSpec, texts: list[str], rows: int, batch_size: int, folder: Path) -> FileJob:
    """Run a job over this many rows, and over a hundredth of them.

    Raises:
        FtxError: It failed, or wrote another number of rows.
    """
    small = write_rows(folder / "small.csv", texts, max(1, rows // SMALL))
    large = write_rows(folder / "large.csv", texts, rows)
    in_memory = list(islice(cycle(texts), rows))
    begin, jobs, before = run_job(spec, small), [], []
    with start_engine(spec) as engine:
        engine.batch_sec(list(texts), batch_size)
        for _ in range(ROUNDS):
            first = engine.batch_sec(list(in_memory), batch_size)
            jobs.append(run_job(spec, large))
            before.append((first + engine.batch_sec(list(in_memory), batch_size)) / 2)
    rates = (rows - max(1, rows // SMALL)) / np.maximum(np.array(jobs) - begin, 1e-9)
    return FileJob(
        rows=rows,
        sec=float(np.median(jobs)),
        rows_per_sec=float(np.median(rates)),
        in_memory_rows_per_sec=rows / float(np.median(before)),
        times_in_memory=float(np.median(rates * np.array(before) / rows)),
    )


def write_rows(path: Path, texts: list[str], count: int) -> Path:
    """Write a CSV with this many rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "text"))
        writer.writerows(enumerate(islice(cycle(texts), count)))
    return path


def run_job(spec: EngineSpec, source: Path) -> float:
    """Run a job, count what it wrote, and give its seconds."""
    target = source.with_suffix(".out.csv")
    target.unlink(missing_ok=True)
    command = ["-m", "ftx", "predict", *spec.options]
    run = run_python([*command, "--input", str(source), "--output", str(target)], source.parent)
    written, expected = (count_rows(path) for path in (target, source))
    if written != expected:
        raise FtxError(f"ftx predict wrote {written:,} rows, expected {expected:,}")
    return run.sec


def count_rows(path: Path) -> int:
    """Count the rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1
