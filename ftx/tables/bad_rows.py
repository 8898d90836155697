"""Rows that can't be used: an error at once, or counted up to a bound and kept for a look."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ftx.errors import DataError

__all__ = ["BadRow", "BadRows"]


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
        limit: How many may be skipped; 0: the first one is an error.
        rows: Those skipped so far.
    """

    limit: int = 0
    rows: list[BadRow] = field(default_factory=list)

    def add(self, where: str, reason: str) -> None:
        """Skip a row.

        Raises:
            DataError: It is one more than may be skipped.
        """
        if len(self.rows) >= self.limit:
            more = f" (after {self.limit} rows skipped, as many as --skip-bad-rows allows)" if self.limit else ""
            raise DataError(f"{where}: {reason}{more}")
        self.rows.append(BadRow(where=where, reason=reason))

    def write(self, path: Path) -> None:
        """Write the skipped rows as JSON lines; no file where there are none."""
        if self.rows:
            lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.rows]
            path.write_text("".join(lines), encoding="utf-8", errors="replace")
