"""An untrusted file, opened once: what was checked is what is used, whatever happens to its path."""

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

# Protobuf's limit for a message, and so for an ONNX file.
MAX_BYTES = 2**31 - 1
# tokenizer.json, config.json: the largest in use have some 30 MB.
MAX_SMALL_BYTES = 2**28
# If a file was written less than this ago, its times do not tell whether it was written again: some file systems have
# a resolution of seconds.
COARSEST_SEC = 2.0


class Snapshot:
    """An ONNX file as it was when it was opened.

    Its descriptor stays open, so that replacing the file has no effect, and its SHA-256 is compared before and after
    each further use, which detects changes in place. Keeping the bytes in memory would do the same, but cost
    onnxruntime twice the file's size (measured).

    Args:
        path: The `.onnx` file.
        sealed: Whether to refuse a file that was changed after it was sealed.

    Attributes:
        path: The file.
        metadata: Its `metadata_props`.
        sha256: Digest of the file, as `sha256sum` prints it.

    Raises:
        OnnxFileError: The file can't be read, is not a complete ONNX file, or not one that ftx runs; see `read_model`.
    """

    def __init__(self, path: Path, *, sealed: bool = True) -> None:
        self.path = path
        self._descriptor = open_regular(path, MAX_BYTES, "an .onnx file, or a folder with one")
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._close.atexit = False  # calls work until the process ends
        self._checked = self._state()
        with self._bytes() as view:
            self.metadata, self.sha256 = read_model(path, view, sealed=sealed)

    def close(self) -> None:
        """Close the file."""
        self._close()

    @contextmanager
    def source(self) -> Iterator[str | bytes]:
        """Yield what onnxruntime loads: a path of the open descriptor, which can't be replaced, else the bytes.

        Raises:
            OnnxFileError: The file was changed since it was opened, or is changed in the meantime.
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
        self._checked = ()  # valid only once, right after opening
        try:
            yield name
        finally:
            after = self._state()
            if after != before or time.time() - max(after[1:]) / 1e9 < COARSEST_SEC:
                self._compare()

    def _state(self) -> tuple[int, ...]:
        """Return size and times, which reveal most changes: the last one can't be set by a user."""
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _compare(self, view: memoryview | None = None) -> None:
        """Compare the SHA-256 with that of the file when it was opened."""
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
        """Read the whole file, through its descriptor, into memory that is returned to the system at the end.

        The file itself is not mapped: if it were truncated in the meantime, the process would be killed (SIGBUS).
        """
        size = os.fstat(self._descriptor).st_size
        if not size:
            raise OnnxFileError(f"{self.path} can't be read: it is empty; expected an .onnx file")
        try:
            # Not bytes: after freeing a large block, glibc keeps later ones of that size.
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
    """Read a file beside an ONNX file.

    Raises:
        OnnxFileError: It can't be read, or is too large to be what it should be.
    """
    with os.fdopen(open_regular(path, MAX_SMALL_BYTES, "a JSON file"), "rb") as file:
        try:
            return file.read()
        except OSError as error:
            raise OnnxFileError(f"{path} can't be read: {error.strerror}") from error


def open_regular(path: Path, max_bytes: int, expected: str) -> int:
    """Open a regular file for reading, and return its descriptor. Does not block on pipes or devices.

    Raises:
        OnnxFileError: It can't be opened, is not a regular file, or is larger than `max_bytes`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        check_regular(path, path.stat(), max_bytes)  # opening a device may have effects
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
    """Refuse a file that is not regular, or too large."""
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
    """Read the beginning of a file into memory, without moving its position; return the number of bytes."""
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
    """Shorten a path that is too long for a line in the middle."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-50:]}"
