"""What a job is to do, and whether it may: checked before a model is loaded or a row is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ftx.errors import DataError, OutputError
from ftx.manifest import Manifest
from ftx.runtime.heads import Prediction
from ftx.runtime.settings import PredictSettings
from ftx.runtime.stream.columns import PREFIX, predicted_columns
from ftx.runtime.stream.formats import Format, input_format, is_closed_stdout, is_stream, output_format
from ftx.runtime.stream.journal import Journal, describe_input, describe_model, read_journal
from ftx.runtime.stream.parquet import check_parquet
from ftx.runtime.stream.reading import breaks
from ftx.text import Text

__all__ = [
    "CHUNK_BYTES",
    "CHUNK_ROWS",
    "Answering",
    "Job",
    "check_job",
    "check_labels",
    "check_newer",
    "described",
    "is_finished",
]

# Enough rows that sorting by length fills batches well, few enough that a kill costs seconds.
CHUNK_ROWS = 2048
CHUNK_BYTES = 2**23


class Answering(Protocol):
    """What a job asks: `ftx.Predictor`, or anything like it."""

    manifest: Manifest
    path: Path
    sha256: str
    settings: PredictSettings

    def __call__(self, texts: Sequence[Text]) -> list[Prediction]:
        """Predict each text."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done; see `predict_file`."""

    input: Path
    output: Path
    input_format: str | None = None
    output_format: str | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    prefix: str = PREFIX
    chunk_rows: int = CHUNK_ROWS
    chunk_bytes: int = CHUNK_BYTES
    skip_bad_rows: int = 0
    rejects: Path | None = None
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, least in (("chunk_rows", 1), ("chunk_bytes", 1), ("skip_bad_rows", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}, expected at least {least}")

    @property
    def place(self) -> Path:
        """Where the output will stand: where it leads to, if it is a link, which stays one."""
        return self.output.resolve() if self.output.is_symlink() else self.output

    @property
    def part(self) -> Path:
        """Where the output stands until it is whole."""
        return self.place.with_name(self.place.name + ".part")

    @property
    def journal(self) -> Path:
        """Where the journal stands until the output is whole."""
        return self.place.with_name(self.place.name + ".part.json")

    @property
    def formats(self) -> tuple[Format, Format]:
        """The formats of input and output."""
        return input_format(self.input, self.input_format), output_format(self.output, self.output_format)

    @property
    def resumable(self) -> bool:
        """Whether it can go on after a kill: it can be read again, and written further."""
        return not is_stream(self.input) and not is_stream(self.output)


def check_job(job: Job) -> Journal | None:
    """Check, before a model is loaded, that a job can begin.

    Returns:
        The journal of an unfinished job at the same place; None: there is none.

    Raises:
        DataError: The input is not there.
        OutputError: The output must not or can't be written, or the job can't be resumed.
    """
    if "parquet" in {kind.kind for kind in job.formats}:
        check_parquet()
    if job.resume and not job.resumable:
        stream = job.input if is_stream(job.input) else job.output
        raise OutputError(f"--resume: {stream} is a stream, which can't be gone on with; use files")
    if not is_stream(job.input) and not job.input.is_file():
        found = "is a folder" if job.input.is_dir() else "is not there"
        raise DataError(f"{job.input} {found}; expected a file with a row a text")
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

    An output that is a hard link to the input is none of that: it is renamed into place, and the input stays.
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
            raise OutputError(f"{option} {path} is the file of {other} too; expected another one")


def check_folder(path: Path, option: str) -> None:
    """Check that a file may be written."""
    if path.is_dir():
        raise OutputError(f"{option} {path} is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"{option} {path} can't be written: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{option} {path} can't be written: the folder {path.parent} is not writable; choose another")


def check_rejects(job: Job) -> None:
    """Check that the file of bad rows of a new job is not there yet."""
    if job.rejects is not None and job.rejects.exists() and not job.overwrite:
        raise OutputError(f"--rejects {job.rejects} is there already: choose another, or add --overwrite")


def check_unfinished(job: Job) -> Journal | None:
    """Find out what an earlier job left, and whether this one may go on with it or replace it."""
    journal = read_journal(job.journal)
    if journal is None:
        if is_finished(job):
            return None
        if job.output.exists() and not job.overwrite:
            nothing = ", and there is no unfinished job to resume" if job.resume else ""
            raise OutputError(f"{job.output} is there already{nothing}: choose another --output, or add --overwrite")
        if job.part.exists() and not (job.overwrite and job.part.is_file()) and not is_empty(job.part):
            raise OutputError(
                f"{job.part} is there, without the journal of a job: remove it, or choose another --output"
            )
        check_rejects(job)
        return None
    if not job.resume and not job.overwrite:
        raise OutputError(
            f"{job.output} was begun and not finished, {journal.rows} rows are done: "
            + ("go on with --resume, or " if journal.input else "")
            + "begin anew with --overwrite"
        )
    if job.resume and not journal.input:
        raise OutputError(f"{job.output} was begun from a stream, which can't be gone on with: add --overwrite")
    if job.resume and job.rejects is not None and str(job.rejects.resolve()) != journal.rejects:
        check_rejects(job)
    return journal


def is_finished(job: Job) -> bool:
    """Tell whether a job that is to go on has nothing left to do: its output is there, and nothing beside it."""
    beside = job.part.exists() or job.journal.exists()
    return job.resume and not job.overwrite and not is_stream(job.output) and job.output.exists() and not beside


def check_newer(job: Job, predictor: Answering) -> None:
    """Check that a finished output can be that of the job: it is not older than the input and the model.

    Raises:
        OutputError: It is older.
    """
    for what in (job.input, Path(predictor.path)):
        if what.stat().st_mtime_ns > job.output.stat().st_mtime_ns:
            raise OutputError(
                f"{job.output} is there already, there is no unfinished job to resume, and {what} is newer: "
                "choose another --output, or begin anew with --overwrite, not --resume"
            )


def check_labels(job: Job, manifest: Manifest) -> None:
    """Check that the format of the output can hold the names of the labels and of the columns that are added.

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
                    f"--output {job.output}: the label {label!r:.80} holds a |, which stands between labels in a "
                    "cell: write JSON lines or Parquet"
                )


def is_empty(part: Path) -> bool:
    """Tell whether an unfinished output holds nothing: a job was killed before its first word."""
    return not any(part.iterdir()) if part.is_dir() else not part.stat().st_size


def described(job: Job, predictor: Answering) -> Journal:
    """Describe a job that begins."""
    if is_stream(job.output):
        return Journal(input={}, model={}, options={})
    read, written = job.formats
    options = {
        "input_format": str(read),
        "output_format": str(written),
        "text_column": job.text_column,
        "text_pair_column": job.text_pair_column,
        "prefix": job.prefix,
        "chunk_rows": job.chunk_rows,
        "chunk_bytes": job.chunk_bytes,
    }
    return Journal(
        input=describe_input(job.input) if job.resumable else {},
        model=describe_model(predictor),
        options=options,
        rejects=str(job.rejects.resolve()) if job.rejects else "",
        overwrite=job.overwrite,
    )
