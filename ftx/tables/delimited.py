"""Read delimited text, and one text a line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from typing import Any

from ftx.errors import DataError
from ftx.runtime.stream.columns import check_names
from ftx.runtime.stream.reading import LONGEST_LINE_BYTES, Chunk, Lines, Reading, Row, breaks, chunked, find_texts

__all__ = ["table_chunks"]

DELIMITERS = (",", "\t", ";", "|")


def table_chunks(reading: Reading, lines: Lines, kind: str) -> Iterator[Chunk]:
    """Read delimited text, or one text a line, as chunks of strings.

    Raises:
        DataError: It has no header, or not the columns asked for, or can't be read further.
    """
    names: list[str]
    if kind == "txt":
        names, rows = [reading.text_column or "text"], iter_texts(lines)
    elif kind == "tsv":
        names, rows = read_tsv(lines)
    else:
        names, rows = read_csv(lines, reading)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{lines.name}:1: the column name {twice!r} stands twice; expected each once")
    check_names(f"{lines.name}:1", names, reading.added)
    if reading.plain_cells and any(breaks(name) for name in names):
        raise DataError(f"{lines.name}:1: a column's name holds a tab or line break, which TSV can't: write CSV")
    texts = find_texts(f"{lines.name}:1", names, reading)
    for some in chunked(usable(rows, names, texts, lines, reading, plain=kind != "tsv"), reading):
        yield Chunk(
            texts=[row.text for row in some], names=names, cells=[row.written for row in some], done=lines.done()
        )


Numbered = Iterator[tuple[int, int, list[str] | str]]  # first line, last line, the cells or what is wrong


def usable(
    rows: Numbered, names: list[str], texts: tuple[str, ...], lines: Lines, reading: Reading, *, plain: bool
) -> Iterator[Row | None]:
    """Take the text from each row's cells; None for a bad row."""
    columns = [names.index(name) for name in texts]
    size = lines.size
    for first, last, cells in rows:
        reason = ""
        if lines.take_spoilt():
            reason = "not UTF-8; convert it, with iconv for example"
        elif isinstance(cells, str):
            reason = cells
        elif len(cells) != len(names):
            reason = f"{len(cells)} cells, expected {len(names)} as in the header"
        elif plain and reading.plain_cells and any(map(breaks, cells)):
            reason = "a cell holds a tab or line break, which TSV can't; write CSV or JSON lines"
        if reason:
            spread = f" (lines {first} to {last})" if last > first else ""
            reading.bad(f"{lines.name}:{first}", reason + spread)
            yield None
        elif len(columns) == 2:
            yield Row((cells[columns[0]], cells[columns[1]]), cells, lines.size - size)
        else:
            yield Row(cells[columns[0]], cells, lines.size - size)
        size = lines.size


def iter_texts(lines: Lines) -> Numbered:
    """Read one text a line; an empty line is an empty text."""
    for line in lines:
        yield lines.number, lines.number, [without_end(line)]


def without_end(line: str) -> str:
    """Cut off the line feed, or CR LF."""
    return line.removesuffix("\n").removesuffix("\r")


def read_tsv(lines: Lines) -> tuple[list[str], Numbered]:
    """Read the header between tabs, and give the rows. Quotes stand for themselves."""
    iterator = iter(lines)
    names = without_end(header_line(iterator, lines)).split("\t")

    def rows() -> Numbered:
        for line in iterator:
            bare = without_end(line)
            if bare or len(names) == 1:
                yield lines.number, lines.number, bare.split("\t")

    return names, rows()


def header_line(iterator: Iterator[str], lines: Lines) -> str:
    """Take the first line.

    Raises:
        DataError: There is none, or it is not UTF-8.
    """
    line = next(iterator, "")
    if lines.take_spoilt():
        raise DataError(f"{lines.name}:1: the header is not UTF-8: convert the file, with iconv for example")
    if not without_end(line):
        found = f"{lines.name}:1 is an empty line" if line else f"{lines.name} is empty"
        raise DataError(f"{found}; expected a header line and rows")
    return line


def read_csv(lines: Lines, reading: Reading) -> tuple[list[str], Numbered]:
    """Read the header, find the delimiter by it, and give the rows. Quotes enclose cells and line breaks."""
    csv.field_size_limit(LONGEST_LINE_BYTES)
    iterator = iter(lines)
    first = header_line(iterator, lines)
    try:
        delimiter = find_delimiter(first, reading)
        reader = csv.reader(chain([first], iterator), delimiter=delimiter, strict=True)
        names = next(reader)
    except csv.Error as error:
        hint = "it ends its lines with CR alone: convert it" if "\r" in first[:-2] else "expected a header line"
        raise DataError(f"{lines.name}:1: {error}; {hint}") from error
    if lines.take_spoilt():
        raise DataError(f"{lines.name}:1: the header is not UTF-8: convert the file, with iconv for example")
    return names, csv_rows(reader, lines, delimiter)


def csv_rows(reader: Any, lines: Lines, delimiter: str) -> Numbered:
    """Give the rows; one that breaks the rules of quotes as what is wrong with it."""
    while True:
        first = reader.line_num + 1
        cells: list[str] | str | None
        try:
            cells = next(reader, None)
        except csv.Error as error:
            # Python 3.10 knows no NUL in a cell; that row alone is bad.
            if "field limit" in str(error) or (lines.ended and "NUL" not in str(error)):
                raise DataError(
                    f"{lines.name}:{first}: a quote that is opened in this row is not closed; "
                    'expected " at the end of the cell, and "" for one inside it'
                ) from error
            cells = f"{error}; expected cells separated by {delimiter!r}"
        if cells is None:
            return
        if cells:
            yield first, reader.line_num, cells


def find_delimiter(header: str, reading: Reading) -> str:
    """Find the delimiter under which the header has the columns asked for; else the one that it has most of."""
    wanted = {reading.text_column or "text", *filter(None, (reading.text_pair_column,))}
    for delimiter in DELIMITERS:
        if wanted <= set(*csv.reader([without_end(header)], delimiter=delimiter)):
            return delimiter
    return max(DELIMITERS, key=header.count)
