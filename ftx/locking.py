"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftx.errors import OutputError

__all__ = ["locked_place", "try_lock"]


def try_lock(descriptor: int) -> bool:
    """Lock an open file, unless somebody else has it locked; the system unlocks it when it is closed, by a kill too.

    Returns:
        False where another holder has it. True where there are no locks: on Windows, and on some network file systems.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


@contextmanager
def locked_place(lock: Path, place: Path) -> Iterator[None]:
    """Hold the lock of a place that is written to.

    Args:
        lock: The lock file; it is made, and removed at the end.
        place: What is locked, for the message.

    Raises:
        OutputError: Another process holds it, or a file of this name is no lock.
        OSError: The lock file can't be made.
    """
    descriptor = taken(lock, place)
    try:
        with suppress(OSError):  # a full disk takes no number, but the lock holds
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            lock.unlink()  # while it is held: nobody can have locked it in between
        unlock(descriptor)


def taken(lock: Path, place: Path) -> int:
    """Make and lock a lock file; give it open."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            held = try_lock(descriptor)
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            if holder and not holder.isdigit():
                raise OutputError(f"{lock} is there and is no lock of ftx's: move it away, or choose another --output")
            if not held:
                by = f"another process (pid {holder})" if holder else "another process"
                raise OutputError(f"{place} is being written by {by}: wait for it, or end it first")
            if is_at(descriptor, lock):
                os.lseek(descriptor, 0, os.SEEK_SET)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder was done and removed it between our opening and our locking


def is_at(descriptor: int, lock: Path) -> bool:
    """Tell whether the file that is open is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def unlock(descriptor: int) -> None:
    """Let go of a lock, also where a process that was forked has the file open still."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
