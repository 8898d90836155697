"""The held-out texts of a run, `RUN/eval.jsonl`, on which every later step is verified; or any table of text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftx import typed
from ftx.errors import DataError
from ftx.tables.cells import Number, label_of, texts_of
from ftx.tables.columns import Columns
from ftx.tables.labelled import marked
from ftx.tables.reading import read_files
from ftx.text import Text

__all__ = [
    "HELD_OUT_FILE", "HeldOut", "Label", "data_columns", "find_held_out", "gather", "read_held_out", "write_held_out"
]  # fmt: skip

HELD_OUT_FILE = "eval.jsonl"
# Some thousand pages. A longer line is no text, and a parser would hold it many times.
MAX_LINE_BYTES = 2**24
COLUMNS = Columns(text="text", label="label", text_pair="text_pair", pair_optional=True)

Label = str | list[str] | float


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Texts that no training saw.

    Attributes:
        texts: The texts, or pairs of them.
        labels: As many as texts: a label name each, a list of names (multi-label) or a number (regression). None: the
            texts have no labels.
    """

    texts: list[Text]
    labels: list[Label] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> HeldOut:
        """Give some of the rows."""
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        return HeldOut(texts=[self.texts[row] for row in rows], labels=labels)


def write_held_out(path: Path, rows: Iterable[tuple[Text, Label]]) -> None:
    """Write (text, label) rows as `{"text": ..., "label": ...}` lines, pairs with a `text_pair` between."""
    with path.open("w", encoding="utf-8") as file:
        for text, label in rows:
            one = {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}
            file.write(json.dumps({**one, "label": label}) + "\n")


def data_columns(
    text: str | None = None,
    label: str | None = None,
    text_pair: str | None = None,
    *,
    indicators: tuple[str, ...] = (),
    delimiter: str = "",
) -> Columns:
    """Return the columns of held-out data as a user names them; labels are optional unless their column is named."""
    return Columns(
        text=text,
        label=label or "label",
        label_optional=label is None and not indicators,
        indicators=indicators,
        delimiter=delimiter,
        text_pair=text_pair or "text_pair",
        pair_optional=text_pair is None,
    )


def read_held_out(path: Path, columns: Columns = COLUMNS) -> HeldOut:
    """Read texts that are to be verified on.

    Args:
        path: The file, or a folder of tables.
        columns: Default: `text` and `label`, and `text_pair` where a model judges two texts together.

    Raises:
        DataError: The file can't be read, is empty, or a row is no text, or has no label where others have one.
    """
    rows = read_files(path, columns, longest=MAX_LINE_BYTES)
    return gather(path, columns, ((where, table.asked, record.cells, record.reason) for where, table, record in rows))


def gather(
    source: str | Path, columns: Columns, rows: Iterable[tuple[str, tuple[str, ...], Sequence[Any], str]]
) -> HeldOut:
    """Take texts, and labels if there are any, from rows.

    Args:
        source: Where they come from, for messages.
        columns: Which columns hold text and label.
        rows: Of each its place, the columns that were found, their cells, and why it can't be used (empty: it can).

    Raises:
        DataError: There is none, or a row is no text, or has no label where others have one.
    """
    texts: list[Text] = []
    labels: list[Label] = []
    for where, asked, cells, reason in rows:
        try:
            if reason:
                raise ValueError(reason)
            named = [column for column in asked[1:] if column in columns.labels]
            if bool(named) != bool(labels) and texts:
                raise ValueError(f"{'a' if named else 'no'} column {columns.label!r:.80}, unlike the tables before")
            first, *second = cells[: len(asked) - len(named)]
            parts = [first, *(part for part in second if part is not None)]
            text = texts_of(parts, asked[: len(parts)])
            if texts and isinstance(text, str) != isinstance(texts[0], str):
                raise ValueError("a pair of texts and single ones, expected one kind in a file")
            if named:
                labels.append(label_in(cells[-len(named) :], columns))
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        texts.append(text)
    if not texts:
        raise DataError(f"{source} is empty; expected rows with text and label")
    return HeldOut(texts=texts, labels=labels or None)


def label_in(cells: Sequence[Any], columns: Columns) -> Label:
    """Read a row's label from its cells: one, or one for each label of a multi-label table.

    Raises:
        ValueError: There is none in them.
    """
    if columns.indicators:
        return [name for name, cell in zip(columns.indicators, cells, strict=True) if marked(cell, name)]
    if columns.lists and isinstance(cells[0], str):
        return label_of(cells[0], columns.label, lists=True)
    return held_label(cells[0])


def held_label(cell: Any) -> Label:
    """Read a label: a name to the letter, a list of names, or a number.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(cell, list):
        return [str(typed.string(name, "one of the labels")) for name in cell]
    if not isinstance(cell, Number):
        return cell if isinstance(cell, str) else typed.number(cell, "label")
    if not math.isfinite(float(cell)):
        raise ValueError(f"label is {cell:.60}, expected a number")
    return float(cell)


def find_held_out(checkpoint: Path) -> Path:
    """Name the held-out file of the run that a checkpoint stands in.

    Raises:
        DataError: There is none.
    """
    path = checkpoint.resolve().parent / HELD_OUT_FILE
    if not path.is_file():
        raise DataError(
            f"{checkpoint} has no {HELD_OUT_FILE} beside it: give --data FILE with 200 texts or more, labelled or not; "
            "half of them choose, and should all 100 others agree, the 95 % interval of the agreement is 0.964 to 1"
        )
    return path
