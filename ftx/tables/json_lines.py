"""Read JSON lines: one object a line, with its numbers as they were written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ftx.tables.cells import Number
from ftx.tables.columns import Columns, repeated
from ftx.tables.lines import NOT_UTF_8, STANDARD_INPUT, Lines
from ftx.tables.table import Record, Table

__all__ = ["read_json_lines"]


def read_json_lines(lines: Lines, columns: Columns) -> Table:
    """Read one object a line; blank lines are skipped. The first usable object gives the names of the columns.

    Where no column is named, the first object must have the usual ones; else an object that lacks one is a bad row.

    Raises:
        DataError: The first object lacks the usual columns.
    """
    table = Table(name=lines.name, done=lines.done)

    def records() -> Iterator[Record]:
        size = 0
        for line in lines:
            bare, undecodable, size, before = line.strip(), lines.take_undecodable(), lines.size, size
            if not bare:
                continue
            try:
                if undecodable:
                    raise ValueError(NOT_UTF_8)
                record = json_object(bare)
                if not table.asked:
                    if columns.text is not None and (lacking := columns.lacking(list(record))):
                        raise ValueError(lacking)
                    optional = [columns.text_pair] if columns.pair_optional else []
                    table.asked = columns.find(f"{lines.name}:{lines.number}", [*record, *optional])
                    table.names = list(record)
            except ValueError as error:
                named = lines.name == STANDARD_INPUT and lines.number == 1 and bare[0] not in "{["
                hint = "; for CSV or plain text give --input-format csv or txt" if named else ""
                yield Record(lines.number, size=size - before, reason=f"{error}{hint}")
                continue
            cells = [record.get(name) for name in table.asked]
            yield Record(lines.number, cells, record, bare, size - before)

    table.records = records()
    return table


def json_object(line: str) -> dict[str, Any]:
    """Read one JSON object, with its numbers as they were written.

    Raises:
        ValueError: It is none; says what was found and expected.
    """
    try:
        record = json.loads(
            line, parse_int=Number, parse_float=Number, parse_constant=Number, object_pairs_hook=unrepeated
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
