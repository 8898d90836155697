"""Read tables of labelled text, each row with the place it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftx.errors import DataError
from ftx.finetune.data.bad_rows import BadRows
from ftx.finetune.data.cells import is_one, label_of, text_of
from ftx.finetune.data.lines import unreadable
from ftx.finetune.data.records import SUFFIXES, records
from ftx.text import Text

__all__ = ["Columns", "Row", "read_row", "read_tables"]

MARKS = {"0": False, "false": False, "0.0": False, "1": True, "true": True, "1.0": True}


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
    for file in tables(path):
        for number, record in records(file, columns.all, columns.delimiter, bad_rows):
            row = read_row(f"{file}:{number}", record, columns, bad_rows)
            if row:
                yield row


def tables(path: Path) -> list[Path]:
    """Give a file, or all tables of a folder in the order of their names.

    Raises:
        DataError: The folder can't be read, holds none, or one that is packed: to leave it out would be half the data.
    """
    try:
        if not path.is_dir():
            return [path]
        entries = sorted(path.iterdir())
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    found = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
    for entry in entries:
        if entry.suffix.lower() == ".gz" and Path(entry.stem).suffix.lower() in SUFFIXES:
            raise DataError(f"{entry} is gzip, which is not read here: unpack it with gunzip, or move it away")
    if not found:
        raise DataError(f"{path} holds no {', '.join(SUFFIXES)} file")
    return found


def read_row(where: str, record: dict[str, Any], columns: Columns, bad_rows: BadRows) -> Row | None:
    """Take a row's text and label from its cells; None for a bad row."""
    try:
        texts = [text_of(record.get(name), name) for name in columns.texts]
        if columns.indicators:
            label: str | list[str] = [name for name in columns.indicators if marked(record.get(name), name)]
        else:
            label = label_of(record.get(columns.label), columns.label, lists=columns.lists)
    except ValueError as error:
        bad_rows.add(where, str(error))
        return None
    return Row(where=where, text=(texts[0], texts[1]) if len(texts) == 2 else texts[0], label=label)


def marked(cell: Any, column: str) -> bool:
    """Tell whether a column of a label holds a 1.

    Raises:
        ValueError: It holds neither 1 nor 0.
    """
    mark = MARKS.get(str(cell).strip().lower()) if is_one(cell) else None
    if mark is None:
        found = "nothing" if cell is None else f"{cell!r:.80}"
        raise ValueError(f"column {column!r:.80} holds {found}; expected 1 where the text has the label, else 0")
    return mark
