"""Say what the operating system refused, and what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["GONE", "advice", "here", "refused", "remedy"]

PERMISSION = "allow it (chmod, chown)"
ROOM = "make room"
CONNECTION = "check the connection, and try again"
GONE = "the folder you stand in was removed: go to another"
REMEDIES = {
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.EROFS: "mount it for writing",
    errno.ENOSPC: ROOM,
    getattr(errno, "EDQUOT", errno.ENOSPC): ROOM,
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "end other programs: the system has no room for more open files",
    errno.ENOMEM: "end other programs, or take a larger machine",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle: name the file itself",
    errno.ENOENT: "check the name",
    errno.ENOTDIR: "what stands before the last / is a file: check the name",
    errno.EISDIR: "expected a file",
    errno.EBADF: "a standard stream is closed: open it",
    errno.EIO: "the disk, the network or the terminal fails: look after it, and try again",
    errno.ETIMEDOUT: CONNECTION,
    errno.ECONNREFUSED: CONNECTION,
    errno.ECONNRESET: CONNECTION,
    errno.ECONNABORTED: CONNECTION,
    errno.ENETUNREACH: CONNECTION,
    errno.EHOSTUNREACH: CONNECTION,
}
OF_A_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}


def advice(error: OSError) -> str:
    """Say what to do about an error of the operating system."""
    return remedy(error) + (", or choose another place" if error.errno in OF_A_PLACE else "")


def remedy(error: OSError) -> str:
    """Say what to do about an error at a place that is to stay."""
    if error.errno == errno.ENOENT and error.filename is None and not here():
        return GONE
    return REMEDIES.get(error.errno or 0, "check the place, and try again")


def refused(error: OSError) -> str:
    """Say which file it was about, the system's own words, and what to do."""
    if error.errno is None:  # a library's own, with all its words
        return str(error) or type(error).__name__
    named = error.filename
    name = f"{os.fsdecode(named)}: " if isinstance(named, (str, bytes, Path)) else ""
    return f"{name}{error.strerror or os.strerror(error.errno)}: {advice(error)}"


def here() -> bool:
    """Tell whether the working directory is still there."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True
