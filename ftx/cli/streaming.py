"""`ftx predict --input`: the options, progress line and summary of a job over the rows of a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftx.cli.options import (
    Option,
    given,
    output,
    overwrite,
    resume,
    skip_bad_rows,
    text_column,
    text_pair_column,
    together,
)
from ftx.cli.parameters import ANY_TEXT, PATH

if TYPE_CHECKING:
    from ftx.manifest import Manifest
    from ftx.runtime import Predictor, PredictSettings
    from ftx.runtime.ray import RayReport
    from ftx.runtime.stream import Job, JobReport, Progress

__all__ = ["beyond_calibration", "job_options", "run_job", "run_on_ray"]

INPUT_FORMATS = ("csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz", "txt", "txt.gz", "parquet")
OUTPUT_FORMATS = tuple(name for name in INPUT_FORMATS if not name.startswith("txt"))
PREFIX = "predicted_"

# By parameter name, which is the field of `Job`.
JOB: dict[str, Option] = {
    "input": click.option(
        "--input",
        type=PATH,
        help="Predict the rows of this .csv, .tsv, .jsonl, .txt (.gz) or .parquet file; - is stdin.",
    ),
    "output": output(help="Write them here, as .csv, .tsv, .jsonl (.gz) or .parquet.  [default: -]"),
    "input_format": click.option(
        "--input-format", type=click.Choice(INPUT_FORMATS), help="The input's format, if its name does not tell."
    ),
    "output_format": click.option(
        "--output-format", type=click.Choice(OUTPUT_FORMATS), help="The output's, likewise.  [default for -: jsonl]"
    ),
    "text_column": text_column(help="Column of the texts.  [default: text, else the only one]"),
    "text_pair_column": text_pair_column(),
    "prefix": click.option(
        "--prefix", type=ANY_TEXT, default=PREFIX, show_default=True, help="Prefix of the added columns' names."
    ),
    "skip_bad_rows": skip_bad_rows(),
    "rejects": click.option("--rejects", type=PATH, help="Skip all bad rows, and write them to this file."),
    "resume": resume(help="Resume an interrupted job."),
    "overwrite": overwrite(help="Replace the output, or restart an unfinished job."),
}
# What a job with Ray, which reads files and writes a folder, does not take.
LOCAL_ONLY = ("resume", "rejects", "skip_bad_rows", "input_format", "output_format")


def make_job(values: dict[str, Any]) -> Job | None:
    """Make the job, or None if no file is named, and check what can be checked before a model is loaded."""
    context = click.get_current_context()
    if values["input"] is None and values["output"] is None:
        if options := given(JOB):
            raise click.UsageError(f"{next(iter(options.values()))} is for the rows of a file: name it with --input")
        return None
    if context.params.get("texts") or context.params.get("as_json"):
        raise click.UsageError("--input and --output read texts from a file: omit TEXT and --json")
    if values["input"] is None and sys.stdin.isatty():
        raise click.UsageError("--output without --input: name the file to predict, or pipe it in")
    from ftx.runtime.stream import Job, check_job

    stdio = {name: values[name] or Path("-") for name in ("input", "output")}
    job = Job(**{**values, **stdio})
    if context.params.get("engine") != "ray":  # which has formats of its own
        check_job(job)
    return job


job_options = together("job", JOB, make_job)


def run_job(predictor: Predictor, job: Job) -> None:
    """Predict the rows of a file; report progress and the result on stderr."""
    from ftx.runtime.stream import do_job

    terminal = sys.stderr.isatty()
    try:
        report = do_job(job, predictor, show_progress if terminal else None)
    except KeyboardInterrupt:
        if job.resumable and job.journal.exists():
            click.echo(f"\r{job.output}: finished rows are kept: add --resume to continue", err=True)
        raise
    finally:
        if terminal:
            click.echo("\r\x1b[K", err=True, nl=False)
    if report.finished_before:
        click.echo(f"{report.output} already exists, and there is no unfinished job: nothing to do", err=True)
        return
    if report.notice:
        click.echo(report.notice, err=True)
    if report.beyond_calibration:
        click.echo(beyond_calibration(report.beyond_calibration, predictor.manifest), err=True)
    said = done(report.rows, report.sec, report.rows_before)
    click.echo(f"{said}, {report.bad_rows:,} bad rows, {long_texts(report)}", err=True)


def done(rows: int, sec: float, before: int = 0) -> str:
    """Say how many rows were predicted, and how fast since the job was started or resumed."""
    now = rows - before
    speed = f"{sec:.4g} s ({now / sec if sec else 0.0:,.0f}/s)"
    if not before:
        return f"{rows:,} rows in {speed}"
    return f"{rows:,} rows, " + (f"the last {now:,} of them in {speed}" if now else "all of them finished before")


def long_texts(report: JobReport | RayReport) -> str:
    """Say what happened to texts that are longer than the model reads."""
    count, fate = (report.windowed, "read in windows") if report.windowed else (report.truncated, "truncated")
    share = count / report.rows if report.rows else 0.0
    return f"{count:,} texts ({share:.1%}) too long for the model and {fate}"


def beyond_calibration(count: int, manifest: Manifest) -> str:
    """Say how many texts are longer than those that static int8 was calibrated on, and what to do."""
    return (
        f"{count:,} {'text is' if count == 1 else 'texts are'} longer than the {manifest.calibrated_tokens} tokens "
        "that this int8 file was calibrated on (beyond_calibration), so its activations may be clipped; "
        f"--long-text window reads {'it' if count == 1 else 'them'} in windows of that length"
    )


def run_on_ray(job: Job, onnx: Path, settings: PredictSettings, *, address: str | None) -> None:
    """Predict the rows of files with Ray; report on stderr."""
    refused = [*given(LOCAL_ONLY).values(), *(["a pipe"] if "-" in (str(job.input), str(job.output)) else [])]
    if refused:
        raise click.UsageError(f"{refused[0]} does not go with --engine ray, which reads files and writes a folder")
    from ftx.runtime.ray import predict_with_ray

    report = predict_with_ray(onnx, job, settings, address=address, workers=settings.intra_op_num_threads)
    if report.notice:
        click.echo(report.notice, err=True)
    click.echo(
        f"{done(report.rows, report.sec)} by {report.workers} workers, {long_texts(report)}, "
        f"{report.shards} files in {report.output}",
        err=True,
    )


def show_progress(progress: Progress) -> None:
    """Write the progress of a job over its last progress line."""
    line = f"{progress.rows:,} rows, {progress.rows_per_sec:,.0f}/s"
    if progress.done is not None:
        line += f", {progress.done:.0%}"
    if progress.left_sec is not None:
        minutes, seconds = divmod(round(progress.left_sec), 60)
        hours, minutes = divmod(minutes, 60)
        line += f", {hours}:{minutes:02}:{seconds:02} left"
    click.echo(f"\r{line}\x1b[K", err=True, nl=False)
