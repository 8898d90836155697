"""A column of the report's tables, and a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ftx.bench.report import BenchReport
from ftx.bench.statistics import Interval

__all__ = ["Column", "Table"]

MISSING = "-"
Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Row]):
    """A figure of each engine or server.

    Attributes:
        name: In CSV, with its unit.
        heading: In a table; `{batch}` stands for the batch size, `{clients}` for the number of clients.
        form: How it is formatted there.
        value: Gives it; None where it was not measured.
        interval: Gives its 95 % interval, likewise.
    """

    name: str
    heading: str
    form: str
    value: Callable[[BenchReport, Row], float | None]
    interval: Callable[[BenchReport, Row], Interval | None] | None = None

    def cell(self, report: BenchReport, row: Row) -> str:
        """Format a row's figure."""
        value = self.value(report, row)
        if value is None:
            return MISSING
        said = format(value, self.form)
        interval = self.interval(report, row) if self.interval else None
        return said if interval is None else f"{said} ({interval[0]:{self.form}} to {interval[1]:{self.form}})"

    def names(self) -> list[str]:
        """Give its names in CSV, those of the bounds of its interval among them."""
        return [self.name, f"{self.name}_low", f"{self.name}_high"] if self.interval else [self.name]

    def values(self, report: BenchReport, row: Row) -> list[float | None]:
        """Give what stands under these names, unrounded."""
        value = self.value(report, row)
        return [value, *(self.interval(report, row) or (None, None))] if self.interval else [value]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the report.

    Attributes:
        title: Its heading.
        headings: Of the columns; the first is the engine or server.
        rows: The cells.
        marked: The places of the rows that the page marks.
        note: What is said above it; may be empty.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]
    marked: list[int]
    note: str = ""
