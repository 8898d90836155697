"""Rows that can't be used: the first is an error, or some are skipped and recorded."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ftx.errors import DataError

__all__ = ["BadRow", "BadRows", "one_too_many"]


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
            raise one_too_many(where, reason, self.limit)
        self.rows.append(BadRow(where=where, reason=reason))

    def write(self, path: Path) -> None:
        """Write the skipped rows as JSON lines; no file where there are none."""
        if self.rows:
            lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.rows]
            path.write_text("".join(lines), encoding="utf-8", errors="replace")


def one_too_many(where: str, reason: str, limit: int) -> DataError:
    """Say that a row can't be used, and that no more may be skipped."""
    more = f" (after {limit} rows skipped, as many as --skip-bad-rows allows)" if limit else ""
    return DataError(f"{where}: {reason}{more}")
