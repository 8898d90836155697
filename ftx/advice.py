"""Explain errors of the operating system, and what to do about them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["GONE", "advice", "here", "refused", "remedy"]

PERMISSION = "change the permissions (chmod, chown)"
ROOM = "free some space"
CONNECTION = "check the connection, and try again"
GONE = "the working directory was removed: change to another"
REMEDIES = {
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.EROFS: "mount it for writing",
    errno.ENOSPC: ROOM,
    getattr(errno, "EDQUOT", errno.ENOSPC): ROOM,
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "end other programs: too many files are open on this system",
    errno.ENOMEM: "end other programs, or use a larger machine",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links form a loop: name the file itself",
    errno.ENOENT: "check the name",
    errno.ENOTDIR: "what is before the last / is a file: check the name",
    errno.EISDIR: "expected a file",
    errno.EBADF: "a standard stream is closed: open it",
    errno.EIO: "the disk, the network or the terminal failed: check it, and try again",
    errno.ETIMEDOUT: CONNECTION,
    errno.ECONNREFUSED: CONNECTION,
    errno.ECONNRESET: CONNECTION,
    errno.ECONNABORTED: CONNECTION,
    errno.ENETUNREACH: CONNECTION,
    errno.EHOSTUNREACH: CONNECTION,
}
OF_A_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}


def advice(error: OSError) -> str:
    """Return what to do about an error."""
    return remedy(error) + (", or choose another place" if error.errno in OF_A_PLACE else "")


def remedy(error: OSError) -> str:
    """Return what to do about an error at a place that can't be changed for another."""
    if error.errno == errno.ENOENT and error.filename is None and not here():
        return GONE
    return REMEDIES.get(error.errno or 0, "check the place, and try again")


def refused(error: OSError) -> str:
    """Return the file, the system's message, and what to do."""
    if error.errno is None:  # raised by a library, with its own message
        return str(error) or type(error).__name__
    named = error.filename
    name = f"{os.fsdecode(named)}: " if isinstance(named, (str, bytes, Path)) else ""
    return f"{name}{error.strerror or os.strerror(error.errno)}: {advice(error)}"


def here() -> bool:
    """Tell whether the working directory still exists."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True
