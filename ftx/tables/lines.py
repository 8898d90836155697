"""Read a file line by line, as bytes: what is not UTF-8 spoils its own line and no other."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ftx.errors import DataError

__all__ = ["LONGEST_LINE_BYTES", "Lines", "check_file", "exists", "unreadable"]

# No row is that long: a quote that is never closed, or no text file. It bounds memory.
LONGEST_LINE_BYTES = 2**27
BUFFER_BYTES = 2**20
OTHER_KINDS = {
    b"\x1f\x8b": "gzip: unpack it with gunzip",
    b"PAR1": "Parquet: name it .parquet",
    b"PK\x03\x04": "a zip archive, as .xlsx is: save it as CSV",
    b"\xff\xfe": "UTF-16: convert it to UTF-8, with iconv for example",
    b"\xfe\xff": "UTF-16: convert it to UTF-8, with iconv for example",
}


def exists(name: str) -> bool:
    """Tell whether something stands at a path, readable or not; a name that no file can have is none."""
    try:
        Path(name).stat()
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    except ValueError:  # a NUL in the name
        return False
    return True


def check_file(path: Path) -> None:
    """Check that a path is a file: to open a pipe waits for a writer, and a device never ends.

    Raises:
        DataError: It is something else, or not there.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unreadable(path, error) from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise DataError(f"{path} is {kinds.get(stat.S_IFMT(mode), 'a device')}; expected a file")


def unreadable(path: Path, error: BaseException) -> DataError:
    """Say that a file can't be read."""
    return DataError(f"{path!s:.300} can't be read: {getattr(error, 'strerror', None) or error}")


class Lines:
    """The lines of a file; only line feeds end one. Bytes that are not UTF-8 are marked, and left to the reader.

    Attributes:
        path: The file.
        number: The number of the line given last.
        spoilt: Whether a line that was not UTF-8 was given; the reader sets it back.
        ended: Whether the file's end was met.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.spoilt = False
        self.ended = False
        try:
            self._file: Any = path.open("rb", buffering=BUFFER_BYTES)
        except OSError as error:
            raise unreadable(path, error) from error

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[str]:
        while raw := self._next():
            self.number += 1
            if self.number == 1:
                self._check_kind(raw)
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                self.spoilt = True
                yield raw.decode(errors="replace")
        self.ended = True

    def take_spoilt(self) -> bool:
        """Tell whether a line since the last call was not UTF-8."""
        spoilt, self.spoilt = self.spoilt, False
        return spoilt

    def _next(self) -> bytes:
        try:
            raw: bytes = self._file.readline(LONGEST_LINE_BYTES)
        except OSError as error:
            raise unreadable(self.path, error) from error
        if len(raw) == LONGEST_LINE_BYTES and not raw.endswith(b"\n"):
            raise DataError(
                f"{self.path}:{self.number + 1}: a line of more than {LONGEST_LINE_BYTES >> 20} MiB; expected text"
            )
        return raw

    def _check_kind(self, raw: bytes) -> None:
        for magic, said in OTHER_KINDS.items():
            if raw.startswith(magic):
                raise DataError(f"{self.path} is {said}")
