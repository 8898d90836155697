"""File locks that are released when their process ends, however it ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftx.errors import OutputError

__all__ = ["locked_place", "try_lock"]


def try_lock(descriptor: int) -> bool:
    """Lock an open file, unless it is locked already. The system unlocks it when it is closed, also by a kill.

    Returns:
        False if another process has locked it. True where locks don't exist: on Windows, and on some network file
        systems.
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
    """Lock an output while it is written.

    Args:
        lock: The lock file; it is created, and removed at the end.
        place: The output, for messages.

    Raises:
        OutputError: Another process holds the lock, or a file of this name is not a lock.
        OSError: The lock file can't be created.
    """
    descriptor = taken(lock, place)
    try:
        with suppress(OSError):  # the number does not fit on a full disk, but the lock holds
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            lock.unlink()  # while it is locked: nobody can have locked it in between
        unlock(descriptor)


def taken(lock: Path, place: Path) -> int:
    """Create and lock a lock file; return its descriptor."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            held = try_lock(descriptor)
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            if holder and not holder.isdigit():
                raise OutputError(f"{lock} exists and is not ftx's lock: move it away, or choose another --output")
            if not held:
                by = f"another process (pid {holder})" if holder else "another process"
                raise OutputError(f"{place} is being written by {by}: wait for it, or end it first")
            if is_at(descriptor, lock):
                os.lseek(descriptor, 0, os.SEEK_SET)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed it between our opening and our locking


def is_at(descriptor: int, lock: Path) -> bool:
    """Tell whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def unlock(descriptor: int) -> None:
    """Release a lock, even if a forked process still has the file open."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
