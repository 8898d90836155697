"""Read Parquet, in batches with columns of their own types, or row by row."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ftx.errors import DataError, require
from ftx.tables.columns import Columns, check_once
from ftx.tables.lines import BUFFER_BYTES, check_file
from ftx.tables.table import Record, Table

__all__ = ["Batch", "check_parquet", "column_values", "parquet_batches", "read_parquet"]

BATCH_ROWS, BATCH_BYTES = 2**13, 2**24


class Batch(NamedTuple):
    """Some rows of a Parquet file.

    Attributes:
        rows: An Arrow table.
        asked: The columns asked for, in their order.
        before: Rows of the file before them.
        done: The share of the file that ends with them.
    """

    rows: Any
    asked: tuple[str, ...]
    before: int
    done: float


def check_parquet() -> None:
    """Check that Parquet can be read and written here.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    require("parquet", "pyarrow")


def parquet_batches(
    path: Path, columns: Columns, *, most_rows: int = BATCH_ROWS, most_bytes: int = BATCH_BYTES, every: bool = False
) -> Generator[Batch, None, None]:
    """Read a Parquet file in batches, one at least.

    Args:
        path: The file.
        columns: Those that are wanted.
        most_rows: Maximum rows of a batch.
        most_bytes: Approximate bytes of a batch.
        every: Whether all columns are read, not just those wanted.

    Raises:
        DataError: It can't be read, or lacks a column.
        MissingExtraError: pyarrow is not installed.
    """
    check_parquet()
    check_file(path)
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
            schema, meta = file.schema_arrow, file.metadata
            check_once(str(path), list(schema.names))
            asked = columns.find(str(path), list(schema.names))
            groups = [meta.row_group(group) for group in range(meta.num_row_groups)]
            row_bytes = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
            rows = max(1, min(most_rows, int(most_bytes / max(1, row_bytes))))
            # The model uses the cores; each of Arrow's threads would need memory of its own.
            for batch in file.iter_batches(batch_size=rows, columns=None if every else list(asked), use_threads=False):
                table = pyarrow.Table.from_batches([batch], schema=schema if every else None)
                yield Batch(table, asked, number, (number + len(table)) / meta.num_rows)
                number += len(table)
                pyarrow.default_memory_pool().release_unused()  # else Arrow keeps what the largest row group took
            if number != meta.num_rows:
                raise DataError(f"{path} holds {number} rows, expected {meta.num_rows} as it says: write it again")
            if not number:
                yield Batch(schema.empty_table(), asked, 0, 1.0)
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # Arrow raises the latter two as well
        said = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        where = f"{path}:{number + 1}" if number else path
        raise DataError(f"{where} can't be read as Parquet: {said}; write it again") from error


def read_parquet(path: Path, columns: Columns) -> Table:
    """Read the wanted columns of a Parquet file row by row; values that Python can't hold come as errors."""
    table = Table(name=str(path))

    def records() -> Iterator[Record]:
        for batch in parquet_batches(path, columns):
            table.names, table.asked = list(batch.rows.column_names), batch.asked
            cells = [column_values(batch.rows.column(name)) for name in batch.asked]
            for number, row in enumerate(zip(*cells, strict=True), batch.before + 1):
                yield Record(number, row)

    table.records = records()
    return table


def column_values(column: Any) -> list[Any]:
    """Return a column's values, with dates, times and decimals as text.

    A value that Python can't hold, such as a string that is not UTF-8, is replaced by the error.
    """
    import pyarrow

    if pyarrow.types.is_temporal(column.type) or pyarrow.types.is_decimal(column.type):
        try:
            return list(column.cast(pyarrow.string()).to_pylist())
        except pyarrow.ArrowException:  # durations have no text of their own
            pass
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [scalar_value(scalar) for scalar in column]


def scalar_value(scalar: Any) -> Any:
    """Return one value, or the error."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError) as error:
        return error
