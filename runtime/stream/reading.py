"""How the rows of a job's input are read, and the chunks that they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftx.errors import DataError
from ftx.runtime.stream.columns import check_names
from ftx.tables.columns import Columns
from ftx.text import Text

__all__ = ["TSV_CELL", "Chunk", "Reading", "breaks"]

TSV_CELL = "a cell holds a tab or line break, which TSV can't; write CSV or JSON lines"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How an input is read.

    Attributes:
        path: The input; `-` is standard input.
        bad: Records a bad row by `file:line` and the reason; raises if there are too many.
        text_column: The column of the texts; None: `text`, else the only one.
        text_pair_column: The column of the second texts, for pairs.
        text_pair: Whether the model reads pairs; None: as the columns say.
        added: Names of the columns that predictions add.
        form: What the output is made from: `cells` (strings), `objects` (JSON), or `table` (Arrow).
        plain_cells: Whether the output can't hold cells with tabs and line breaks, which are bad rows then.
        chunk_rows: Maximum rows of a chunk.
        chunk_bytes: Its bytes; it ends with the row that reaches them.
    """

    path: Path
    bad: Callable[[str, str], None]
    text_column: str | None
    text_pair_column: str | None
    text_pair: bool | None
    added: tuple[str, ...]
    form: str
    plain_cells: bool
    chunk_rows: int
    chunk_bytes: int

    @property
    def columns(self) -> Columns:
        """The columns of the texts.

        Raises:
            DataError: The model reads another number of texts.
        """
        pair = self.text_pair_column
        if self.text_pair is False and pair is not None:
            raise DataError(f"--text-pair-column {pair}: this model reads one text at a time; omit it")
        return Columns(text=self.text_column, text_pair=pair or ("text_pair" if self.text_pair else ""))

    def check_header(self, where: str, names: Iterable[str]) -> None:
        """Check that the output can hold the input's columns beside those of the predictions.

        Raises:
            DataError: It can't.
        """
        check_names(where, names, self.added)
        if self.plain_cells and any(map(breaks, names)):
            raise DataError(f"{where}: a column's name holds a tab or line break, which TSV can't: write CSV")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows.

    Attributes:
        texts: The texts to predict.
        names: The columns of `cells`.
        cells: The rows as strings; None: an empty cell.
        objects: The rows as JSON objects, in place of `cells`.
        table: The rows as an Arrow table, in place of `cells`.
        done: The share of the input that is read; None: not known.
        notice: How the input is read, where its first line decided that; else empty.
    """

    texts: list[Text]
    names: list[str] = field(default_factory=list)
    cells: list[list[str | None]] = field(default_factory=list)
    objects: list[str] | None = None
    table: Any = None
    done: float | None = None
    notice: str = ""


def breaks(cell: str) -> bool:
    """Tell whether a cell holds what separates cells and rows in TSV."""
    return "\t" in cell or "\n" in cell or "\r" in cell
