"""A job's journal: its progress, written beside the output after each chunk, so that it can be resumed after a kill."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftx import typed
from ftx.advice import advice
from ftx.errors import OutputError
from ftx.runtime.stream.job import Classifier, Job
from ftx.runtime.stream.writing import write_whole
from ftx.tables.formats import is_stream

__all__ = [
    "DONE",
    "PUBLISHED",
    "RUNNING",
    "Journal",
    "model_identity",
    "new_journal",
    "read_journal",
    "unchanged",
    "write_journal",
]

FORMAT_VERSION = 2
RUNNING, DONE, PUBLISHED = "running", "done", "published"
# Settings that don't change the predictions, and may differ when a job is resumed.
FREE_SETTINGS = ("intra_op_num_threads", "spinning")
# What decides about the output besides input and model.
OPTIONS = ("text_column", "text_pair_column", "prefix", "chunk_rows", "chunk_bytes")

COUNTS = (
    "chunks",
    "rows",
    "bad_rows",
    "truncated",
    "windowed",
    "beyond_calibration",
    "output_committed",
    "rejects_committed",
)


@dataclass(frozen=True, kw_only=True)
class Journal:
    """A job and its progress.

    Attributes:
        input: Which file is read; empty for a stream.
        model: Which model predicts, and with which settings.
        options: What else decides about the output.
        rejects: The file of bad rows; empty: none.
        overwrite: Whether the output may replace a file.
        state: `running`; `done`: all rows are written; `published`: the output is at its place.
        chunks: Chunks that are done.
        rows: Rows that are written.
        bad_rows: Rows that were skipped.
        truncated: Rows whose text was longer than the model reads, and was truncated.
        windowed: Rows whose text was read in windows.
        beyond_calibration: Rows whose text is longer than those that static int8 was calibrated on.
        output_committed: Committed bytes of the output; for Parquet, files.
        rejects_committed: Committed bytes of the file of bad rows.
    """

    input: dict[str, Any]
    model: dict[str, Any]
    options: dict[str, Any]
    rejects: str = ""
    overwrite: bool = False
    state: str = RUNNING
    chunks: int = 0
    rows: int = 0
    bad_rows: int = 0
    truncated: int = 0
    windowed: int = 0
    beyond_calibration: int = 0
    output_committed: int = 0
    rejects_committed: int = 0
    format_version: int = FORMAT_VERSION

    def check_same(self, now: Journal, path: Path) -> None:
        """Check that a resumed job is the one that was started.

        Raises:
            OutputError: Input, model, options or the file of bad rows have changed.
        """
        for what, before, after in (
            ("input", self.input, now.input),
            ("model", self.model, now.model),
            ("options", self.options, now.options),
        ):
            changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
            if changed:
                name = changed[0]
                raise OutputError(
                    f"{path} was started with another {what.removesuffix('s')}: {name} was {before.get(name)!r}, is "
                    f"{after.get(name)!r}; use what it was started with, or start over with --overwrite, not --resume"
                )
        if self.rejects != now.rejects and self.bad_rows:
            raise OutputError(
                f"{path} was started with --rejects {self.rejects or 'not given'}, and has {self.bad_rows} bad rows: "
                "give the same, or start over with --overwrite, not --resume"
            )


def new_journal(job: Job, model: Classifier) -> Journal:
    """Begin the journal of a job."""
    if is_stream(job.output):
        return Journal(input={}, model={}, options={})
    read, written = job.formats
    options = {"input_format": str(read), "output_format": str(written)}
    return Journal(
        input=input_identity(job.input) if job.resumable else {},
        model=model_identity(model),
        options=options | {name: getattr(job, name) for name in OPTIONS},
        rejects=str(job.rejects.resolve()) if job.rejects else "",
        overwrite=job.overwrite,
    )


def input_identity(path: Path) -> dict[str, Any]:
    """Return what tells a changed input: path, size and time."""
    found = path.stat()
    return {"path": str(path.resolve()), "size_bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def unchanged(path: Path, before: dict[str, Any]) -> bool:
    """Tell whether an input is still the one with this identity."""
    try:
        return input_identity(path) == before
    except OSError:
        return False


def model_identity(model: Classifier) -> dict[str, Any]:
    """Return what tells another model, or other predictions: the SHA-256 of file and fallback, and the settings."""
    settings = {name: value for name, value in asdict(model.settings).items() if name not in FREE_SETTINGS}
    if settings.pop("fallback") is not None and model.fallback:
        settings["fallback_sha256"] = model.fallback.sha256
    return {"sha256": model.sha256, **settings}


def read_journal(path: Path) -> Journal | None:
    """Read a journal, if there is one.

    Raises:
        OutputError: It is not a journal, or can't be read.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version {values['format_version']}, expected {FORMAT_VERSION}")
        journal = Journal(**values)
        if journal.state not in (RUNNING, DONE, PUBLISHED):
            raise ValueError(f"state {journal.state!r}, expected {RUNNING}, {DONE} or {PUBLISHED}")
        for name in COUNTS:
            typed.whole(getattr(journal, name), name, most=2**63 - 1)
        return journal
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path}, a job's journal, can't be read: {error.strerror}: {advice(error)}") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise OutputError(
            f"{path} is not the journal of an unfinished job ({error}): remove it, or choose another --output"
        ) from error


def write_journal(path: Path, journal: Journal) -> None:
    """Replace a journal atomically: a crash leaves the old one or the new one."""
    fresh = path.with_name(path.name + ".tmp")
    with fresh.open("wb", buffering=0) as file:
        write_whole(file, json.dumps(asdict(journal)).encode())
        os.fsync(file.fileno())
    fresh.replace(path)
