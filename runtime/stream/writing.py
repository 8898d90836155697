"""Encode rows and their predictions, and write them to an output that appears only when it is complete."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ftx.errors import OutputError
from ftx.locking import try_lock
from ftx.manifest import Manifest
from ftx.output.record import sync
from ftx.runtime.heads import Prediction
from ftx.runtime.stream.columns import predicted_columns
from ftx.runtime.stream.parquet import encode_parquet, join_parquet
from ftx.runtime.stream.reading import Chunk
from ftx.tables.formats import Format
from ftx.tables.lines import STDIO
from ftx.text import clean

__all__ = [
    "FilePlace", "PartsPlace", "Place", "StreamPlace", "encode_chunk", "explained", "locked", "remove", "write_whole",
]  # fmt: skip

COMPRESSION = 6


def encode_chunk(
    chunk: Chunk, predictions: list[Prediction], manifest: Manifest, prefix: str, kind: Format, *, first: bool
) -> bytes:
    """Encode a chunk in a format.

    Args:
        chunk: The input's rows.
        predictions: One for each row.
        manifest: Labels and head.
        prefix: Prefix of the added columns' names.
        kind: The format. With gzip, each chunk is a member of its own, so that a file can be cut between them.
        first: Whether a header comes first.
    """
    if kind.kind == "parquet":
        return encode_parquet(chunk, predictions, manifest, prefix)
    added = predicted_columns(predictions, manifest, prefix=prefix, nested=kind.kind == "jsonl")
    if kind.kind == "jsonl":
        lines: Iterable[str] = encode_json(chunk, added)
    elif kind.kind == "csv":
        lines = encode_csv(chunk, added, first)
    else:
        lines = encode_tsv(chunk, added, first)
    data = "".join(lines).encode()
    return gzip.compress(data, COMPRESSION, mtime=0) if kind.gz and (data or first) else data


def encode_json(chunk: Chunk, added: dict[str, list[Any]]) -> Iterator[str]:
    """Yield an object a line: the input's own text, if it is JSON, with the predictions before its last brace."""
    objects = chunk.objects
    if objects is None:
        objects = [json.dumps(dict(zip(chunk.names, row, strict=True))) for row in chunk.cells]
    for text, values in zip(objects, zip(*added.values(), strict=True), strict=True):
        yield f"{text[:-1].rstrip()}, {json.dumps(dict(zip(added, values, strict=True)))[1:]}\n"


def encode_csv(chunk: Chunk, added: dict[str, list[Any]], first: bool) -> list[str]:
    """Return comma-separated lines, quoted where needed."""
    lines: list[str] = []

    class Gathered:
        """Collects each row; the terminator CR LF, which is not kept, makes csv quote cells with either character."""

        def write(self, line: str) -> None:
            lines.append(line[:-2] + "\n")

    writer = csv.writer(Gathered(), lineterminator="\r\n")
    if first:
        writer.writerow([clean(name) for name in (*chunk.names, *added)])
    for row, values in zip(chunk.cells, zip(*added.values(), strict=True), strict=True):
        writer.writerow([*(cell and clean(cell) for cell in row), *map(as_cell, values)])
    return lines


def encode_tsv(chunk: Chunk, added: dict[str, list[Any]], first: bool) -> Iterator[str]:
    """Yield cells separated by tabs, as they are: the reader has rejected tabs and line breaks in them."""
    if first:
        yield "\t".join(clean(name) for name in (*chunk.names, *added)) + "\n"
    for row, values in zip(chunk.cells, zip(*added.values(), strict=True), strict=True):
        yield "\t".join((*(clean(cell or "") for cell in row), *map(as_cell, values))) + "\n"


def as_cell(value: Any) -> str:
    """Format a predicted value: labels separated by |, booleans as in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "|".join(map(clean, value)) if isinstance(value, list) else clean(str(value))


class Place:
    """Where the output goes."""

    def begin(self, committed: int) -> None:
        """Open the place, and discard what was written after `committed`."""

    @abstractmethod
    def append(self, data: bytes) -> int:
        """Write a chunk durably; return what `begin` needs to continue after it."""

    def publish(self, committed: int) -> None:
        """Move the complete output to its place."""

    def close(self) -> None:
        """Close the place."""


class StreamPlace(Place):
    """Standard output, a pipe or a device."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: Any = None

    def begin(self, committed: int) -> None:
        """Open the stream."""
        if str(self._path) == STDIO:
            if sys.stdout is None:
                raise OutputError("standard output is closed; expected one, or a file as --output")
            sys.stdout.flush()
            # Unbuffered: after a broken pipe, Python would write what is left in a buffer when it exits.
            self._stream = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        else:
            self._stream = self._path.open("wb", buffering=0)

    def append(self, data: bytes) -> int:
        """Write a chunk."""
        write_whole(self._stream, data)
        return 0

    def close(self) -> None:
        """Close what was opened."""
        if self._stream is not None and str(self._path) != STDIO:
            self._stream.close()


class FilePlace(Place):
    """A file that is written beside its place, and renamed at the end."""

    def __init__(self, target: Path, part: Path) -> None:
        self._target, self._part = target, part
        self._file: Any = None

    def begin(self, committed: int) -> None:
        """Open the file, truncated to `committed` bytes."""
        self._file = self._part.open("ab", buffering=0)
        if self._file.seek(0, os.SEEK_END) < committed:
            raise OutputError(f"{self._part} is shorter than its journal says: start over with --overwrite")
        self._file.truncate(committed)
        self._file.seek(committed)

    def append(self, data: bytes) -> int:
        """Write a chunk to the disk; return the file's size."""
        write_whole(self._file, data)
        os.fsync(self._file.fileno())
        return int(self._file.tell())

    def publish(self, committed: int) -> None:
        """Rename the file to its place."""
        self.close()
        if self._part.exists():
            self._part.replace(self._target)
            sync(self._target.parent)
        elif not self._target.exists() or self._target.stat().st_size != committed:
            # Otherwise an earlier run was killed after the renaming.
            raise OutputError(f"{self._part} is missing, though it is in the journal: start over with --overwrite")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class PartsPlace(Place):
    """A folder of Parquet files, one a chunk, that are joined at the end: Parquet can't be appended to."""

    def __init__(self, target: Path, part: Path) -> None:
        self._target, self._part = target, part
        self._count = 0

    def begin(self, committed: int) -> None:
        """Remove all but the first `committed` files."""
        self._part.mkdir(exist_ok=True)
        self._count = committed
        kept = set(self._files())
        for path in self._part.iterdir():
            if path not in kept:
                path.unlink()
        self._check_files()

    def append(self, data: bytes) -> int:
        """Write a file to the disk; return the number of files."""
        with (self._part / f"{self._count:08}.parquet").open("wb", buffering=0) as file:
            write_whole(file, data)
            os.fsync(file.fileno())
        sync(self._part)
        self._count += 1
        return self._count

    def publish(self, committed: int) -> None:
        """Join the files, and move the result to its place."""
        self._count = committed
        self._check_files()
        joined = self._part / "joined"
        with joined.open("wb") as file:
            try:
                join_parquet(self._files(), file)
            except ValueError as error:  # the base of Arrow's errors
                raise OutputError(f"{self._part} holds damaged rows ({error}): start over with --overwrite") from error
            file.flush()
            os.fsync(file.fileno())
        joined.replace(self._target)
        sync(self._target.parent)

    def _check_files(self) -> None:
        """Check that all committed files exist."""
        if missing := [path for path in self._files() if not path.is_file()]:
            raise OutputError(f"{missing[0]} is missing, though it is in the journal: start over with --overwrite")

    def _files(self) -> list[Path]:
        return [self._part / f"{number:08}.parquet" for number in range(self._count)]


def write_whole(file: BinaryIO | Any, data: bytes) -> None:
    """Write all bytes: an unbuffered file may take only some at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the output while a job writes it, so that no second one does. A kill releases the lock.

    Raises:
        OutputError: Another process holds it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if not try_lock(descriptor):
            raise OutputError(f"{path} is being written by another process: wait for it, or end it first")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def explained(path: Path, kept: Callable[[OSError], str]) -> Iterator[None]:
    """Turn an error of the operating system into one line.

    Args:
        path: The output, to which an error that names no file refers.
        kept: Says what to do about the error, and whether the job can be resumed.

    Raises:
        OutputError: The disk is full, for example. A pipe without a reader stays a BrokenPipeError.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        output = "standard output" if str(path) == STDIO else str(path)
        where = error.filename if isinstance(error.filename, str) else f"{output} could not be written"
        raise OutputError(f"{where}: {error.strerror or error}; {kept(error)}") from error
