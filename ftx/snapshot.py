"""A file from a stranger, opened once: what was checked is what is used, whatever becomes of its path."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import stat
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ftx.errors import OnnxFileError
from ftx.onnx_metadata import read_model

__all__ = ["Snapshot", "read_small", "shortened"]

# Protobuf's own bound for a message, and so for an ONNX file.
MAX_BYTES = 2**31 - 1
# tokenizer.json, config.json: the largest in use are of some 30 MB.
MAX_SMALL_BYTES = 2**28
# Of a file that was written less than this before, the times do not tell whether it was written again: some file
# systems count in seconds.
COARSEST_SEC = 2.0


class Snapshot:
    """An ONNX file as it was when it was opened.

    Its descriptor stays open, so that a file that takes its place is not seen, and its SHA-256 is compared before and
    after each further use, so that a change in place is. Bytes held in memory would do the same, and cost onnxruntime
    twice the file's size (tried).

    Args:
        path: The `.onnx` file.

    Attributes:
        path: The file.
        metadata: Its `metadata_props`.
        sha256: Of all its bytes, as `sha256sum` tells it.

    Raises:
        OnnxFileError: The file can't be read, is no whole ONNX file, or one that ftx does not run; see `read_model`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = open_regular(path, MAX_BYTES, "an .onnx file, or a folder with one")
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._close.atexit = False  # calls go on to work until the end
        self._checked = self._state()
        with self._bytes() as view:
            self.metadata, self.sha256 = read_model(path, view)

    def close(self) -> None:
        """Let go of the file."""
        self._close()

    @contextmanager
    def source(self) -> Iterator[str | bytes]:
        """Give what onnxruntime is to load: a name of the open file that no other can take, else its bytes.

        Raises:
            OnnxFileError: The file was changed since it was opened, or is changed meanwhile.
        """
        name = f"/proc/self/fd/{self._descriptor}"
        if not (sys.platform == "linux" and os.access(name, os.R_OK)):
            with self._bytes() as view:
                self._compare(view)
                data = bytes(view)
            yield data
            return
        before = self._state()
        if before != self._checked:
            self._compare()
        self._checked = ()  # is good for the first time only, right after opening
        try:
            yield name
        finally:
            after = self._state()
            if after != before or time.time() - max(after[1:]) / 1e9 < COARSEST_SEC:
                self._compare()

    def _state(self) -> tuple[int, ...]:
        """Tell by what most changes are noticed: size and times, of which nobody can set the last one."""
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _compare(self, view: memoryview | None = None) -> None:
        """Compare the SHA-256 with that of the file as it was opened."""
        if view is None:
            with self._bytes() as view:
                return self._compare(view)
        found = hashlib.sha256(view).hexdigest()
        if found != self.sha256:
            raise OnnxFileError(
                f"{self.path} was changed since it was opened: SHA-256 {found[:12]}..., "
                f"was {self.sha256[:12]}...; open it again"
            )
        return None

    @contextmanager
    def _bytes(self) -> Iterator[memoryview]:
        """Read the whole file, by its descriptor, into memory that is given back to the system at the end.

        The file itself is not mapped: where it is cut short meanwhile, the process would die (SIGBUS).
        """
        size = os.fstat(self._descriptor).st_size
        if not size:
            raise OnnxFileError(f"{self.path} can't be read: it is empty; expected an .onnx file")
        try:
            # Not bytes: to free a large block makes glibc keep later ones of its size.
            with (
                mmap.mmap(-1, size) as memory,
                memoryview(memory) as whole,
                whole[: read_into(self._descriptor, whole)] as view,
            ):
                yield view
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError(f"{self.path} holds {size / 2**20:.0f} MiB: too large for this memory") from error
            raise OnnxFileError(f"{self.path} can't be read: {error.strerror}") from error


def read_small(path: Path) -> bytes:
    """Read a file that stands beside an ONNX file.

    Raises:
        OnnxFileError: It can't be read, or is too large to be what it should be.
    """
    with os.fdopen(open_regular(path, MAX_SMALL_BYTES, "a JSON file"), "rb") as file:
        try:
            return file.read()
        except OSError as error:
            raise OnnxFileError(f"{path} can't be read: {error.strerror}") from error


def open_regular(path: Path, max_bytes: int, expected: str) -> int:
    """Open a regular file for reading, and give its descriptor. Whatever else has the name does not hold us up.

    Raises:
        OnnxFileError: It can't be opened, is none, or holds more than so many bytes.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        check_regular(path, path.stat(), max_bytes)  # to open a device may do things
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise OnnxFileError(f"{shortened(path)} can't be read: {reason}; expected {expected}") from error
    try:
        check_regular(path, os.fstat(descriptor), max_bytes)
    except OnnxFileError:
        os.close(descriptor)
        raise
    return descriptor


def check_regular(path: Path, found: os.stat_result, max_bytes: int) -> None:
    """Refuse what is no regular file, or too large."""
    if not stat.S_ISREG(found.st_mode):
        kinds = {
            stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
            stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
        }  # fmt: skip
        kind = kinds.get(stat.S_IFMT(found.st_mode), "no file")
        raise OnnxFileError(f"{path} can't be read: it is {kind}; expected a regular file")
    if found.st_size > max_bytes:
        raise OnnxFileError(
            f"{path} can't be read: it holds {found.st_size / 2**20:.0f} MiB, expected at most {max_bytes / 2**20:.0f}"
        )


def read_into(descriptor: int, view: memoryview) -> int:
    """Fill memory from the beginning of a file; give how many bytes there were. The file's position stays."""
    done = 0
    while done < len(view):
        if hasattr(os, "preadv"):  # forked processes share the position
            count = os.preadv(descriptor, [view[done:]], done)
        else:
            os.lseek(descriptor, done, os.SEEK_SET)
            block = os.read(descriptor, len(view) - done)
            count = len(block)
            view[done : done + count] = block
        if not count:
            break
        done += count
    return done


def shortened(path: Path) -> str:
    """Write a path, without the middle of one that is too long for a line."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-50:]}"
