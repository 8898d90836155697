"""Speed of the runtime against PyTorch, transformers, Optimum and OpenVINO: same texts, same threads, taking turns.

    .venv/bin/python benchmarks/runtime_speed.py --onnx RUN/onnx --against RUN
    .venv/bin/python benchmarks/runtime_speed.py --onnx RUN/onnx --against RUN --rows 1000000

Measures the cold start of a whole process, the latency of one text, the throughput of many, and with `--rows` a job
over a CSV file. Each engine runs in its own process. Ratios are medians of the ratios within a round, so that whatever
slows the machine for a while slows both sides. Prints Markdown, or JSON.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import Engine, EngineSpec, start_engine
from ftx.bench.noise import Calibration
from ftx.bench.peer_engines import EAGER, FTX, LOADERS, OPTIMUM, PIPELINE, prepare_peers
from ftx.bench.timing import time_engines
from ftx.errors import FtxError
from ftx.text import Text
from ftx.turns import announced, take_turns

BATCH_SIZE = 32
WARMUP_TEXTS = 32
# Threads of an engine may spin for a while after a call.
PAUSE_SEC = 0.25
ONE_TEXT = "This movie was great!"
# Enough rows in memory for a steady figure.
MEMORY_ROWS = 20_000
# Jobs over a file of at most MEMORY_ROWS rows: a single short one may meet a busy moment of the machine.
FILE_ROUNDS = 3

# Each is a whole program, as in its manual, with the same number of threads as the others.
TRANSFORMERS_PROGRAM = """
import sys, torch
torch.set_num_threads(int(sys.argv[2]))
from transformers import pipeline
print(pipeline("text-classification", model=sys.argv[1])(sys.argv[3]))
"""
OPTIMUM_PROGRAM = """
import sys, onnxruntime
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
model = ORTModelForSequenceClassification.from_pretrained(
    sys.argv[1], file_name="model_optimum.onnx", session_options=options
)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
print(pipeline("text-classification", model=model, tokenizer=tokenizer)(sys.argv[3]))
"""


@click.command()
@click.option(
    "--onnx", type=click.Path(path_type=Path, exists=True), required=True, help="The .onnx file, or a folder."
)
@click.option(
    "--against", type=click.Path(path_type=Path, exists=True), required=True, help="The run it was made from."
)
@click.option(
    "--texts", type=click.Path(path_type=Path, exists=True), help="One a line, or .jsonl.  [default: held out]"
)
@click.option("--count", default=2000, show_default=True, help="Texts, taken evenly from the file.")
@click.option("--threads", type=click.IntRange(1), help="For every engine.  [default: the cores this process may use]")
@click.option("--rounds", default=5, show_default=True, help="Rounds of taking turns.")
@click.option("--cold-rounds", default=5, show_default=True, help="Cold starts of each; 0: none.")
@click.option("--rows", type=click.IntRange(100), help="Also run ftx predict --input on a CSV of this many rows.")
@click.option("--json", "as_json", is_flag=True)
def main(
    onnx: Path,
    against: Path,
    texts: Path | None,
    count: int,
    threads: int | None,
    rounds: int,
    cold_rounds: int,
    rows: int | None,
    as_json: bool,
) -> None:
    """Compare the speed of ftx with that of other toolkits, and print the report."""
    from ftx.machine import cpu_model, usable_cores
    from ftx.run_folder import find_checkpoint
    from ftx.runtime.model_file import describe, find_onnx

    path, checkpoint = find_onnx(onnx).absolute(), find_checkpoint(against).absolute()
    if describe(path)[0].text_pair:
        raise click.UsageError("this model takes pairs of texts; the benchmark runs single texts")
    threads = threads or usable_cores()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    every = read_texts(texts or checkpoint.parent / "eval.jsonl")
    some = [every[int(place)] for place in np.linspace(0, len(every) - 1, min(count, len(every)))]
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        excluded = prepare_peers(checkpoint, work, some, threads)
        report: dict[str, Any] = {
            "cpu": cpu_model(),
            "onnx": str(path),
            "threads": threads,
            "texts": len(some),
            "left_out": excluded,
            "cold_start": cold_starts(path, checkpoint, work, threads, cold_rounds, excluded) if cold_rounds else {},
            "engines": compare_engines(path, checkpoint, work, some, threads, rounds, excluded),
        }
        if rows:
            try:
                report["file"] = file_job(path, work, some, threads, rows)
            except click.ClickException as error:
                excluded["ftx predict --input"] = error.message
    click.echo(json.dumps(report, indent=2) if as_json else markdown(report))


def read_texts(path: Path) -> list[str]:
    """Read texts from JSON lines with a `text`, or one a line."""
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    texts = [json.loads(line)["text"] for line in lines] if path.suffix == ".jsonl" else lines
    if not texts:
        raise click.UsageError(f"{path} holds no texts")
    return texts


# Cold starts.


def cold_starts(
    path: Path, checkpoint: Path, work: Path, threads: int, rounds: int, excluded: dict[str, str]
) -> dict[str, Any]:
    """Time whole processes, from start to one prediction, in turn."""
    commands = {
        FTX: ["-m", "ftx", "predict", "--onnx", str(path), "--threads", str(threads), ONE_TEXT],
        PIPELINE: ["-c", TRANSFORMERS_PROGRAM, str(checkpoint), str(threads), ONE_TEXT],
    }
    if OPTIMUM not in excluded:
        commands[OPTIMUM] = ["-c", OPTIMUM_PROGRAM, str(work), str(threads), ONE_TEXT]
    print("Cold starts, the first of each to warm the disk's cache", file=sys.stderr)

    def start(command: list[str], number: int) -> tuple[float, int]:
        return run_process([sys.executable, *command], work)

    starts = take_turns({name: partial(start, command) for name, command in commands.items()}, announced(rounds + 1))
    seconds = {name: np.array([took for took, _ in found[1:]]) for name, found in starts.items()}
    return {
        name: {
            "sec": float(np.median(found)),
            "min_sec": float(found.min()),
            "max_sec": float(found.max()),
            "times_ftx": float(np.median(found / seconds[FTX])),
            "peak_rss_bytes": max(peak for _, peak in starts[name]),
        }
        for name, found in seconds.items()
    }


def run_process(command: list[str], folder: Path) -> tuple[float, int]:
    """Run a program to its end.

    Returns:
        Seconds, and the most memory it held, in bytes. That is never less than what this process holds, which Linux
        counts for its children.
    """
    with (folder / "process.log").open("w+") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            last = (log.read().strip().splitlines() or ["no output"])[-1]
            raise click.ClickException(f"{' '.join(command[:4])} ended with status {process.returncode}: {last}")
    return took, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# Latency and throughput.


def compare_engines(
    path: Path, checkpoint: Path, work: Path, texts: list[str], threads: int, rounds: int, excluded: dict[str, str]
) -> dict[str, Any]:
    """Load every engine, and let them take turns; one that fails is added to `excluded`."""
    places = {FTX: path, EAGER: checkpoint, PIPELINE: checkpoint}
    timed: list[Text] = list(texts)
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        labels: dict[str, NDArray[np.int64]] = {}
        for name, load in LOADERS.items():
            if name in excluded:
                continue
            print(f"Loading {name}", file=sys.stderr)
            spec = EngineSpec(name=name, path=places.get(name, work), threads=threads, load=load)
            try:
                engine = stack.enter_context(start_engine(spec))
                labels[name] = engine.logits(timed, BATCH_SIZE).argmax(axis=1)
                engine.latencies_ms(timed[:WARMUP_TEXTS])
            except FtxError as error:
                excluded[name] = str(error)
            else:
                engines[name] = engine
        if FTX not in engines:
            raise click.ClickException(excluded[FTX])
        running, calibration = list(engines.values()), Calibration()
        each, interrupted = time_engines(
            running, timed, calibration, batch_size=BATCH_SIZE, rounds=rounds, pause_sec=PAUSE_SEC
        )
        if interrupted:
            raise KeyboardInterrupt
        timings = dict(zip(engines, each, strict=True))
        over = {name: timings[FTX].ratios_over(found) for name, found in timings.items()}
        return {
            name: {
                "p50_ms": float(np.percentile(found.latencies_ms, 50)),
                "p99_ms": float(np.percentile(found.latencies_ms, 99)),
                "texts_per_sec": len(timed) / float(np.median(found.batch_sec)),
                "ftx_speedup_p50": float(np.median(over[name][0])),
                "ftx_speedup_texts": float(np.median(over[name][1])),
                "ftx_speedup_texts_rounds": over[name][1].tolist(),
                "load_sec": engines[name].load_ms / 1000,
                "peak_rss_bytes": found.peak_rss_bytes,
                "label_agreement": float((labels[name] == labels[EAGER]).mean()) if EAGER in labels else None,
            }
            for name, found in timings.items()
        }


# A job over a file.


def file_job(path: Path, work: Path, texts: list[str], threads: int, rows: int) -> dict[str, Any]:
    """Run `ftx predict --input` on a CSV of many rows, on a hundredth of them, and on the same rows in memory."""
    in_memory = list(islice(cycle(texts), min(rows, MEMORY_ROWS)))
    small, large = (
        write_rows(work / f"{name}.csv", texts, count) for name, count in (("small", rows // 100), ("large", rows))
    )
    begin = run_job(path, small, threads, rows // 100)
    turns, in_memory_rates, rates = [], [], []
    with start_engine(EngineSpec(name=FTX, path=path, threads=threads, load=LOADERS[FTX])) as engine:
        engine.batch_sec(list(texts), BATCH_SIZE)
        for _ in range(1 if rows > MEMORY_ROWS else FILE_ROUNDS):
            before = engine.batch_sec(list(in_memory), BATCH_SIZE)
            turns.append(run_job(path, large, threads, rows))
            after = engine.batch_sec(list(in_memory), BATCH_SIZE)
            rates.append((rows - rows // 100) / (turns[-1]["sec"] - begin["sec"]))
            in_memory_rates.append(2 * len(in_memory) / (before + after))
    return {
        "rows": rows,
        "small": begin,
        "large": sorted(turns, key=lambda turn: float(turn["sec"]))[len(turns) // 2],
        "steady_rows_per_sec": float(np.median(rates)),
        "in_memory_rows_per_sec": float(np.median(in_memory_rates)),
        "times_in_memory": float(np.median(np.divide(rates, in_memory_rates))),
    }


def write_rows(path: Path, texts: list[str], count: int) -> Path:
    """Write a CSV with this many rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "text"))
        writer.writerows(enumerate(islice(cycle(texts), count)))
    return path


def run_job(path: Path, source: Path, threads: int, count: int) -> dict[str, Any]:
    """Run `ftx predict --input` on a CSV, and count what it wrote."""
    target = source.with_suffix(".out.csv")
    target.unlink(missing_ok=True)
    print(f"ftx predict --input, {count:,} rows", file=sys.stderr)
    command = [sys.executable, "-m", "ftx", "predict", "--onnx", str(path), "--threads", str(threads)]
    sec, peak = run_process([*command, "--input", str(source), "--output", str(target)], source.parent)
    with target.open(encoding="utf-8", newline="") as file:
        written = sum(1 for _ in csv.reader(file)) - 1
    if written != count:
        raise click.ClickException(f"ftx predict wrote {written:,} rows, expected {count:,}")
    return {"rows": count, "sec": sec, "rows_per_sec": count / sec, "peak_rss_bytes": peak}


def markdown(report: dict[str, Any]) -> str:
    """Write the report as Markdown."""
    lines = [f"{report['texts']} texts, {report['threads']} threads, {report['cpu']}", ""]
    if report["cold_start"]:
        lines += ["| cold start, whole process, one text | s | × ftx | peak RSS MiB |", "|---|---|---|---|"]
        for name, row in report["cold_start"].items():
            lines.append(f"| {name} | {row['sec']:.2f} | {row['times_ftx']:.1f} | {row['peak_rss_bytes'] >> 20} |")
        lines.append("")
    lines += [
        "| engine | p50 ms | p99 ms | texts/s | ftx is faster, p50 × | texts/s × | PyTorch's label | peak RSS MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in report["engines"].items():
        agreement = "-" if row["label_agreement"] is None else f"{row['label_agreement']:.4f}"
        lines.append(
            f"| {name} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['texts_per_sec']:.0f} | "
            f"{row['ftx_speedup_p50']:.2f} | {row['ftx_speedup_texts']:.2f} | {agreement} | "
            f"{row['peak_rss_bytes'] >> 20} |"
        )
    lines += [f"\n{name} is skipped: {reason}" for name, reason in report["left_out"].items()]
    if job := report.get("file"):
        lines += ["", "| ftx predict --input CSV | s | rows/s | peak RSS MiB |", "|---|---|---|---|"]
        for row in (job["small"], job["large"]):
            speed, peak = row["rows_per_sec"], row["peak_rss_bytes"] >> 20
            lines.append(f"| {row['rows']:,} rows | {row['sec']:.1f} | {speed:.0f} | {peak} |")
        lines.append(
            f"\nBetween the two: {job['steady_rows_per_sec']:.0f} rows/s, {job['times_in_memory']:.2f} times the "
            f"{job['in_memory_rows_per_sec']:.0f} of one call in memory"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
