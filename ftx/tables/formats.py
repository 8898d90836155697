"""The format of a file, by its name or as the user says, and the tables in a folder."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from ftx.errors import DataError, FtxError
from ftx.tables.lines import STDIO, unreadable

__all__ = ["INPUT_FORMATS", "Format", "find_format", "input_format", "is_stream", "is_table", "table_files"]

SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".txt": "txt", ".parquet": "parquet"}
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
INPUT_FORMATS = ("csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz", "txt", "txt.gz", "parquet")


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


def input_format(path: Path, named: str | None = None, option: str = "--input-format") -> Format:
    """Find the format of an input.

    Args:
        path: The file; `-` is standard input.
        named: The format, where its name does not tell.
        option: The option that names it; empty: there is none.

    Raises:
        DataError: It is unknown, or can't be read from a stream.
    """
    found = find_format(path, named, INPUT_FORMATS, option, DataError)
    if found.kind == "parquet" and is_stream(path):
        raise DataError(f"{path} is a stream, and Parquet is read from its end: write it to a file first")
    return found


def find_format(path: Path, named: str | None, known: tuple[str, ...], option: str, error: type[FtxError]) -> Format:
    """Take the format that the user names, else the one that the suffix stands for.

    Raises:
        FtxError: It is none of those known; of the class given.
    """
    if named is None:
        named = "jsonl" if str(path) == STDIO else named_by_suffix(path)
        if named not in known:
            if path.suffix.lower() in SPREADSHEETS:
                raise error(f"{path} is a spreadsheet: save it as CSV in the program that wrote it, and give that file")
            hint = f", or give {option}" if option else ""
            raise error(f"{path} is of an unknown kind; expected a name in .{', .'.join(known)}{hint}")
    if named not in known:
        raise error(f"{option} {named}, expected one of {', '.join(known)}")
    return Format(kind=named.removesuffix(".gz"), gz=named.endswith(".gz"))


def named_by_suffix(path: Path) -> str:
    """Name the format that a suffix stands for; empty: none."""
    *_, inner, last = ("", "", *(suffix.lower() for suffix in path.suffixes))
    gz = last == ".gz"
    kind = SUFFIXES.get(inner if gz else last, "")
    return f"{kind}.gz" if gz else kind


def is_table(path: Path) -> bool:
    """Tell whether a file has the name of a table."""
    return named_by_suffix(path) in INPUT_FORMATS


def table_files(path: Path) -> list[Path]:
    """Give a file, or all tables of a folder in the order of their names; hidden files are not read.

    Raises:
        DataError: The folder can't be read, or holds no table.
    """
    try:
        if not path.is_dir():
            return [path]
        found = sorted(entry for entry in path.iterdir() if is_table(entry) and not entry.name.startswith("."))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not found:
        raise DataError(f"{path} holds no table; expected files named .{', .'.join(INPUT_FORMATS)}")
    return found


def is_stream(path: Path) -> bool:
    """Tell whether a path is standard input or output, a pipe or a device: it can't be read twice nor renamed."""
    if str(path) == STDIO:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
