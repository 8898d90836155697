"""Read the rows of a file as the cells of some columns: delimited text, JSON lines and Parquet."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ftx.errors import DataError
from ftx.finetune.data.bad_rows import BadRows
from ftx.finetune.data.cells import Number, listed
from ftx.finetune.data.lines import LONGEST_LINE_BYTES, Lines, check_file

__all__ = ["SUFFIXES", "Record", "check_columns", "is_delimiter", "records"]

DELIMITED = (".csv", ".tsv", ".txt")
SUFFIXES = (*DELIMITED, ".jsonl", ".json", ".parquet")
DELIMITERS = (",", "\t", ";", "|")
BATCH_ROWS, BATCH_BYTES = 2**13, 2**24
NOT_UTF_8 = "not UTF-8; convert it, with iconv for example"

Record = tuple[int, dict[str, Any]]  # the row's first line, and its cells by column


def records(path: Path, columns: tuple[str, ...], delimiter: str, bad_rows: BadRows) -> Iterator[Record]:
    """Read one file, by its suffix.

    Args:
        path: The file.
        columns: Those that are wanted.
        delimiter: What separates the cells of delimited text; empty: found out from its header.
        bad_rows: Takes the rows that can't be read.

    Raises:
        DataError: It can't be read, or lacks a column.
    """
    check_file(path)
    suffix = path.suffix.lower()
    if suffix == ".gz":
        raise DataError(f"{path} is gzip, which is not read here: unpack it with gunzip")
    if suffix not in SUFFIXES:
        raise DataError(f"{path} is of an unknown kind; expected {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        yield from parquet_records(path, columns)
        return
    with Lines(path) as lines:
        if suffix in DELIMITED:
            yield from delimited_records(lines, columns, delimiter, bad_rows)
        else:
            yield from json_records(lines, columns, bad_rows)


def is_delimiter(delimiter: str) -> bool:
    """Tell whether cells can be separated by this; empty: what the header says."""
    return len(delimiter) <= 1 and delimiter not in ('"', "\r", "\n", "\0")


def check_columns(where: str, found: Iterable[str], columns: tuple[str, ...]) -> None:
    """Check that a table has the columns asked for, each once.

    Raises:
        DataError: One is not there, or a name stands twice.
    """
    names = list(found)
    if len(set(names)) != len(names):
        raise DataError(f"{where}: the column name {repeated(names)!r:.80} stands twice; expected each once")
    for column in columns:
        if column not in names:
            hint = "; it looks like UTF-16: convert it to UTF-8" if any("\0" in name for name in names) else ""
            raise DataError(
                f"{where}: there is no column {column!r:.80}; the columns are {listed(names)}: "
                f"name yours with --text-column and --label-column{hint}"
            )


def repeated(names: Iterable[str]) -> str:
    """Give the first name that stands twice."""
    return next(name for name, count in Counter(names).items() if count > 1)


def delimited_records(lines: Lines, columns: tuple[str, ...], delimiter: str, bad_rows: BadRows) -> Iterator[Record]:
    """Read delimited text with a header line. Quotes enclose cells; between tabs they stand for themselves."""
    iterator = iter(lines)
    first = next(iterator, "")
    if not first:
        raise DataError(f"{lines.path} is empty; expected a header line and rows")
    if "\r" in first.rstrip("\r\n"):
        raise DataError(f"{lines.path} ends its lines with CR alone: convert it, with dos2unix -c mac for example")
    if not is_delimiter(delimiter):
        raise DataError(f"the delimiter is {delimiter!r:.80}, expected one character, no quote or line break")
    delimiter = delimiter or find_delimiter(first, columns)
    if delimiter == "\t":
        header, rows = without_end(first).split("\t"), tab_rows(lines, iterator)
    else:
        header, rows = comma_rows(lines, chain([first], iterator), delimiter)
    if lines.take_spoilt():
        raise DataError(f"{lines.path}:1: the header is {NOT_UTF_8}")
    check_columns(f"{lines.path}:1", header, columns)
    places = {name: header.index(name) for name in columns}
    for start, cells in rows:
        reason = ""
        if lines.take_spoilt():
            reason = NOT_UTF_8
        elif isinstance(cells, str):
            reason = cells
        elif len(cells) != len(header):
            reason = f"{len(cells)} cells separated by {delimiter!r}, expected {len(header)} as in the header"
        if reason:
            spread = f" (lines {start} to {lines.number})" if lines.number > start else ""
            bad_rows.add(f"{lines.path}:{start}", reason + spread)
        else:
            yield start, {name: cells[place] for name, place in places.items()}


def without_end(line: str) -> str:
    """Cut off the line feed, or CR LF."""
    return line.removesuffix("\n").removesuffix("\r")


def tab_rows(lines: Lines, iterator: Iterator[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Give the first line of each row between tabs, and its cells."""
    for line in iterator:
        if bare := without_end(line):
            yield lines.number, bare.split("\t")


def comma_rows(
    lines: Lines, text: Iterator[str], delimiter: str
) -> tuple[list[str], Iterator[tuple[int, list[str] | str]]]:
    """Give the header, and then the first line of each row, and its cells or what is wrong with its quotes."""
    csv.field_size_limit(LONGEST_LINE_BYTES)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(reader)
    except csv.Error as error:
        raise DataError(f"{lines.path}:1: {error}; expected a header line") from error

    def rows() -> Iterator[tuple[int, list[str] | str]]:
        while True:
            start = reader.line_num + 1
            try:
                cells: list[str] | str | None = next(reader, None)
            except csv.Error as error:
                # Python 3.10 knows no NUL in a cell; that row alone is bad.
                if "field limit" in str(error) or (lines.ended and "NUL" not in str(error)):
                    raise DataError(
                        f"{lines.path}:{start}: a quote that is opened in this row is not closed; "
                        'expected " at the end of the cell, and "" for one inside it'
                    ) from error
                cells = f"{error}; expected cells separated by {delimiter!r}"
            if cells is None:
                return
            if cells:
                yield start, cells

    return header, rows()


def find_delimiter(header: str, columns: tuple[str, ...]) -> str:
    """Find the delimiter under which the header has the columns asked for; else the one that it has most of."""
    for delimiter in DELIMITERS:
        names = [name.strip().strip('"') for name in without_end(header).split(delimiter)]
        if set(columns) <= set(names):
            return delimiter
    return max(DELIMITERS, key=header.count)


def json_records(lines: Lines, columns: tuple[str, ...], bad_rows: BadRows) -> Iterator[Record]:
    """Read JSON lines: one object a line. The first one says whether the columns are there."""
    checked = False
    for line in lines:
        spoilt = lines.take_spoilt()
        if not line.strip():
            continue
        try:
            if spoilt:
                raise ValueError(NOT_UTF_8)
            record = json_object(line)
        except ValueError as error:
            bad_rows.add(f"{lines.path}:{lines.number}", str(error))
            continue
        if not checked:
            check_columns(f"{lines.path}:{lines.number}", record, columns)
            checked = True
        yield lines.number, {name: record.get(name) for name in columns}


def json_object(line: str) -> dict[str, Any]:
    """Read one JSON object, with its numbers as they were written.

    Raises:
        ValueError: It is none; says what was found and expected.
    """
    try:
        record = json.loads(
            line,
            parse_int=Number,
            parse_float=Number,
            parse_constant=lambda name: None if name == "NaN" else Number(name),
            object_pairs_hook=unrepeated,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1}; expected one JSON object a line") from error
    except RecursionError as error:
        raise ValueError("nested too deeply; expected one JSON object a line") from error
    if not isinstance(record, dict):
        kind = "number" if isinstance(record, Number) else type(record).__name__
        raise ValueError(f"a {kind}, expected one JSON object a line")
    return record


def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; refuse a key that stands twice, of which one value would be lost."""
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError(f"the key {repeated(name for name, _ in pairs)!r:.80} stands twice; expected each once")
    return record


def parquet_records(path: Path, columns: tuple[str, ...]) -> Iterator[Record]:
    """Read Parquet, row by row, the wanted columns alone."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            names, meta = table.schema_arrow.names, table.metadata
            check_columns(str(path), names, columns)
            groups = [meta.row_group(group) for group in range(meta.num_row_groups)]
            row_bytes = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
            rows = max(1, min(BATCH_ROWS, int(BATCH_BYTES / max(1, row_bytes))))
            for batch in table.iter_batches(batch_size=rows, columns=list(columns), use_threads=False):
                cells = [values(batch.column(name)) for name in columns]
                for row in zip(*cells, strict=True):
                    number += 1
                    yield number, dict(zip(columns, row, strict=True))
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # Arrow raises the latter two as well
        said = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        where = f"{path}:{number + 1}" if number else path
        raise DataError(f"{where} can't be read as Parquet: {said}") from error


def values(column: Any) -> list[Any]:
    """Give a column's values; in place of one that Python has not, the error: what is not UTF-8, the year 20000."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [value(scalar) for scalar in column]


def value(scalar: Any) -> Any:
    """Give one value, or the error."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError) as error:
        return error
