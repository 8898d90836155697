"""Chunks of a Parquet file, with every column in its own type, and a job's output as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from ftx.manifest import Manifest
from ftx.runtime.heads import Prediction
from ftx.runtime.stream.columns import PREFIX, predicted_columns
from ftx.runtime.stream.reading import TSV_CELL, Chunk, Reading, breaks
from ftx.tables.cells import texts_of
from ftx.tables.parquet import Batch, column_values, parquet_batches
from ftx.text import Text, clean

__all__ = ["encode_parquet", "join_parquet", "parquet_chunks"]

GROUP_ROWS = 2**16
GROUP_BYTES = 2**24


def parquet_chunks(reading: Reading) -> Iterator[Chunk]:
    """Read a Parquet file as chunks of rows. Values other than text are written into cells and objects as Arrow does.

    Raises:
        DataError: It can't be read, or lacks the columns of the texts.
    """
    batches = parquet_batches(
        reading.path, reading.columns, most_rows=reading.chunk_rows, most_bytes=reading.chunk_bytes, every=True
    )
    with closing(batches):
        for batch in batches:
            reading.check_header(str(reading.path), batch.rows.column_names)
            yield usable(batch, reading)


def usable(batch: Batch, reading: Reading) -> Chunk:
    """Take the texts of a batch, and exclude bad rows."""
    table, names = batch.rows, list(batch.rows.column_names)
    read = names if reading.form != "table" else batch.asked
    values = {name: column_values(table.column(name)) for name in read}
    texts: list[Text] = []
    kept: list[int] = []
    written: list[Any] = []
    for row in range(len(table)):
        try:
            text = texts_of([values[name][row] for name in batch.asked], batch.asked)
            if reading.form == "objects":
                written.append(json.dumps({name: values[name][row] for name in names}, default=as_text))
            elif reading.form == "cells":
                cells = [as_cell(values[name][row]) for name in names]
                if reading.plain_cells and any(breaks(cell) for cell in cells if cell is not None):
                    raise ValueError(TSV_CELL)
                written.append(cells)
            texts.append(text)
            kept.append(row)
        except ValueError as error:
            reading.bad(f"{reading.path}:{batch.before + row + 1}", str(error))
    if reading.form == "objects":
        return Chunk(texts=texts, objects=written, done=batch.done)
    if reading.form == "cells":
        return Chunk(texts=texts, names=names, cells=written, done=batch.done)
    return Chunk(texts=texts, table=table if len(kept) == len(table) else table.take(kept), done=batch.done)


def as_cell(one: Any) -> str | None:
    """Format a value as a cell."""
    if one is None or isinstance(one, str):
        return one
    if isinstance(one, (bytes, Exception)):
        return as_text(one)
    return json.dumps(one, default=as_text)


def as_text(one: Any) -> str:
    """Format a value that JSON can't hold."""
    return one.decode(errors="backslashreplace") if isinstance(one, bytes) else str(one)


def added_fields(manifest: Manifest, prefix: str) -> list[Any]:
    """Return name and type of each column that predictions add."""
    import pyarrow

    types = {
        f"{prefix}label": pyarrow.string(),
        f"{prefix}labels": pyarrow.list_(pyarrow.string()),
        f"{prefix}truncated": pyarrow.bool_(),
        f"{prefix}windows": pyarrow.int32(),
        f"{prefix}near_boundary": pyarrow.bool_(),
        f"{prefix}beyond_calibration": pyarrow.bool_(),
    }
    names = predicted_columns([], manifest, prefix=prefix)
    return [pyarrow.field(name, types.get(name, pyarrow.float64())) for name in names]


def encode_parquet(chunk: Chunk, predictions: list[Prediction], manifest: Manifest, prefix: str = PREFIX) -> bytes:
    """Encode a chunk and its predictions as a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    table = chunk.table
    if table is None:
        cells = [[None if cell is None else clean(cell) for cell in row] for row in chunk.cells]
        columns = [list(column) for column in zip(*cells, strict=True)] or [[] for _ in chunk.names]
        arrays = [pyarrow.array(column, pyarrow.string()) for column in columns]
        table = pyarrow.table(arrays, names=[clean(name) for name in chunk.names])
    added = predicted_columns(predictions, manifest, prefix=prefix)
    for field in added_fields(manifest, prefix):
        table = table.append_column(field, pyarrow.array(added[field.name], field.type))
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def join_parquet(parts: list[Path], sink: BinaryIO) -> None:
    """Join Parquet files of one schema, row group by row group."""
    import pyarrow
    import pyarrow.parquet

    writer: Any = None
    held: list[Any] = []
    for number, part in enumerate(parts, 1):
        with pyarrow.parquet.ParquetFile(part) as file:
            held.append(file.read())
        if writer is None:
            writer = pyarrow.parquet.ParquetWriter(sink, held[0].schema)
        rows = sum(map(len, held))
        if number == len(parts) or rows >= GROUP_ROWS or sum(table.nbytes for table in held) >= GROUP_BYTES:
            writer.write_table(pyarrow.concat_tables(held), row_group_size=max(1, rows))
            held = []
    writer.close()
