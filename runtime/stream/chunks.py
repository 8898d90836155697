"""Read a job's input chunk by chunk."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple

from ftx.runtime.stream.parquet import parquet_chunks
from ftx.runtime.stream.reading import TSV_CELL, Chunk, Reading, breaks
from ftx.tables.cells import Number, texts_of
from ftx.tables.formats import Format
from ftx.tables.reading import open_table
from ftx.tables.table import Table
from ftx.text import Text

__all__ = ["chunks_of"]


class Row(NamedTuple):
    """One row: its text, what is written of it (cells, or a JSON object), and its size in bytes."""

    text: Text
    written: Any
    size: int


def chunks_of(reading: Reading, form: Format) -> Generator[Chunk, None, None]:
    """Read an input in a format, as one chunk at least.

    JSON lines become objects, or cells where the output is a table: its columns are the keys of the first object; a
    later one may lack some, and has no others. Values that are not strings become JSON text, and null an empty cell.

    Raises:
        DataError: It can't be read, lacks the columns of the texts, or has one that predictions add.
    """
    if form.kind == "parquet":
        yield from parquet_chunks(reading)
        return
    as_objects = form.kind == "jsonl" and reading.form == "objects"
    with open_table(reading.path, form, reading.columns) as table:
        if table.names:
            reading.check_header(f"{table.name}:1", table.names)
        for rows in chunked(usable(table, reading, form.kind), reading):
            written = [row.written for row in rows]
            yield Chunk(
                texts=[row.text for row in rows],
                names=table.names or [reading.columns.texts[0]],
                cells=[] if as_objects else written,
                objects=written if as_objects else None,
                done=table.done(),
                notice=table.notice,
            )


def chunked(rows: Iterable[Row | None], reading: Reading) -> Iterator[list[Row]]:
    """Gather rows into one chunk or more. Each ends by its rows, bad ones (None) included, or by its bytes."""
    some: list[Row] = []
    seen = size = chunks = 0
    for row in rows:
        seen += 1
        if row is not None:
            some.append(row)
            size += row.size
        if seen >= reading.chunk_rows or size >= reading.chunk_bytes:
            yield some
            some, seen, size = [], 0, 0
            chunks += 1
    if seen or not chunks:
        yield some


def usable(table: Table, reading: Reading, kind: str) -> Iterator[Row | None]:
    """Take the text of each row, and what is written of it; None for a bad row."""
    as_objects = reading.form == "objects"
    plain = reading.plain_cells and kind != "tsv"  # whose cells are such already
    for record in table.records:
        where = f"{table.name}:{record.line}"
        try:
            if record.reason:
                raise ValueError(record.reason)
            written: Any = record.whole
            if kind == "jsonl":
                reading.check_header(where, record.whole)
                written = record.written if as_objects else object_cells(record.whole, table.names)
            if plain and any(breaks(cell) for cell in written if cell is not None):
                raise ValueError(TSV_CELL)
            yield Row(texts_of(record.cells, table.asked), written, record.size)
        except ValueError as error:
            reading.bad(where, str(error))
            yield None


def object_cells(record: dict[str, Any], names: list[str]) -> list[str | None]:
    """Write an object's values as cells.

    Raises:
        ValueError: It has a key that the first object lacks, or a value that is nested too deeply.
    """
    if extra := [name for name in record if name not in names]:
        raise ValueError(f"the key {extra[0]!r:.60} is not in the first object; write JSON lines to keep it")
    cells: list[str | None] = []
    for name in names:
        value = record.get(name)
        try:
            cells.append(None if value is None else str(value) if isinstance(value, str) else as_json(value))
        except RecursionError as error:
            raise ValueError(f"{name!r} is nested too deeply for a cell") from error
    return cells


def as_json(value: Any) -> str:
    """Write a value as JSON, its numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {as_json(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_json, value)) + "]"
    return json.dumps(value)
