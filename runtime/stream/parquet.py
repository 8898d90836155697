"""Read Parquet in batches of rows, with every column in its own type, and write it."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

from ftx.errors import DataError, require
from ftx.manifest import Manifest
from ftx.runtime.heads import Prediction
from ftx.runtime.stream.columns import PREFIX, check_names, predicted_columns
from ftx.runtime.stream.reading import BUFFER_BYTES, Chunk, Reading, breaks, find_texts
from ftx.text import Text, clean

__all__ = ["check_parquet", "encode_parquet", "join_parquet", "parquet_chunks"]

GROUP_ROWS = 2**16
GROUP_BYTES = 2**24


def check_parquet() -> None:
    """Check that Parquet can be read and written here.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    require("parquet", "pyarrow")


def parquet_chunks(reading: Reading) -> Generator[Chunk, None, None]:
    """Read a Parquet file as chunks of rows. Values that are no text go into cells and objects as Arrow writes them.

    Raises:
        DataError: It can't be read, or has not the columns asked for.
    """
    import pyarrow
    import pyarrow.parquet

    path, number = reading.path, 0
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder; expected a file")
        with pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
            schema, meta = file.schema_arrow, file.metadata
            names = list(schema.names)
            if len(set(names)) != len(names):
                raise DataError(f"{path}: a column name stands twice; expected each once")
            check_names(str(path), names, reading.added)
            if reading.plain_cells and any(map(breaks, names)):
                raise DataError(f"{path}: a column's name holds a tab or line break, which TSV can't: write CSV")
            texts = find_texts(str(path), names, reading)
            groups = [meta.row_group(group) for group in range(meta.num_row_groups)]
            row_bytes = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
            rows = max(1, min(reading.chunk_rows, int(reading.chunk_bytes / max(1, row_bytes))))
            # The model has the cores; Arrow's threads would each hold memory of their own.
            for batch in file.iter_batches(batch_size=rows, use_threads=False):
                table = pyarrow.Table.from_batches([batch], schema=schema)
                yield usable(table, texts, number, reading, (number + len(table)) / meta.num_rows)
                number += len(table)
                pyarrow.default_memory_pool().release_unused()  # else Arrow keeps what the largest row group took
            if number != meta.num_rows:
                raise DataError(f"{path} holds {number} rows, expected {meta.num_rows} as it says: write it again")
            if not number:
                yield usable(schema.empty_table(), texts, 0, reading, 1.0)
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # Arrow raises the latter two as well
        said = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}:{number + 1} can't be read as Parquet: {said}; write it again") from error


def usable(table: Any, texts: tuple[str, ...], number: int, reading: Reading, done: float) -> Chunk:
    """Take the texts of some rows, and leave out the bad ones."""
    columns = [spelt(table.column(name)) or values(table.column(name)) for name in texts]
    taken: list[Text] = []
    kept: list[int] = []
    for row, parts in enumerate(zip(*columns, strict=True)):
        reason = next(filter(None, map(wrong, parts)), "")
        if reason:
            reading.bad(f"{reading.path}:{number + row + 1}", reason)
            continue
        words = [str(part) for part in parts]
        taken.append((words[0], words[1]) if len(words) == 2 else words[0])
        kept.append(row)
    if reading.form == "table":
        return Chunk(texts=taken, table=table if len(kept) == len(table) else table.take(kept), done=done)
    names = list(table.column_names)
    every = zip(*(written(table.column(name)) for name in names), strict=True)
    good_rows = set(kept)
    rows = [list(row) for index, row in enumerate(every) if index in good_rows]
    if reading.form == "objects":
        objects = [json.dumps(dict(zip(names, row, strict=True)), default=as_text) for row in rows]
        return Chunk(texts=taken, objects=objects, done=done)
    cells = [[as_cell(value) for value in row] for row in rows]
    if reading.plain_cells:
        good = [not any(breaks(cell) for cell in row if cell is not None) for row in cells]
        for index, fine in zip(kept, good, strict=True):
            if not fine:
                reason = "a cell holds a tab or line break, which TSV can't; write CSV or JSON lines"
                reading.bad(f"{reading.path}:{number + index + 1}", reason)
        taken = [text for text, fine in zip(taken, good, strict=True) if fine]
        cells = [row for row, fine in zip(cells, good, strict=True) if fine]
    return Chunk(texts=taken, names=names, cells=cells, done=done)


def wrong(part: Any) -> str:
    """Say why a value is no text; empty where it is one. A number is one."""
    if part is None or part != part:
        return "the text is missing; expected a string"
    if isinstance(part, UnicodeDecodeError):
        return "the text is not UTF-8"
    if isinstance(part, (list, dict, bytes, bool, tuple)):
        return f"the text is a {type(part).__name__}; expected a string"
    return ""


def values(column: Any) -> list[Any]:
    """Give a column's values; in place of a string that is not UTF-8, the error."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [value(scalar) for scalar in column]


def value(scalar: Any) -> Any:
    """Give one value, or the error of a string that is not UTF-8."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return error


def written(column: Any) -> list[Any]:
    """Give a column's values as JSON can hold them: dates and decimals as text."""
    found = spelt(column)
    return [str(one) if isinstance(one, UnicodeDecodeError) else one for one in found or values(column)]


def spelt(column: Any) -> list[Any]:
    """Give dates, times and decimals as the text that is read and written for them; nothing for other columns."""
    import pyarrow

    if pyarrow.types.is_temporal(column.type) or pyarrow.types.is_decimal(column.type):
        try:
            return list(column.cast(pyarrow.string()).to_pylist())
        except pyarrow.ArrowException:  # durations have no text of their own
            pass
    return []


def as_cell(one: Any) -> str | None:
    """Write a value as the text of a cell."""
    if one is None or isinstance(one, str):
        return one
    if isinstance(one, bytes):
        return as_text(one)
    return json.dumps(one, default=as_text)


def as_text(one: Any) -> str:
    """Write what JSON has no form for."""
    return one.decode(errors="backslashreplace") if isinstance(one, bytes) else str(one)


def added_fields(manifest: Manifest, prefix: str) -> list[Any]:
    """Give name and type of each column that predictions add."""
    import pyarrow

    types = {
        f"{prefix}label": pyarrow.string(),
        f"{prefix}labels": pyarrow.list_(pyarrow.string()),
        f"{prefix}truncated": pyarrow.bool_(),
        f"{prefix}windows": pyarrow.int32(),
    }
    names = predicted_columns([], manifest, prefix=prefix)
    return [pyarrow.field(name, types.get(name, pyarrow.float64())) for name in names]


def encode_parquet(chunk: Chunk, predictions: list[Prediction], manifest: Manifest, prefix: str = PREFIX) -> bytes:
    """Write a chunk and its predictions as a Parquet file of its own."""
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
    """Write the rows of several Parquet files of one schema as one file, row group by row group."""
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
