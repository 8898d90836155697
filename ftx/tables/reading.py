"""Open a table in any format, and read the tables of a folder one after another."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftx.tables.columns import Columns
from ftx.tables.delimited import read_delimited
from ftx.tables.formats import Format, input_format, table_files
from ftx.tables.json_lines import read_json_lines
from ftx.tables.lines import check_file, open_lines
from ftx.tables.parquet import read_parquet
from ftx.tables.table import Record, Table

__all__ = ["open_table", "read_files"]

log = logging.getLogger(__name__)


@contextmanager
def open_table(path: Path, form: Format, columns: Columns, *, longest: int | None = None) -> Iterator[Table]:
    """Open a table; it can be iterated once.

    Args:
        path: The file; `-` is standard input.
        form: Its format.
        columns: Those that are wanted.
        longest: Maximum bytes of a line; default: `lines.LONGEST_LINE_BYTES`.

    Raises:
        DataError: It can't be read, or lacks a column; of JSON lines and Parquet raised with the first row.
    """
    if form.kind == "parquet":
        yield read_parquet(path, columns)
        return
    with open_lines(path, gz=form.gz, longest=longest) as lines:
        yield read_json_lines(lines, columns) if form.kind == "jsonl" else read_delimited(lines, columns, form.kind)


def read_files(path: Path, columns: Columns, *, longest: int | None = None) -> Iterator[tuple[str, Table, Record]]:
    """Read a file, or the tables of a folder in the order of their names: `file:line`, the table and the row.

    Raises:
        DataError: One can't be read, lacks a column, or is no file.
    """
    for file in table_files(path):
        check_file(file)
        with open_table(file, input_format(file, option=""), columns, longest=longest) as table:
            if table.notice:
                log.info(table.notice)
            for record in table.records:
                yield f"{table.name}:{record.line}", table, record
