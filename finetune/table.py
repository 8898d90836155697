"""Read tables of labelled text: delimited text, JSON lines and Parquet, each row with the place it came from."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftx.errors import DataError
from ftx.finetune.bad_rows import BadRows
from ftx.text import Text, clean

__all__ = ["Columns", "Row", "check_columns", "read_row", "read_tables"]

DELIMITED = (".csv", ".tsv", ".txt")
SUFFIXES = (*DELIMITED, ".jsonl", ".json", ".parquet")
DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a row's text and label stand.

    Attributes:
        text: The column of the texts.
        label: The column of the labels.
        text_pair: The column of the second texts, for pairs; empty: none.
        indicators: For multi-label, in place of `label`: a column a label, with 1 where the text has it, else 0.
        lists: Whether a cell of the label column may hold several labels: `a, b`, `a|b` or `["a", "b"]`.
        delimiter: What separates the cells of a .csv, .tsv or .txt file; empty: found out from its header.
    """

    text: str
    label: str
    text_pair: str = ""
    indicators: tuple[str, ...] = ()
    lists: bool = False
    delimiter: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of the texts."""
        return (self.text, self.text_pair) if self.text_pair else (self.text,)

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read."""
        return (*self.texts, *(self.indicators or (self.label,)))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled text.

    Attributes:
        where: `file:line`, for messages.
        text: The text, or the pair.
        label: The label as it was written, a name or a number; or a list of labels.
    """

    where: str
    text: Text
    label: str | list[str]


def read_tables(path: Path, columns: Columns, bad_rows: BadRows) -> Iterator[Row]:
    """Read a file, or all files of a folder in the order of their names.

    Args:
        path: The file or folder.
        columns: Where text and label stand.
        bad_rows: Takes the rows that can't be used.

    Raises:
        DataError: A file can't be read, lacks a column, or has more bad rows than may be skipped; with `file:line`,
            what was found and what was expected.
    """
    files = [path]
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"{path} holds no {', '.join(SUFFIXES)} file")
    for file in files:
        checked = False
        for number, record in records(file, columns, bad_rows):
            where = f"{file}:{number}"
            if not checked:
                check_columns(where, list(record), columns)
                checked = True
            row = read_row(where, record, columns, bad_rows)
            if row:
                yield row


def read_row(where: str, record: dict[str, Any], columns: Columns, bad_rows: BadRows) -> Row | None:
    """Take a row's text and label from its cells; None for a bad row."""
    texts = [record.get(name) for name in columns.texts]
    if None in texts:
        bad_rows.add(where, f"the text is missing; expected a value in column {columns.texts[texts.index(None)]!r}")
        return None
    try:
        label = indicated(record, columns) if columns.indicators else written(record.get(columns.label), columns)
    except ValueError as error:
        bad_rows.add(where, str(error))
        return None
    first, *second = (clean(str(text)) for text in texts)
    return Row(where=where, text=(first, *second) if second else first, label=label)  # type: ignore[arg-type]


def check_columns(where: str, found: list[str], columns: Columns) -> None:
    """Check that a table has the columns asked for."""
    for column in columns.all:
        if column not in found:
            raise DataError(
                f"{where}: there is no column {column!r}; the columns are {', '.join(found)}: "
                "name yours with --text-column and --label-column"
            )


def indicated(record: dict[str, Any], columns: Columns) -> list[str]:
    """Give the labels whose column holds a 1."""
    given = []
    for name in columns.indicators:
        cell = plain(record.get(name)).lower()
        if cell not in ("0", "1", "false", "true", "0.0", "1.0"):
            raise ValueError(
                f"column {name!r} holds {record.get(name)!r}; expected 1 where the text has the label, else 0"
            )
        if cell in ("1", "true", "1.0"):
            given.append(name)
    return given


def written(label: Any, columns: Columns) -> str | list[str]:
    """Read a label, or a list of labels."""
    if isinstance(label, str) and columns.lists:
        label = listed(label)
    if isinstance(label, (list, tuple)):
        return [plain(one) for one in label]
    if label is None or label != label or str(label).strip() == "":  # NaN is not itself
        raise ValueError(f"the label is missing; expected a value in column {columns.label!r}")
    return plain(label)


def listed(cell: str) -> list[Any]:
    """Read a cell that holds several labels; an empty one holds none."""
    if cell.strip().startswith("["):  # as JSON and pandas write lists
        try:
            values = ast.literal_eval(cell.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise ValueError(f"label {cell!r:.80} is no list; expected one like ['a', 'b'], or a, b") from error
        return list(values)
    return [name.strip() for name in re.split(r"[,;|]", cell) if name.strip()]


def plain(label: Any) -> str:
    """Write a label as text; a whole float, as tables make of integers with gaps, as the integer it was."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return clean(str(label)).strip()


def records(path: Path, columns: Columns, bad_rows: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read one file as (line, column values) pairs, by its suffix."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path} is of an unknown kind; expected {', '.join(SUFFIXES)}")
    try:
        if suffix == ".parquet":
            yield from parquet_records(path)
            return
        with path.open(encoding="utf-8-sig", newline="") as file:
            if suffix in DELIMITED:
                yield from delimited_records(path, file, columns, bad_rows)
            else:
                yield from json_records(path, file, bad_rows)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error


def delimited_records(
    path: Path, file: Any, columns: Columns, bad_rows: BadRows
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read delimited text with a header line. Quotes enclose cells; between tabs they stand for themselves."""
    csv.field_size_limit(2**31 - 1)
    first = file.readline()
    file.seek(0)
    delimiter = columns.delimiter or find_delimiter(first, columns)
    if delimiter == "\t":
        reader = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
        if not header:
            raise DataError(f"{path} is empty; expected a header line and rows")
        if len(set(header)) != len(header):
            raise DataError(f"{path}:1: a column name stands twice: {', '.join(header)}")
        check_columns(f"{path}:1", header, columns)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                found = f"{len(cells)} cells separated by {delimiter!r}"
                bad_rows.add(f"{path}:{reader.line_num}", f"{found}, expected {len(header)} as in the header")
                continue
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}; expected cells separated by {delimiter!r}") from error


def find_delimiter(header: str, columns: Columns) -> str:
    """Find the delimiter under which the header has the columns asked for; else the one that it has most of."""
    for delimiter in DELIMITERS:
        names = [name.strip().strip('"') for name in header.split(delimiter)]
        if set(columns.all) <= set(names):
            return delimiter
    return max(DELIMITERS, key=header.count)


def json_records(path: Path, file: Any, bad_rows: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON lines: one object a line."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            bad_rows.add(f"{path}:{number}", f"{error}; expected one JSON object a line")
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            bad_rows.add(f"{path}:{number}", f"a {type(record).__name__}, expected one JSON object a line")


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
