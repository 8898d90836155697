"""Read a file or standard input line by line. Bytes that are not UTF-8 affect only their own line."""

from __future__ import annotations

import errno
import gzip
import io
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ftx.advice import advice
from ftx.errors import DataError

__all__ = [
    "BUFFER_BYTES",
    "LONGEST_LINE_BYTES",
    "NOT_UTF_8",
    "STANDARD_INPUT",
    "STDIO",
    "Lines",
    "check_file",
    "exists",
    "open_lines",
    "unreadable",
    "without_end",
]

STDIO = "-"
STANDARD_INPUT = "standard input"  # its name in messages
# Longer lines mean an unclosed quote, or a file that is not text. The bound limits memory.
LONGEST_LINE_BYTES = 2**27
BUFFER_BYTES = 2**20
NOT_UTF_8 = "not UTF-8; convert it, with iconv for example"
OTHER_KINDS = {
    b"\x1f\x8b": "gzip: name it .gz",
    b"PAR1": "Parquet: name it .parquet",
    b"PK\x03\x04": "a zip archive, as .xlsx is: save it as CSV",
    b"\xff\xfe": "UTF-16: convert it to UTF-8, with iconv for example",
    b"\xfe\xff": "UTF-16: convert it to UTF-8, with iconv for example",
}


def exists(name: str) -> bool:
    """Tell whether there is something at a path, readable or not; a name that no file can have is none."""
    try:
        Path(name).stat()
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    except ValueError:  # a NUL in the name
        return False
    return True


def check_file(path: Path) -> None:
    """Check that a path is a file: opening a pipe waits for a writer, and a device never ends.

    Raises:
        DataError: It is something else, or does not exist.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unreadable(path, error) from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise DataError(f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device')}; expected a file")


def unreadable(where: Path | str, error: BaseException) -> DataError:
    """Say that a file can't be read, and what to do about it."""
    said = f"{error.strerror or error}: {advice(error)}" if isinstance(error, OSError) else str(error)
    return DataError(f"{where!s:.300} can't be read: {said}")


def without_end(line: str) -> str:
    """Cut off the line feed, or CR LF."""
    return line.removesuffix("\n").removesuffix("\r")


class Lines:
    """The lines of a stream; only line feeds end one. The reader decides about lines that are not UTF-8.

    Args:
        name: What messages call the stream.
        raw: The stream.
        text: The same stream, decompressed.
        size: Bytes of `raw` in all; 0: not known.
        longest: Maximum bytes of a line.

    Attributes:
        name: What messages call the stream.
        number: The number of the last line.
        size: Bytes of all lines so far.
        undecodable: Whether a line that is not UTF-8 was given; `take_undecodable` resets it.
        ended: Whether the end of the stream was reached.
    """

    def __init__(self, name: str, raw: BinaryIO, text: Any, *, size: int, longest: int) -> None:
        self.name = name
        self.number = self.size = 0
        self.undecodable = self.ended = False
        self._raw, self._text, self._total, self._longest = raw, text, size, longest

    def done(self) -> float | None:
        """Return the share of the file that is read; None: not known."""
        return min(1.0, self._raw.tell() / self._total) if self._total else None

    def take_undecodable(self) -> bool:
        """Tell whether a line since the last call was not UTF-8."""
        undecodable, self.undecodable = self.undecodable, False
        return undecodable

    def __iter__(self) -> Iterator[str]:
        while raw := self._next():
            self.number += 1
            self.size += len(raw)
            if self.number == 1:
                for magic, said in OTHER_KINDS.items():
                    if raw.startswith(magic):
                        raise DataError(f"{self.name} is {said}")
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                self.undecodable = True
                yield raw.decode(errors="replace")
        self.ended = True

    def _next(self) -> bytes:
        try:
            raw: bytes = self._text.readline(self._longest)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            found = "ends too early" if isinstance(error, EOFError) else f"is damaged ({error})"
            raise DataError(
                f"{self._next_line()}: the gzip data {found}; {self.number} lines were whole: copy it again"
            ) from error
        except OSError as error:
            raise unreadable(self._next_line(), error) from error
        if len(raw) == self._longest and not raw.endswith(b"\n"):
            raise DataError(f"{self._next_line()}: a line of more than {self._longest >> 20} MiB; expected text")
        return raw

    def _next_line(self) -> str:
        return f"{self.name}:{self.number + 1}"


@contextmanager
def open_lines(path: Path, *, gz: bool = False, longest: int | None = None) -> Iterator[Lines]:
    """Open a file, or standard input as `-`, for its lines; standard input is not closed afterwards.

    Args:
        path: The file.
        gz: Whether it is compressed with gzip.
        longest: Maximum bytes of a line; default: `LONGEST_LINE_BYTES`.

    Raises:
        DataError: It can't be read.
    """
    longest = longest or LONGEST_LINE_BYTES
    if str(path) == STDIO:
        if sys.stdin is None:
            raise DataError("standard input is closed; expected rows from it, or a file as --input")
        yield Lines(STANDARD_INPUT, sys.stdin.buffer, unpacked(sys.stdin.buffer, gz), size=0, longest=longest)
        return
    try:
        raw = path.open("rb", buffering=BUFFER_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unreadable(path, error) from error
    with raw:
        size = path.stat().st_size if raw.seekable() else 0
        yield Lines(str(path), raw, unpacked(raw, gz), size=size, longest=longest)


def unpacked(raw: BinaryIO, gz: bool) -> Any:
    """Decompress a stream if it is gzip."""
    return io.BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER_BYTES) if gz else raw
