"""`ftx evaluate`, `ftx verify` and `ftx bench`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from ftx.advice import advice
from ftx.cli.answering import answer, working
from ftx.cli.options import (
    DATA_COLUMNS,
    against,
    as_json,
    delimiter,
    label_column,
    label_columns,
    onnx,
    output,
    skip_bad_rows,
    text_column,
    text_pair_column,
    threads,
)
from ftx.cli.parameters import AT_LEAST_ONE, FILES, SHARE, TEXT
from ftx.errors import OutputError

__all__ = ["bench", "evaluate", "metric_lines", "verify"]

# Those of `ftx.bench.measure`, which is too heavy to import for --help.
WORKLOADS = ("latency", "throughput", "cold", "lengths", "batches", "threads", "file", "server", "training")
# What --stress is without a file.
EVERY_KIND = Path("-")


@click.command(epilog="Example: ftx evaluate --run runs/starter --data test.csv")
@click.option("--run", type=FILES, help="A run or checkpoint folder.")
@onnx(help="Or an .onnx file, or a folder with one.", required=False)
@click.option("--data", type=FILES, help="Labelled rows.  [default: the run's held-out ones]")
@text_column(help="Column of the texts.  [default: the run's, else text]")
@text_pair_column()
@label_column(help="Column of the labels, or of lists of them.  [default: the run's, else label]")
@label_columns()
@delimiter()
@skip_bad_rows()
@as_json(help="Print everything as JSON, including the confusion matrix.")
def evaluate(
    run: Path | None,
    onnx: Path | None,
    data: Path | None,
    skip_bad_rows: int,
    as_json: bool,
    **columns: Any,
) -> None:
    """Score a checkpoint or an ONNX file on labelled rows, as training scores its held-out ones."""
    if (run is None) == (onnx is None):
        raise click.UsageError("give either --run or --onnx")
    with working():
        from ftx import api

        report = api.evaluate(run=run, onnx=onnx, data=data, skip_bad_rows=skip_bad_rows, **columns)
    if as_json:
        answer(json.dumps(report.to_dict()))
        return
    answer(f"model      {report.model}")
    skipped = f", {report.bad_rows} bad ones skipped" if report.bad_rows else ""
    answer(f"data       {report.data}, {report.rows} rows{skipped}")
    for line in metric_lines(report.metrics, report.scores):
        answer(line)
    classes = getattr(report.scores, "classes", {})
    if classes:
        width = max(map(len, (*classes, "label")))
        answer(f"\n{'label':<{width}}  precision  recall  F1      rows")
    for name, one in classes.items():
        answer(f"{name:<{width}}  {one.precision:<9.4f}  {one.recall:.4f}  {one.f1:.4f}  {one.support}")


def metric_lines(metrics: dict[str, float], scores: Any) -> list[str]:
    """Format metrics, a line each, with an interval where there is one."""
    intervals = {name: getattr(scores, f"{name}_interval", None) for name in metrics}
    lines = []
    for name, value in metrics.items():
        interval = intervals[name]
        said = f", 95 % interval {interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
        lines.append(f"{name:<10} {value:.4f}{said}")
    return lines


@click.command(epilog="Example: ftx verify --onnx model.onnx")
@onnx()
@against(help="A run or checkpoint: compare full logits with PyTorch.")
@click.option("--data", type=FILES, help="Texts for that: a table, or one a line.  [default: the run's eval.jsonl]")
@DATA_COLUMNS["text_column"]
@DATA_COLUMNS["text_pair_column"]
@DATA_COLUMNS["label_column"]
@DATA_COLUMNS["label_columns"]
@DATA_COLUMNS["delimiter"]
@click.option(
    "--held-out-needed",
    is_flag=True,
    help="With --against: print how many texts would make the verdict on a reduced file sure at the agreement seen.",
)
@click.option(
    "--stress",
    type=FILES,
    is_flag=False,
    flag_value=EVERY_KIND,
    metavar="[FILE]",
    help="With --against: compare on longer, shorter, misspelt text and so on, too, made from the held-out text, and "
    "on the texts of a file if one is given.",
)
@click.option(
    "--reseal",
    is_flag=True,
    help="With --against: if a file that another tool has changed since the export passes, seal it anew, with new "
    "probes and figures; else leave it as it is.",
)
@as_json(help="Print the figures as JSON.")
def verify(
    onnx: Path,
    against: Path | None,
    data: Path | None,
    held_out_needed: bool,
    stress: Path | None,
    reseal: bool,
    as_json: bool,
    **columns: Any,
) -> None:
    """Check that an ONNX file gives the same logits here as where it was exported, without PyTorch.

    Replays the golden probes in the file. With --against, also compares its logits with a PyTorch checkpoint's. An int8
    or fp16 file passes on 100 texts or more. Exit status 1 if a check fails.
    """
    needing = {"--data": data, "--held-out-needed": held_out_needed, "--stress": stress, "--reseal": reseal}
    for name, given in needing.items():
        if given and not against:
            raise click.UsageError(f"{name} goes with --against")
    with working():
        from ftx import api

        kinds = True if stress == EVERY_KIND else stress
        found = api.verify(onnx, against=against, data=data, stress=kinds, reseal=reseal, **columns)
    probes, comparison = found.probes, found.against
    if probes.notice:
        click.echo(probes.notice, err=True)
    if as_json:
        answer(json.dumps(found.to_dict()))
    else:
        verdict = "passed" if probes.passed else "FAILED"
        difference = f"max |Δlogit| {probes.max_abs_diff:.2g} (at most {probes.atol:g})"
        answer(f"{verdict}  {probes.probes} golden probes, {difference}")
        if probes.renamed:
            answer(f"FAILED  {probes.renamed} of them have another label now: labels were renamed after the export")
        if comparison:
            for line in comparison.lines(held_out_needed=held_out_needed):
                answer(line)
        if found.resealed:
            answer(f"sealed    {probes.path}, with new probes and figures")
        elif reseal:
            answer(f"unchanged {probes.path}: {'its seal holds' if found.passed else 'it is not sealed anew'}")
        answer(f"next    ftx {'serve' if found.passed else 'inspect'} --onnx {onnx}")
        page = Path(probes.path).with_name("parity.html")
        if page.is_file():
            answer(f"page    {page}{', of the file as it was exported' if found.resealed else ''}")
    if not found.passed:
        raise click.exceptions.Exit(1)


@click.command(epilog="Example: ftx bench --onnx runs/starter/onnx --against runs/starter --output report")
@onnx(help="The .onnx file, or an export folder.", required=False)
@against(help="The run or checkpoint it was exported from.")
@click.option("--data", type=FILES, help="Labelled texts.  [default: the run's eval.jsonl]")
@DATA_COLUMNS["text_column"]
@DATA_COLUMNS["text_pair_column"]
@DATA_COLUMNS["label_column"]
@DATA_COLUMNS["label_columns"]
@DATA_COLUMNS["delimiter"]
@threads(help="Threads of each engine.  [default: the cores this process may use]")
@click.option("--texts", type=AT_LEAST_ONE, help="Texts to time.  [default: 512]")
@click.option("--rounds", type=AT_LEAST_ONE, help="Rounds in which engines take turns.  [default: 6]")
@click.option(
    "--engine",
    "engines",
    type=TEXT,
    multiple=True,
    help="An engine: ftx, ftx-fp32, ftx-fallback (with the model.onnx beside it), pytorch, torch-compile, torch-int8, "
    "pipeline, optimum, optimum-int8, openvino, openvino-bf16, openvino-int8, ctranslate2, sentence-transformers, "
    "onnxruntime, teacher, all, or NAME=module:function for your own; several times.  [default: ftx, ftx-fp32, a "
    "student's teacher, pytorch]",
)
@click.option("--peers", is_flag=True, help="All engines, as --engine all.")
@click.option(
    "--workload",
    "workloads",
    type=click.Choice(WORKLOADS),
    multiple=True,
    help="What to measure beside latency and throughput; several times.  [default: cold]",
)
@click.option("--quick", is_flag=True, help="A first look in a minute: 128 texts, 16 rounds or fewer, no cold starts.")
@click.option("--profile", is_flag=True, help="Also measure where the time goes, by operator and layer.")
@click.option(
    "--compare",
    type=FILES,
    nargs=2,
    metavar="A.json B.json",
    help="Measure nothing: compare two reports, and fail if the second is slower.",
)
@click.option(
    "--max-regression",
    type=SHARE,
    default=0.05,
    show_default=True,
    help="With --compare: how much slower an engine may be, relative to PyTorch.",
)
@output(help="Write bench.json, bench.md, bench.csv and bench.html into this folder.")
@as_json(help="Print JSON instead of Markdown.")
def bench(
    onnx: Path | None,
    against: Path | None,
    data: Path | None,
    text_column: str | None,
    text_pair_column: str | None,
    label_column: str | None,
    label_columns: tuple[str, ...] | None,
    delimiter: str | None,
    threads: int | None,
    texts: int | None,
    rounds: int | None,
    engines: tuple[str, ...],
    peers: bool,
    workloads: tuple[str, ...],
    quick: bool,
    profile: bool,
    compare: tuple[Path, Path] | None,
    max_regression: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure int8, fp32 and PyTorch side by side: latency, throughput, memory, size, agreement.

    Other engines run if their packages are installed. Ctrl-C ends it early, and reports the rounds that were complete.
    """
    if compare:
        compare_reports(compare, max_regression, as_json)
        return
    for name, value in (("--onnx", onnx), ("--against", against)):
        if value is None:
            raise click.UsageError(f"Missing option '{name}'.")
    assert onnx and against
    with working():
        if output:
            check_folder(output)
        from ftx.bench import bench as measure

        report = measure(
            onnx,
            against,
            data=data,
            text_column=text_column,
            text_pair_column=text_pair_column,
            label_column=label_column,
            label_columns=label_columns,
            delimiter=delimiter,
            threads=threads,
            texts=texts,
            rounds=rounds,
            engines=("all",) if peers else engines,
            workloads=workloads,
            quick=quick,
            profile=profile,
        )
        as_text, markdown = json.dumps(report.to_dict(), indent=2) + "\n", report.to_markdown()
        if output:
            forms = {"json": as_text, "md": markdown, "csv": report.to_csv(), "html": report.to_html()}
            for suffix, text in forms.items():
                beside = output / f".bench.{suffix}.partial"
                beside.write_text(text, encoding="utf-8")
                beside.replace(output / f"bench.{suffix}")
    answer(as_text if as_json else markdown, nl=False)
    if report.interrupted:
        raise KeyboardInterrupt


def compare_reports(paths: tuple[Path, Path], max_regression: float, as_json: bool) -> None:
    """Compare two reports, and exit with status 1 if the second has a regression."""
    with working():
        from ftx.bench.comparing import compare

        comparison = compare(*paths, max_regression=max_regression)
    answer(json.dumps(comparison.to_dict()) if as_json else comparison.to_markdown().rstrip())
    if comparison.regressed:
        raise click.exceptions.Exit(1)


def check_folder(output: Path) -> None:
    """Create the report's folder, and check that it is writable before anything is measured."""
    if output.exists() and not output.is_dir():
        raise OutputError(f"--output {output} is a file; expected a folder for the reports: choose another")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OutputError(f"--output {output} can't be written: {error.strerror}: {advice(error)}") from error
