"""From labels as written to training targets."""

from __future__ import annotations

from ftx.finetune.model.head import Example, Head
from ftx.tables.bad_rows import BadRows
from ftx.tables.labelled import Row

__all__ = ["examples"]


def examples(rows: list[Row], head: Head, bad_rows: BadRows, hint: str = "") -> list[Example]:
    """Turn rows into texts with targets. Labels that the head lacks make bad rows; the hint ends their reason.

    Raises:
        DataError: There are more bad rows than may be skipped.
    """
    kept: list[Example] = []
    for row in rows:
        try:
            kept.append((row.text, head.target(row.label)))
        except ValueError as error:
            bad_rows.add(row.where, f"{error}{hint}")
    bad_rows.check()
    return kept
