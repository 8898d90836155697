"""Rows that can't be used: some are skipped and recorded; more are an error that counts them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ftx.errors import DataError

__all__ = ["BadRow", "BadRows", "one_too_many"]

PLACES = 4  # named in a message


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row that can't be used.

    Attributes:
        where: `file:line`.
        reason: What was found and what was expected.
    """

    where: str
    reason: str


@dataclass(kw_only=True)
class BadRows:
    """The bad rows of a data set.

    Attributes:
        limit: How many may be skipped.
        rows: Those skipped so far.
        excess: The first ones of those that are too many.
        count: All of them, skipped or not.
    """

    limit: int = 0
    rows: list[BadRow] = field(default_factory=list)
    excess: list[BadRow] = field(default_factory=list)
    count: int = 0

    def add(self, where: str, reason: str) -> None:
        """Record a row; `check` reports those that are too many, after the last row."""
        self.count += 1
        kept = self.rows if self.count <= self.limit else self.excess
        if kept is self.rows or len(kept) < PLACES:
            kept.append(BadRow(where=where, reason=reason))

    def check(self) -> None:
        """Check that there are no more than may be skipped.

        Raises:
            DataError: There are; with the first one's reason, the places of some others, and how many there are.
        """
        if not self.excess:
            return
        first, *others = self.excess
        error = one_too_many(first.where, first.reason, self.limit)
        if self.count == self.limit + 1:
            raise DataError(f"{error}; correct it, or add --skip-bad-rows {self.count}")
        places = ", ".join(f"{row.where:.200}" for row in others)
        raise DataError(
            f"{error}; {self.count:,} rows can't be used, the next at {places}: correct them, or skip them with "
            f"--skip-bad-rows {self.count}"
        )

    def write(self, path: Path) -> None:
        """Write the skipped rows as JSON lines; no file where there are none."""
        if self.rows:
            lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.rows]
            path.write_text("".join(lines), encoding="utf-8", errors="replace")


def one_too_many(where: str, reason: str, limit: int) -> DataError:
    """Say that a row can't be used, and that no more may be skipped."""
    more = f" (after {limit} rows skipped, as many as --skip-bad-rows allows)" if limit else ""
    return DataError(f"{where}: {reason}{more}")
