"""What a job has done, written beside its output after each chunk, so that it can go on after a kill."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftx import typed
from ftx.advice import advice
from ftx.errors import OutputError
from ftx.runtime.stream.writing import write_whole

__all__ = [
    "DONE",
    "PUBLISHED",
    "RUNNING",
    "Journal",
    "describe_input",
    "describe_model",
    "read_journal",
    "unchanged",
    "write_journal",
]

FORMAT_VERSION = 2
RUNNING, DONE, PUBLISHED = "running", "done", "published"
NOT_DECISIVE = ("intra_op_num_threads", "spinning")  # settings of a predictor with which the answers stay

COUNTS = ("chunks", "rows", "bad_rows", "truncated", "windowed", "output_committed", "rejects_committed")


@dataclass(frozen=True, kw_only=True)
class Journal:
    """A job and how far it is.

    Attributes:
        input: Which file is read; empty for a stream.
        model: Which model answers.
        options: What else decides about the output.
        rejects: The file of the bad rows; empty: none.
        overwrite: Whether the output may replace a file.
        state: `running`; `done`: all rows are written; `published`: the output is at its place.
        chunks: Chunks that are done.
        rows: Rows that are written.
        bad_rows: Rows that were left out.
        truncated: Rows whose text was longer than the model reads, and cut.
        windowed: Rows whose text was read in windows.
        output_committed: Bytes of the output that count; for Parquet, files.
        rejects_committed: Bytes of the file of bad rows that count.
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
    output_committed: int = 0
    rejects_committed: int = 0
    format_version: int = FORMAT_VERSION

    def check_same(self, now: Journal, path: Path) -> None:
        """Check that a job that goes on is the one that was begun.

        Raises:
            OutputError: Input, model, options or the file of bad rows are others.
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
                    f"{path} was begun with another {what.removesuffix('s')}: {name} was {before.get(name)!r}, is "
                    f"{after.get(name)!r}; give what it was begun with, or begin anew with --overwrite, not --resume"
                )
        if self.rejects != now.rejects and self.bad_rows:
            raise OutputError(
                f"{path} was begun with --rejects {self.rejects or 'not given'}, and has {self.bad_rows} bad rows: "
                "give the same, or begin anew with --overwrite, not --resume"
            )


def describe_input(path: Path) -> dict[str, Any]:
    """Tell by what a changed input is noticed."""
    found = path.stat()
    return {"path": str(path.resolve()), "size_bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def unchanged(path: Path, before: dict[str, Any]) -> bool:
    """Tell whether an input is still the one that was described."""
    try:
        return describe_input(path) == before
    except OSError:
        return False


def describe_model(predictor: Any) -> dict[str, Any]:
    """Tell by what another model, or one that is asked otherwise, is noticed: the file's SHA-256 and the settings."""
    settings = {name: value for name, value in asdict(predictor.settings).items() if name not in NOT_DECISIVE}
    return {"sha256": predictor.sha256, **settings}


def read_journal(path: Path) -> Journal | None:
    """Read a journal; None where there is none.

    Raises:
        OutputError: It is not one, or can't be read.
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
    """Put a journal in the place of the last one, so that a crash leaves one of both."""
    fresh = path.with_name(path.name + ".tmp")
    with fresh.open("wb", buffering=0) as file:
        write_whole(file, json.dumps(asdict(journal)).encode())
        os.fsync(file.fileno())
    fresh.replace(path)
