"""Read JSON lines. What goes out as JSON lines again keeps its text to the letter: 1.10 stays 1.10."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ftx.errors import DataError
from ftx.runtime.stream.columns import check_names, listed
from ftx.runtime.stream.reading import Chunk, Lines, Reading, Row, breaks, chunked, find_texts
from ftx.text import Text

__all__ = ["json_chunks"]


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class BadRowError(Exception):
    """A row can't be used; says why."""


@dataclass(kw_only=True)
class Shape:
    """What the first object says of all: the columns, and which of them hold the texts."""

    names: list[str] = field(default_factory=list)
    texts: tuple[str, ...] = ()


def json_chunks(reading: Reading, lines: Lines) -> Iterator[Chunk]:
    """Read JSON lines as chunks of objects, or of strings where the output is a table.

    A table's columns are the keys of the first object: a later one may lack some, and has no others. Cells that are no
    strings become JSON text, and null an empty cell.

    Raises:
        DataError: The columns asked for are not there, or the lines can't be read further.
    """
    shape = Shape()
    for some in chunked(objects(reading, lines, shape), reading):
        written: dict[str, Any] = {"objects" if reading.form == "objects" else "cells": [row.written for row in some]}
        names = shape.names or [reading.text_column or "text"]
        yield Chunk(texts=[row.text for row in some], names=names, **written, done=lines.done())


def objects(reading: Reading, lines: Lines, shape: Shape) -> Iterator[Row | None]:
    """Read one object a line; None for a bad row. Empty lines are left out."""
    size = lines.size
    for line in lines:
        bare = line.strip()
        if bare:
            try:
                yield read_object(bare, lines.take_spoilt(), reading, shape, lines, lines.size - size)
            except BadRowError as error:
                reading.bad(f"{lines.name}:{lines.number}", str(error))
                yield None
        size = lines.size


def read_object(line: str, spoilt: bool, reading: Reading, shape: Shape, lines: Lines, size: int) -> Row:
    """Read an object and take its text."""
    if spoilt:
        raise BadRowError("not UTF-8; convert it, with iconv for example")
    where = f"{lines.name}:{lines.number}"
    try:
        record = json.loads(
            line, parse_int=Number, parse_float=Number, parse_constant=Number, object_pairs_hook=unrepeated
        )
    except json.JSONDecodeError as error:
        raise BadRowError(f"{error.msg} at character {error.pos + 1}; expected one JSON object a line") from error
    except RecursionError as error:
        raise BadRowError("nested too deeply; expected one JSON object a line") from error
    if not isinstance(record, dict):
        kind = "number" if isinstance(record, Number) else type(record).__name__
        raise BadRowError(f"a {kind}, expected one JSON object a line")
    if not shape.texts:
        expected = list(record)
        if reading.text_column is not None:  # named: an object without it is a bad row, not a bad file
            expected += [name for name in (reading.text_column, reading.text_pair_column) if name]
        shape.texts = find_texts(where, expected, reading)
        shape.names = list(dict.fromkeys((*record, *shape.texts)))
        if reading.plain_cells and any(map(breaks, shape.names)):
            raise DataError(f"{where}: a key holds a tab or line break, which TSV can't: write CSV")
    check_names(where, record, reading.added)
    parts = [text_of(record, name) for name in shape.texts]
    text: Text = (parts[0], parts[1]) if len(parts) == 2 else parts[0]
    return Row(text, line if reading.form == "objects" else cells_of(record, reading, shape), size)


def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; refuse a key that stands twice, of which one value would be lost."""
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRowError(f"the key {twice!r:.60} stands twice; expected each once")
    return record


def text_of(record: dict[str, Any], name: str) -> str:
    """Take a text; a number is one, as it is written."""
    cell = record.get(name)
    if not isinstance(cell, str):
        if cell is None:
            found = "null" if name in record else f"missing; the keys are {listed(record)}"
            raise BadRowError(f"the text is {found}; expected a string in {name!r}")
        raise BadRowError(f"{name!r} holds a {type(cell).__name__}; expected a string")
    return str(cell)


def cells_of(record: dict[str, Any], reading: Reading, shape: Shape) -> list[str | None]:
    """Write an object's values as cells."""
    if extra := [name for name in record if name not in shape.names]:
        raise BadRowError(f"the key {extra[0]!r:.60} is not in the first object; write JSON lines to keep it")
    cells: list[str | None] = []
    for name in shape.names:
        value = record.get(name)
        try:
            cell = None if value is None else str(value) if isinstance(value, str) else as_json(value)
        except RecursionError as error:
            raise BadRowError(f"{name!r} is nested too deeply for a cell") from error
        if reading.plain_cells and cell is not None and breaks(cell):
            raise BadRowError("a cell holds a tab or line break, which TSV can't; write CSV or JSON lines")
        cells.append(cell)
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
