"""Read delimited text, and one text a line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain

from ftx.errors import DataError
from ftx.tables.columns import Columns, check_once, looks_like_a_row
from ftx.tables.lines import LONGEST_LINE_BYTES, NOT_UTF_8, Lines, without_end
from ftx.tables.table import Record, Table

__all__ = ["read_delimited"]

DELIMITERS = (",", "\t", ";", "|")

Rows = Iterator[tuple[int, list[str] | str]]  # first line, and the cells or why they can't be read


def read_delimited(lines: Lines, columns: Columns, kind: str) -> Table:
    """Read delimited text with a header line, or one text a line.

    A .txt file is a table where a column is named, or where its first line has several columns and `text` among them.
    Quotes enclose cells; between the tabs of .tsv and .txt they have no meaning.

    Args:
        lines: The open file.
        columns: Those that are wanted.
        kind: `csv`, `tsv` or `txt`.

    Raises:
        DataError: It has no header, or lacks a column.
    """
    csv.field_size_limit(LONGEST_LINE_BYTES)
    iterator, notice = iter(lines), ""
    first = next(iterator, "")
    delimiter = columns.delimiter or ("\t" if kind == "tsv" else find_delimiter(first, columns.needed))
    if kind == "txt" and columns.text is None and not set(columns.labels) & set(columns.needed):
        found = split(first, delimiter)
        if len(found) == 1 or "text" not in found:
            notice = f"{lines.name} is read as one text a line: its first line is no header with a column 'text'"
            every = chain([] if lines.ended else [first], iterator)
            return table(lines, columns, ["text"], ((lines.number, [without_end(line)]) for line in every), notice)
        notice = f"{lines.name} is read as a table: its first line is a header with a column 'text'"
    if not without_end(first):
        empty = f"{lines.name} is empty" if lines.ended else f"{lines.name}:1 is an empty line"
        raise DataError(f"{empty}; expected a header line and rows")
    header = between_tabs if delimiter == "\t" and kind != "csv" else quoted
    names, rows = header(lines, first, iterator, delimiter)
    if lines.take_undecodable():
        raise DataError(f"{lines.name}:1: the header is {NOT_UTF_8}")
    return table(lines, columns, names, rows, notice, delimiter)


def find_delimiter(header: str, wanted: tuple[str, ...]) -> str:
    """Find the delimiter under which a header has the columns wanted; else the one that occurs most."""
    fitting = (delimiter for delimiter in DELIMITERS if set(wanted) <= set(split(header, delimiter)))
    return next(fitting, max(DELIMITERS, key=header.count))


def split(line: str, delimiter: str) -> list[str]:
    """Split the first line of a header, which may continue in the next."""
    try:
        return next(csv.reader([without_end(line)], delimiter=delimiter), [""])
    except csv.Error:
        return [line]


def between_tabs(lines: Lines, first: str, iterator: Iterator[str], delimiter: str) -> tuple[list[str], Rows]:
    """Return the header and the rows; quotes have no meaning."""
    names = without_end(first).split(delimiter)
    if "\r" in without_end(first):
        raise cr_alone(lines)

    def rows() -> Rows:
        for line in iterator:
            bare = without_end(line)
            if bare or len(names) == 1:
                yield lines.number, bare.split(delimiter)

    return names, rows()


def quoted(lines: Lines, first: str, iterator: Iterator[str], delimiter: str) -> tuple[list[str], Rows]:
    """Return the header and the rows; quotes enclose cells with delimiters and line breaks."""
    reader = csv.reader(chain([first], iterator), delimiter=delimiter, strict=True)
    try:
        names = next(reader)
    except csv.Error as error:
        if "\r" in without_end(first):
            raise cr_alone(lines) from error
        raise DataError(f"{lines.name}:1: {error}; expected a header line") from error

    def rows() -> Rows:
        while True:
            start = reader.line_num + 1
            try:
                cells: list[str] | str | None = next(reader, None)
            except csv.Error as error:
                if "field limit" in str(error) or lines.ended:
                    raise DataError(
                        f"{lines.name}:{start}: a quote that is opened in this row is not closed; "
                        'expected " at the end of the cell, and "" for one inside it'
                    ) from error
                cells = f"{error}; expected cells separated by {delimiter!r}"
            if cells is None:
                return
            if cells:
                yield start, cells

    return names, rows()


def cr_alone(lines: Lines) -> DataError:
    """Report lines that end with CR alone, as on old Macs."""
    return DataError(f"{lines.name} ends its lines with CR alone: convert it, with dos2unix -c mac for example")


def table(lines: Lines, columns: Columns, names: list[str], rows: Rows, notice: str, delimiter: str = "") -> Table:
    """Check the header, and make the rows records."""
    check_once(f"{lines.name}:1", names)
    asked = columns.find(f"{lines.name}:1", names)
    if delimiter and asked[0] not in columns.texts and looks_like_a_row(asked):
        notice = (
            f"{lines.name}: the first line is taken for the header, but looks like a text: {asked[0]!r:.80}; if it is "
            "one, name the file .txt, which is read as one text a line"
        )
    places = [names.index(name) for name in asked]
    size = lines.size if delimiter else 0  # without a header, the first line is a row already

    def records(size: int) -> Iterator[Record]:
        for start, cells in rows:
            reason = ""
            if lines.take_undecodable():
                reason = NOT_UTF_8
            elif isinstance(cells, str):
                reason = cells
            elif len(cells) != len(names):
                reason = f"{len(cells)} cells separated by {delimiter!r}, expected {len(names)} as in the header"
            if reason:
                spread = f" (lines {start} to {lines.number})" if lines.number > start else ""
                yield Record(start, size=lines.size - size, reason=reason + spread)
            else:
                yield Record(start, [cells[place] for place in places], cells, size=lines.size - size)
            size = lines.size

    return Table(name=lines.name, records=records(size), names=names, asked=asked, notice=notice, done=lines.done)
