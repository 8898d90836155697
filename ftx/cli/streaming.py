"""`ftx predict --input`: the options, the progress line and the summary of a job over the rows of a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftx.cli.data_options import skip_bad_rows, text_column, text_pair_column
from ftx.cli.parameters import ANY_TEXT, PATH

if TYPE_CHECKING:
    from ftx.runtime import Predictor
    from ftx.runtime.ray import RayReport
    from ftx.runtime.stream import Job, JobReport, Progress

__all__ = ["job_options", "run_job", "run_on_ray"]

INPUT_FORMATS = ("csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz", "txt", "txt.gz", "parquet")
OUTPUT_FORMATS = tuple(name for name in INPUT_FORMATS if not name.startswith("txt"))
PREFIX = "predicted_"

OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--input", type=PATH, help="Predict the rows of this .csv, .tsv, .jsonl, .txt (.gz) or .parquet; - is a pipe."
    ),
    click.option("--output", type=PATH, help="Write them here, as .csv, .tsv, .jsonl (.gz) or .parquet.  [default: -]"),
    click.option(
        "--input-format", type=click.Choice(INPUT_FORMATS), help="The input's format, if its name does not tell."
    ),
    click.option("--output-format", type=click.Choice(OUTPUT_FORMATS), help="Likewise.  [default for -: jsonl]"),
    text_column("text, else the only one"),
    text_pair_column(),
    click.option(
        "--prefix", type=ANY_TEXT, default=PREFIX, show_default=True, help="What the added columns begin with."
    ),
    skip_bad_rows(),
    click.option("--rejects", type=PATH, help="Leave out all bad rows, and write them to this file."),
    click.option("--resume", is_flag=True, help="Go on with a job that was interrupted."),
    click.option("--overwrite", is_flag=True, help="Replace the output, or begin an unfinished job anew."),
)


def job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a job, gathered in one argument, `job`: None where no file is named."""

    @wraps(command)
    def gathered(
        input: Path | None,  # noqa: A002  the option's name
        output: Path | None,
        input_format: str | None,
        output_format: str | None,
        text_column: str | None,
        text_pair_column: str | None,
        prefix: str,
        skip_bad_rows: int,
        rejects: Path | None,
        resume: bool,
        overwrite: bool,
        **others: Any,
    ) -> None:
        job = None
        if input is not None or output is not None:
            if others.get("texts") or others.get("as_json"):
                raise click.UsageError("--input and --output take the texts from a file: leave out TEXT and --json")
            if input is None and sys.stdin.isatty():
                raise click.UsageError("--output without --input: name the file to predict, or pipe it in")
            from ftx.runtime.stream import Job, check_job

            job = Job(
                input=input or Path("-"),
                output=output or Path("-"),
                input_format=input_format,
                output_format=output_format,
                text_column=text_column,
                text_pair_column=text_pair_column,
                prefix=prefix,
                skip_bad_rows=skip_bad_rows,
                rejects=rejects,
                resume=resume,
                overwrite=overwrite,
            )
            if others.get("engine") != "ray":  # which has formats of its own
                check_job(job)
        elif given := [
            option
            for option, value in (
                ("--input-format", input_format),
                ("--output-format", output_format),
                ("--text-column", text_column),
                ("--text-pair-column", text_pair_column),
                ("--prefix", prefix != PREFIX),
                ("--skip-bad-rows", skip_bad_rows),
                ("--rejects", rejects),
                ("--resume", resume),
                ("--overwrite", overwrite),
            )
            if value
        ]:
            raise click.UsageError(f"{given[0]} is for the rows of a file: name it with --input")
        command(job=job, **others)

    for option in reversed(OPTIONS):
        gathered = option(gathered)
    return gathered


def run_job(predictor: Predictor, job: Job) -> None:
    """Predict the rows of a file; say on stderr how far it is, and at the end what was done."""
    from ftx.runtime.stream import do_job

    terminal = sys.stderr.isatty()
    try:
        report = do_job(job, predictor, show_progress if terminal else None)
    except KeyboardInterrupt:
        if job.resumable and job.journal.exists():
            click.echo(f"\r{job.output}: what is done is kept: go on with --resume", err=True)
        raise
    finally:
        if terminal:
            click.echo("\r\x1b[K", err=True, nl=False)
    if report.finished_before:
        click.echo(f"{report.output} is there already, and no job is unfinished beside it: nothing to do", err=True)
        return
    if report.notice:
        click.echo(report.notice, err=True)
    said = done(report.rows, report.sec, report.rows_before)
    click.echo(f"{said}, {report.bad_rows:,} bad rows, {long_texts(report)}", err=True)


def done(rows: int, sec: float, before: int = 0) -> str:
    """Say how many rows were answered how fast, by this session of a job."""
    now = rows - before
    speed = f"{sec:.4g} s ({now / sec if sec else 0.0:,.0f}/s)"
    if not before:
        return f"{rows:,} rows in {speed}"
    return f"{rows:,} rows, " + (f"the last {now:,} of them in {speed}" if now else "all of them done before")


def long_texts(report: JobReport | RayReport) -> str:
    """Say what became of texts that are longer than the model reads."""
    count, fate = (report.windowed, "read in windows") if report.windowed else (report.truncated, "cut")
    share = count / report.rows if report.rows else 0.0
    return f"{count:,} texts ({share:.1%}) too long for the model and {fate}"


def run_on_ray(
    job: Job,
    onnx: Path,
    *,
    address: str | None,
    workers: int | None,
    batch_size: int,
    invariant: bool,
    long_text: str,
    stride: int | None,
    pooling: str,
) -> None:
    """Predict the rows of files with Ray; say on stderr what was done."""
    for option, given in (
        ("--resume", job.resume),
        ("--rejects", job.rejects is not None),
        ("--skip-bad-rows", job.skip_bad_rows > 0),
        ("--input-format", job.input_format is not None),
        ("--output-format", job.output_format is not None),
        ("a pipe", "-" in (str(job.input), str(job.output))),
    ):
        if given:
            raise click.UsageError(f"{option} does not go with --engine ray, which reads files and writes a folder")
    from ftx.runtime.ray import predict_with_ray

    report = predict_with_ray(
        onnx,
        job.input,
        job.output,
        text_column=job.text_column,
        text_pair_column=job.text_pair_column,
        prefix=job.prefix,
        address=address,
        workers=workers,
        batch_size=batch_size,
        invariant=invariant,
        long_text=long_text,
        stride=stride,
        pooling=pooling,
        overwrite=job.overwrite,
    )
    if report.notice:
        click.echo(report.notice, err=True)
    click.echo(
        f"{done(report.rows, report.sec)} by {report.workers} workers, {long_texts(report)}, "
        f"{report.shards} files in {report.output}",
        err=True,
    )


def show_progress(progress: Progress) -> None:
    """Write how far a job is over the line that said it before."""
    line = f"{progress.rows:,} rows, {progress.rows_per_sec:,.0f}/s"
    if progress.done is not None:
        line += f", {progress.done:.0%}"
    if progress.left_sec is not None:
        minutes, seconds = divmod(round(progress.left_sec), 60)
        hours, minutes = divmod(minutes, 60)
        line += f", {hours}:{minutes:02}:{seconds:02} left"
    click.echo(f"\r{line}\x1b[K", err=True, nl=False)
