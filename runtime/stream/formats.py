"""The format of a job's output, and whether standard output can take it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ftx.errors import OutputError
from ftx.tables.formats import INPUT_FORMATS, Format, find_format, is_stream

__all__ = ["OUTPUT_FORMATS", "is_closed_stdout", "output_format"]

STDOUT_NAMES = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
MOST_LINKS = 40  # as many as Linux follows
OUTPUT_FORMATS = tuple(name for name in INPUT_FORMATS if not name.startswith("txt"))


def output_format(path: Path, named: str | None) -> Format:
    """Find the format of an output.

    Raises:
        OutputError: It is unknown, or can't be written to a stream.
    """
    found = find_format(path, named, OUTPUT_FORMATS, "--output-format", OutputError)
    if found.kind == "parquet" and is_stream(path):
        raise OutputError(f"{path} is a stream, to which Parquet is not written: give a file, or --output-format jsonl")
    return found


def is_closed_stdout(path: Path) -> bool:
    """Tell whether a path leads to standard output by its number, and that is closed.

    Writing to the closed descriptor fails, but a file opened anew by that name takes what is written, and it is lost.
    """
    for _ in range(MOST_LINKS):
        if str(path) in STDOUT_NAMES:
            try:
                os.write(1, b"")
            except OSError as error:
                return error.errno == errno.EBADF
            return False
        try:
            path = path.parent / path.readlink()
        except (OSError, ValueError):
            return False
    return False
