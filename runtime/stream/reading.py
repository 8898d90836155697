"""Read the rows of a file chunk by chunk, each with the place it came from."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ftx.advice import advice
from ftx.errors import DataError
from ftx.runtime.stream.columns import listed
from ftx.runtime.stream.formats import STDIO
from ftx.text import Text

__all__ = [
    "BUFFER_BYTES",
    "LONGEST_LINE_BYTES",
    "Chunk",
    "Lines",
    "Reading",
    "Row",
    "breaks",
    "chunked",
    "find_texts",
    "open_lines",
]

# No text is that long: a quote that is never closed, or no text file. It bounds memory.
LONGEST_LINE_BYTES = 2**27
BUFFER_BYTES = 2**20
OTHER_KINDS = {
    b"\x1f\x8b": "gzip: name it .gz",
    b"PAR1": "Parquet: name it .parquet",
    b"PK\x03\x04": "a zip archive, as .xlsx is: save it as CSV",
    b"\xff\xfe": "UTF-16: convert it to UTF-8, with iconv for example",
    b"\xfe\xff": "UTF-16: convert it to UTF-8, with iconv for example",
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How an input is read.

    Attributes:
        path: The input; `-` is standard input.
        bad: Takes `file:line` and the reason of each row that can't be used; raises where there are too many.
        text_column: The column of the texts; None: `text`, else the only one.
        text_pair_column: The column of the second texts, for pairs.
        text_pair: Whether the model judges two texts together; None: as the columns say.
        added: Names of the columns that predictions add.
        form: What the output is made of: `cells` (strings), `objects` (JSON), or `table` (Arrow).
        plain_cells: Whether cells with tabs and line breaks are bad: the output can't hold them.
        chunk_rows: Rows of a chunk at most.
        chunk_bytes: Its bytes; it ends with the row that reaches them.
    """

    path: Path
    bad: Callable[[str, str], None]
    text_column: str | None
    text_pair_column: str | None
    text_pair: bool | None
    added: tuple[str, ...]
    form: str
    plain_cells: bool
    chunk_rows: int
    chunk_bytes: int

    @property
    def name(self) -> str:
        """What messages call the input."""
        return "standard input" if str(self.path) == STDIO else str(self.path)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows.

    Attributes:
        texts: What the model reads.
        names: The columns of `cells`.
        cells: The rows as strings; None: an empty cell.
        objects: The rows as JSON objects, in place of `cells`.
        table: The rows as an Arrow table, in place of `cells`.
        done: The share of the input that is read; None: not known.
    """

    texts: list[Text]
    names: list[str] = field(default_factory=list)
    cells: list[list[str | None]] = field(default_factory=list)
    objects: list[str] | None = None
    table: Any = None
    done: float | None = None


class Row(NamedTuple):
    """One row: its text, what is written of it (cells, or a JSON object), and its size in bytes."""

    text: Text
    written: Any
    size: int


class Lines:
    """The lines of a stream; only line feeds end one. Bytes that are not UTF-8 are marked, and left to the reader.

    Attributes:
        name: What messages call the stream.
        number: The number of the line given last.
        size: Bytes of all lines given so far.
        spoilt: The number of a line that was not UTF-8; the reader sets it back to 0.
        ended: Whether the stream's end was met.
    """

    def __init__(self, name: str, streams: list[BinaryIO], size: int) -> None:
        self.name = name
        self.number = 0
        self.size = 0
        self.spoilt = 0
        self.ended = False
        self._raw, self._stream = streams[0], streams[-1]
        self._total = size
        self._streams = [] if self._raw is getattr(sys.stdin, "buffer", None) else streams[::-1]

    def done(self) -> float | None:
        """Tell the share of the file that is read; None: not known."""
        return min(1.0, self._raw.tell() / self._total) if self._total else None

    def close(self) -> None:
        """Close the stream, unless it is standard input."""
        for stream in self._streams:
            stream.close()

    def __iter__(self) -> Iterator[str]:
        while raw := self._next():
            self.number += 1
            self.size += len(raw)
            if self.number == 1:
                raw = self._opened(raw)
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                self.spoilt = self.number
                yield raw.decode(errors="replace")
        self.ended = True

    def take_spoilt(self) -> bool:
        """Tell whether a line since the last call was not UTF-8."""
        spoilt, self.spoilt = self.spoilt, 0
        return spoilt > 0

    def _next(self) -> bytes:
        try:
            raw = self._stream.readline(LONGEST_LINE_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            found = "ends too early" if isinstance(error, EOFError) else f"is damaged ({error})"
            raise DataError(
                f"{self.name}:{self.number + 1}: the gzip data {found}; {self.number} lines were whole: copy it again"
            ) from error
        except OSError as error:
            raise DataError(
                f"{self.name}:{self.number + 1} can't be read: {error.strerror or error}: {advice(error)}"
            ) from error
        if len(raw) == LONGEST_LINE_BYTES and not raw.endswith(b"\n"):
            raise DataError(
                f"{self.name}:{self.number + 1}: a line of more than {LONGEST_LINE_BYTES >> 20} MiB; expected text"
            )
        return raw

    def _opened(self, raw: bytes) -> bytes:
        for magic, said in OTHER_KINDS.items():
            if raw.startswith(magic):
                raise DataError(f"{self.name} is {said}")
        return raw.removeprefix(b"\xef\xbb\xbf")


def open_lines(path: Path, gz: bool) -> Lines:
    """Open a file, or standard input, for its lines.

    Raises:
        DataError: It can't be read.
    """
    name, size = str(path), 0
    try:
        if name == STDIO:
            if sys.stdin is None:
                raise DataError("standard input is closed; expected rows from it, or a file as --input")
            name, raw = "standard input", sys.stdin.buffer
        else:
            raw = path.open("rb", buffering=BUFFER_BYTES)
            size = path.stat().st_size if raw.seekable() else 0
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; expected a file") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}: {advice(error)}") from error
    except ValueError as error:  # a NUL in the name
        raise DataError(f"{path} can't be read: {error}") from error
    streams: list[Any] = [raw]
    if gz:
        streams.append(gzip.GzipFile(fileobj=raw))
        streams.append(io.BufferedReader(streams[-1], BUFFER_BYTES))
    return Lines(name, streams, size)


def chunked(rows: Iterable[Row | None], reading: Reading) -> Iterator[list[Row]]:
    """Gather rows into one chunk or more, that end by their rows, bad ones (None) among them, or by their bytes."""
    some: list[Row] = []
    seen = size = chunks = 0
    for row in rows:
        seen += 1
        if row is not None:
            some.append(row)
            size += row.size
        if seen >= reading.chunk_rows or size >= reading.chunk_bytes:
            yield some
            some, seen, size = [], 0, 0
            chunks += 1
    if seen or not chunks:
        yield some


def breaks(cell: str) -> bool:
    """Tell whether a cell holds what separates cells and rows in TSV."""
    return "\t" in cell or "\n" in cell or "\r" in cell


def find_texts(where: str, names: list[str], reading: Reading) -> tuple[str, ...]:
    """Find the column of the texts, or the two of the pairs.

    Raises:
        DataError: They are not there, or the model reads another number of texts.
    """
    text, pair = reading.text_column, reading.text_pair_column
    if reading.text_pair and pair is None:
        pair = "text_pair"
    if reading.text_pair is False and pair is not None:
        raise DataError(f"--text-pair-column {pair}: this model reads one text at a time; leave it out")
    if text is None:
        text = names[0] if len(names) == 1 and pair is None else "text"
    for name, option in ((text, "--text-column"), (pair, "--text-pair-column")):
        if name is not None and name not in names:
            raise DataError(
                f"{where}: there is no column {name!r} for the {'second ' if name == pair else ''}text; "
                f"the columns are {listed(names)}: name yours with {option}"
            )
    if text == pair:
        raise DataError(f"column {text!r} is named for both texts of a pair; expected two columns")
    return (text, pair) if pair is not None else (text,)
