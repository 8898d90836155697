"""Which format a file is in, by its suffix or as the user says."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ftx.errors import DataError, FtxError, OutputError

__all__ = [
    "INPUT_FORMATS",
    "OUTPUT_FORMATS",
    "STDIO",
    "Format",
    "input_format",
    "is_closed_stdout",
    "is_stream",
    "output_format",
]

STDIO = "-"
STDOUT_NAMES = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
MOST_LINKS = 40  # as many as Linux follows
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".txt": "txt",
    ".parquet": "parquet",
}
INPUT_FORMATS = (
    "csv",
    "csv.gz",
    "tsv",
    "tsv.gz",
    "jsonl",
    "jsonl.gz",
    "txt",
    "txt.gz",
    "parquet",
)
OUTPUT_FORMATS = tuple(name for name in INPUT_FORMATS if not name.startswith("txt"))


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file's format.

    Attributes:
        kind: `csv`, `tsv`, `jsonl`, `txt` or `parquet`.
        gz: Whether it is compressed with gzip.
    """

    kind: str
    gz: bool = False

    def __str__(self) -> str:
        return f"{self.kind}.gz" if self.gz else self.kind


def input_format(path: Path, named: str | None) -> Format:
    """Find the format of an input.

    Raises:
        DataError: It is unknown, or can't be read from a stream.
    """
    found = find(path, named, INPUT_FORMATS, "--input-format", DataError)
    if found.kind == "parquet" and is_stream(path):
        raise DataError(f"{path} is a stream, and Parquet is read from its end: write it to a file first")
    return found


def output_format(path: Path, named: str | None) -> Format:
    """Find the format of an output.

    Raises:
        OutputError: It is unknown, or can't be written to a stream.
    """
    found = find(path, named, OUTPUT_FORMATS, "--output-format", OutputError)
    if found.kind == "parquet" and is_stream(path):
        raise OutputError(f"{path} is a stream, to which Parquet is not written: give a file, or --output-format jsonl")
    return found


def find(path: Path, named: str | None, known: tuple[str, ...], option: str, error: type[FtxError]) -> Format:
    """Take the format that the user names, else the one that the suffix stands for."""
    if named is None and str(path) == STDIO:
        named = "jsonl"
    if named is None:
        *_, inner, last = ("", "", *(suffix.lower() for suffix in path.suffixes))
        gz = last == ".gz"
        kind = SUFFIXES.get(inner if gz else last, "")
        named = f"{kind}.gz" if gz else kind
        if named not in known:
            raise error(f"{path} is of an unknown kind; expected a name in .{', .'.join(known)}, or give {option}")
    if named not in known:
        raise error(f"{option} {named}, expected one of {', '.join(known)}")
    return Format(kind=named.removesuffix(".gz"), gz=named.endswith(".gz"))


def is_stream(path: Path) -> bool:
    """Tell whether a path is standard input or output, a pipe or a device: it can't be read twice nor renamed."""
    if str(path) == STDIO:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def is_closed_stdout(path: Path) -> bool:
    """Tell whether a path leads to standard output by its number, and that is closed.

    What stands there in its place then takes no words, but opened anew by its name it takes them, and they are lost.
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
