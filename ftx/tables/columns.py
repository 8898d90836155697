"""The columns of a table that hold texts and labels."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ftx.errors import DataError
from ftx.tables.cells import listed

__all__ = ["Columns", "check_once", "is_delimiter", "looks_like_a_row", "repeated"]

MOST_WORDS = 3  # in a column's name
SENTENCE_ENDS = (".", "!", "?")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns hold a row's text and label.

    Attributes:
        text: The column of the texts; None: `text`, else the only one.
        label: The column of the labels; empty: none is read.
        text_pair: The column of the second texts, for pairs; empty: none.
        pair_optional: Whether that column, or in JSON lines its value, may be missing.
        label_optional: Whether the column of the labels may be missing.
        indicators: For multi-label, in place of `label`: a column a label, with 1 where the text has it, else 0.
        lists: Whether a cell of the label column may hold several labels: `a, b`, `a|b` or `["a", "b"]`.
        delimiter: What separates the cells of delimited text; empty: a tab in .tsv, else found from the header.
        text_option: The option of the command line that names the column of the texts, for messages.

    Raises:
        DataError: The delimiter is none, or both texts of a pair have the same column.
    """

    text: str | None = None
    label: str = ""
    text_pair: str = ""
    pair_optional: bool = False
    label_optional: bool = False
    indicators: tuple[str, ...] = ()
    lists: bool = False
    delimiter: str = ""
    text_option: str = "--text-column"

    def __post_init__(self) -> None:
        if not is_delimiter(self.delimiter):
            raise DataError(f"the delimiter is {self.delimiter!r:.80}, expected one character, no quote or line break")
        if self.text_pair == self.texts[0]:
            raise DataError(f"column {self.text_pair!r:.80} is named for both texts of a pair; expected two columns")

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns of the labels."""
        return self.indicators or ((self.label,) if self.label else ())

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of the texts."""
        text = "text" if self.text is None else self.text
        return (text, self.text_pair) if self.text_pair else (text,)

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read, those of the texts first."""
        return (*self.texts, *self.labels)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that may not be missing."""
        optional = {self.text_pair} if self.pair_optional else set()
        return tuple(one for one in self.all if one not in optional | set(self.labels if self.label_optional else ()))

    def find(self, where: str, names: list[str]) -> tuple[str, ...]:
        """Find the columns in a table, those of the texts first.

        Args:
            where: The table, for messages.
            names: Its columns.

        Raises:
            DataError: One is missing.
        """
        if self.text is None and len(names) == 1 and len(self.needed) == 1:
            return (names[0],)
        if reason := self.lacking(names):
            raise DataError(f"{where}: {reason}")
        return tuple(column for column in self.all if column in names)

    def lacking(self, names: list[str]) -> str:
        """Say which column a table lacks, and how to name another; empty: none."""
        missing = next((column for column in self.needed if column not in names), None)
        if missing is None:
            return ""
        hint = ""
        if any("\0" in name for name in names):
            hint = "; it looks like UTF-16: convert it to UTF-8"
        elif looks_like_a_row(names):
            hint = (
                f"; or, as the first line looks like a row, add a header line above it, such as {','.join(self.needed)}"
            )
        return (
            f"there is no column {missing!r:.80}; the columns are {listed(names)}: {likely(missing, names)}"
            f"name yours with {self.option(missing)}{hint}"
        )

    def option(self, column: str) -> str:
        """Return the option that names a column."""
        if column in self.texts:
            return "--text-pair-column" if column == self.text_pair else self.text_option
        return "--label-columns" if self.indicators else "--label-column"


def likely(missing: str, names: list[str]) -> str:
    """Ask for the column whose name is nearest; empty: none is near."""
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(missing.lower(), by_lower, n=1, cutoff=0.7)
    return f"did you mean {by_lower[near[0]]!r:.80}? " if near else ""


def looks_like_a_row(names: Iterable[str]) -> bool:
    """Tell whether a header holds what columns are rarely called: a sentence, or a number."""
    return any(len(name.split()) > MOST_WORDS or name.endswith(SENTENCE_ENDS) or is_number(name) for name in names)


def is_number(name: str) -> bool:
    """Tell whether a name is a number."""
    return name.strip().lstrip("+-").replace(".", "", 1).isdecimal()


def check_once(where: str, names: list[str]) -> None:
    """Check that no column name occurs twice.

    Raises:
        DataError: One does.
    """
    if len(set(names)) != len(names):
        raise DataError(f"{where}: the column name {repeated(names)!r:.80} stands twice; expected each once")


def repeated(names: Iterable[str]) -> str:
    """Return the first name that occurs twice."""
    return next(name for name, count in Counter(names).items() if count > 1)


def is_delimiter(delimiter: str) -> bool:
    """Tell whether this can separate cells; empty: the delimiter is found out."""
    return len(delimiter) <= 1 and delimiter not in ('"', "\r", "\n", "\0")
