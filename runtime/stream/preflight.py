"""Check a job before a model is loaded or a row is read: whether it may start, resume or replace what is there."""

from __future__ import annotations

import os
from pathlib import Path

from ftx.errors import DataError, OutputError
from ftx.manifest import Manifest
from ftx.runtime.model_file import find_onnx
from ftx.runtime.stream.columns import predicted_columns
from ftx.runtime.stream.formats import is_closed_stdout
from ftx.runtime.stream.job import Classifier, Job
from ftx.runtime.stream.journal import Journal, read_journal
from ftx.runtime.stream.reading import breaks
from ftx.tables.formats import is_stream
from ftx.tables.parquet import check_parquet

__all__ = ["check_job", "check_label_names", "check_newer", "is_finished"]


def check_job(job: Job) -> Journal | None:
    """Check, before a model is loaded, that a job can start.

    Returns:
        The journal of an unfinished job at the same place; None if there is none.

    Raises:
        DataError: The input does not exist.
        OutputError: The output must not or can't be written, or the job can't be resumed.
    """
    if "parquet" in {kind.kind for kind in job.formats}:
        check_parquet()
    if job.resume and not job.resumable:
        stream = job.input if is_stream(job.input) else job.output
        raise OutputError(f"--resume: {stream} is a stream, and only a job from file to file can be resumed")
    if not is_stream(job.input) and not job.input.is_file():
        found = "is a folder" if job.input.is_dir() else "does not exist"
        raise DataError(f"{job.input} {found}; expected a file with a text in each row")
    check_distinct(job)
    if job.rejects is not None:
        if is_stream(job.rejects):
            raise OutputError(f"--rejects {job.rejects} is a pipe or a device; expected the name of a file")
        check_folder(job.rejects, "--rejects")
    if is_closed_stdout(job.output):
        raise OutputError(f"--output {job.output}: standard output is closed; expected it open, or a file")
    if is_stream(job.output):
        check_rejects(job)
        return None
    check_folder(job.place, "--output")
    return check_unfinished(job)


def check_distinct(job: Job) -> None:
    """Check that no file is both read and written, or written twice.

    An output that is a hard link to the input is fine: the result is renamed into place, and the input stays.
    """
    written = [("--output", job.output)] if not is_stream(job.output) else []
    written += [("--output", job.part), ("--output", job.journal)] if written else []
    written += [("--rejects", job.rejects)] if job.rejects is not None else []
    seen = {} if is_stream(job.input) else {job.input.resolve(): "--input"}
    for option, path in written:
        other = seen.setdefault(path.resolve(), option)
        in_place = path != job.output and path.exists() and not is_stream(job.input)
        if other != option or (in_place and path.samefile(job.input)):
            other = other if other != option else "--input"
            raise OutputError(f"{option} {path} is also the file of {other}; expected another one")


def check_folder(path: Path, option: str) -> None:
    """Check that a file can be written."""
    if path.is_dir():
        raise OutputError(f"{option} {path} is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"{option} {path} can't be written: there is no folder {path.parent}; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{option} {path} can't be written: the folder {path.parent} is not writable; choose another")


def check_rejects(job: Job) -> None:
    """Check that a new job's file of bad rows does not exist."""
    if job.rejects is not None and job.rejects.exists() and not job.overwrite:
        raise OutputError(f"--rejects {job.rejects} already exists: choose another, or add --overwrite")


def check_unfinished(job: Job) -> Journal | None:
    """Look for an earlier job, and check that this one may resume or replace it."""
    journal = read_journal(job.journal)
    if journal is None:
        if is_finished(job):
            return None
        if job.output.exists() and not job.overwrite:
            nothing = ", and there is no unfinished job to resume" if job.resume else ""
            raise OutputError(f"{job.output} already exists{nothing}: choose another --output, or add --overwrite")
        if job.part.exists() and not (job.overwrite and job.part.is_file()) and not is_empty(job.part):
            raise OutputError(f"{job.part} exists without the journal of a job: remove it, or choose another --output")
        check_rejects(job)
        return None
    if not job.resume and not job.overwrite:
        raise OutputError(
            f"{job.output} is unfinished, with {journal.rows} rows done: "
            + ("continue with --resume, or " if journal.input else "")
            + "start over with --overwrite"
        )
    if job.resume and not journal.input:
        raise OutputError(f"{job.output} was started from a stream and can't be resumed: start over with --overwrite")
    if job.resume and job.rejects is not None and str(job.rejects.resolve()) != journal.rejects:
        check_rejects(job)
    return journal


def is_finished(job: Job) -> bool:
    """Tell whether a job to resume has nothing left to do: its output exists, with nothing unfinished beside it."""
    beside = job.part.exists() or job.journal.exists()
    return job.resume and not job.overwrite and not is_stream(job.output) and job.output.exists() and not beside


def check_newer(job: Job, predictor: Classifier) -> None:
    """Check that a finished output can be this job's: that it is not older than the input, the model or its fallback.

    Raises:
        OutputError: It is older.
    """
    fallback = predictor.settings.fallback
    for what in (job.input, Path(predictor.path), *([find_onnx(fallback)] if fallback is not None else [])):
        if what.stat().st_mtime_ns > job.output.stat().st_mtime_ns:
            raise OutputError(
                f"{job.output} already exists, there is no unfinished job to resume, and {what} is newer: "
                "choose another --output, or start over with --overwrite, not --resume"
            )


def check_label_names(job: Job, manifest: Manifest) -> None:
    """Check that the output's format can hold the names of the labels and of the added columns.

    Raises:
        OutputError: It can't.
    """
    kind = job.formats[1].kind
    if kind == "tsv":
        for name in predicted_columns([], manifest, prefix=job.prefix):
            if breaks(name):
                raise OutputError(
                    f"--output {job.output}: the column {name!r:.80}, made of --prefix and a label, holds a tab or "
                    "line break, which TSV can't: write CSV or JSON lines"
                )
    if kind in ("tsv", "csv") and manifest.problem_type == "multi_label_classification":
        for label in manifest.labels:
            if "|" in label:
                raise OutputError(
                    f"--output {job.output}: the label {label!r:.80} holds a |, which separates labels in a cell: "
                    "write JSON lines or Parquet"
                )


def is_empty(part: Path) -> bool:
    """Tell whether an unfinished output is empty: a job was killed before it wrote a row."""
    return not any(part.iterdir()) if part.is_dir() else not part.stat().st_size
