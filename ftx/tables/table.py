"""An open table: its columns, and its rows one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Record", "Table"]


class Record(NamedTuple):
    """A row of a table.

    Attributes:
        line: Its first line; in Parquet its number. From 1 on.
        cells: The cells of the columns asked for, in their order.
        whole: All its cells, or its JSON object; None where the columns asked for are all that is read.
        written: The JSON object as it was written; else empty.
        size: Bytes read for it.
        reason: Why it can't be used; empty: it can.
    """

    line: int
    cells: Sequence[Any] = ()
    whole: Any = None
    written: str = ""
    size: int = 0
    reason: str = ""


@dataclass(kw_only=True)
class Table:
    """A table that is being read.

    Attributes:
        name: What messages call it.
        records: Its rows, which are read as they are asked for.
        names: All its columns; of JSON lines and Parquet known with the first row.
        asked: The columns asked for; likewise.
        notice: How it is read, where its first line decided that; empty: its name and the options did.
        done: Gives the share that is read; None: not known.
    """

    name: str
    records: Iterator[Record] = field(default_factory=lambda: iter(()))
    names: list[str] = field(default_factory=list)
    asked: tuple[str, ...] = ()
    notice: str = ""
    done: Callable[[], float | None] = lambda: None
