"""Read tables of labelled text: CSV, TSV, JSON lines and Parquet, each row with the place it came from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftx.errors import DataError

__all__ = ["Row", "read_tables"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled text.

    Attributes:
        where: `file:line`, for messages.
        text: The text.
        label: The label as it was written: a name, or a number.
    """

    where: str
    text: str
    label: str


def read_tables(path: Path, *, text_column: str, label_column: str) -> Iterator[Row]:
    """Read a file, or all files of a folder in the order of their names.

    Raises:
        DataError: With `file:line`: what was found and what was expected.
    """
    files = [path]
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"{path} holds no {', '.join(SUFFIXES)} file")
    for file in files:
        columns: list[str] | None = None
        for number, record in records(file):
            where = f"{file}:{number}"
            if columns is None:
                columns = list(record)
                for column in (text_column, label_column):
                    if column not in record:
                        raise DataError(
                            f"{where}: there is no column {column!r}; the columns are {', '.join(columns)}: "
                            "name yours with --text-column and --label-column"
                        )
            text, label = record.get(text_column), record.get(label_column)
            if text is None:
                raise DataError(f"{where}: the text is missing; expected a value in column {text_column!r}")
            if label is None or str(label).strip() == "":
                raise DataError(f"{where}: the label is missing; expected a value in column {label_column!r}")
            yield Row(where=where, text=str(text), label=plain(label))


def plain(label: Any) -> str:
    """Write a label as text; a whole float, as tables make of integers with gaps, as the integer it was."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label).strip()


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read one file as (line, column values) pairs, by its suffix."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path} is of an unknown kind; expected {', '.join(SUFFIXES)}")
    try:
        if suffix == ".parquet":
            yield from parquet_records(path)
            return
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from (json_records(path, file) if suffix in (".jsonl", ".json") else csv_records(path, file, suffix))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error


def csv_records(path: Path, file: Any, suffix: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read CSV (comma, quotes) or TSV (tabs, quotes as they stand) with a header line."""
    csv.field_size_limit(2**31 - 1)
    if suffix == ".tsv":
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(file, strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise DataError(f"{path} is empty; expected a header line and rows")
        if len(set(header)) != len(header):
            raise DataError(f"{path}:1: a column name stands twice: {', '.join(header)}")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path}:{reader.line_num}: {len(cells)} cells, expected {len(header)} as in the header"
                )
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from error


def json_records(path: Path, file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON lines: one object a line."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: {error}; expected one JSON object a line") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number}: a {type(record).__name__}, expected one JSON object a line")
        yield number, record


def parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read Parquet, row by row."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            number = 0
            for batch in table.iter_batches():
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not Parquet: {str(error).splitlines()[0]}") from error
