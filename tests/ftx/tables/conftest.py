from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ftx.tables.bad_rows import BadRows
from ftx.tables.columns import Columns
from ftx.tables.labelled import read_tables


@pytest.fixture(scope="session")
def read() -> Callable[..., list[tuple[str, str | list[str]]]]:
    """Read texts and labels."""

    def read(
        path: Path, text: str = "text", label: str = "label", *, delimiter: str = "", bad_rows: BadRows | None = None
    ) -> list[tuple[str, str | list[str]]]:
        columns = Columns(text=text, label=label, delimiter=delimiter)
        return [(str(row.text), row.label) for row in read_tables(path, columns, bad_rows or BadRows())]

    return read
