"""Read tables of labelled text, each row with its file and line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftx.tables.bad_rows import BadRows
from ftx.tables.cells import LONGEST_TEXT, is_one, label_of, texts_of
from ftx.tables.columns import Columns
from ftx.tables.reading import read_files
from ftx.text import Text

__all__ = ["Row", "marked", "read_row", "read_tables"]

MARKS = {"0": False, "false": False, "0.0": False, "1": True, "true": True, "1.0": True}


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
    """Read a file, or the tables of a folder in the order of their names.

    Args:
        path: The file or folder.
        columns: Which columns hold text and label.
        bad_rows: Records the rows that can't be used.

    Raises:
        DataError: A file can't be read, lacks a column, or has more bad rows than may be skipped; with `file:line`,
            what was found and what was expected.
    """
    for where, table, record in read_files(path, columns):
        if record.reason:
            bad_rows.add(where, record.reason)
        elif row := read_row(where, dict(zip(table.asked, record.cells, strict=True)), columns, bad_rows):
            yield row
    bad_rows.check()


def read_row(where: str, record: dict[str, Any], columns: Columns, bad_rows: BadRows) -> Row | None:
    """Take text and label from the cells of a row; None for a bad row."""
    try:
        text = texts_of([record.get(name) for name in columns.texts], columns.texts, LONGEST_TEXT)
        if not "".join(text).strip():
            raise ValueError(f"the text is empty; expected one in column {columns.texts[0]!r:.80}")
        if columns.indicators:
            label: str | list[str] = [name for name in columns.indicators if marked(record.get(name), name)]
        else:
            label = label_of(record.get(columns.label), columns.label, lists=columns.lists)
    except ValueError as error:
        bad_rows.add(where, str(error))
        return None
    return Row(where=where, text=text, label=label)


def marked(cell: Any, column: str) -> bool:
    """Tell whether an indicator column holds a 1.

    Raises:
        ValueError: It holds neither 1 nor 0.
    """
    mark = MARKS.get(str(cell).strip().lower()) if is_one(cell) else None
    if mark is None:
        found = "nothing" if cell is None else f"{cell!r:.80}"
        raise ValueError(f"column {column!r:.80} holds {found}; expected 1 where the text has the label, else 0")
    return mark
