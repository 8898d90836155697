"""The place of an output folder: where links lead, what must not be there, and errors of writing there."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ftx.errors import FtxError, OutputError, write_failed

__all__ = ["KeptError", "beside", "explained", "located", "staging_of"]

# Names beside an output that ftx uses itself: no output may have one.
OURS = re.compile(r"\..+\.(partial|lock|old)")
OTHERWISE = ", or choose another --output"
PLAIN = re.compile(r"space|quota|too large|read-only", re.IGNORECASE)
MOUNTS = Path("/proc/self/mountinfo")
OCTAL = re.compile(r"\\([0-7]{3})")


class KeptError(OutputError):
    """A failure whose message says what is kept."""


def located(output: Path, what: str) -> Path:
    """Resolve links to the place that is written.

    Raises:
        OutputError: It can't be an output folder.
        OSError: It can't be examined.
    """
    target = Path(os.path.realpath(output))
    if not target.name:
        raise OutputError(f"{output} is the root of a file system; expected the name of a folder for the {what}")
    if OURS.fullmatch(target.name):
        raise OutputError(f"{output} has a name that ftx uses itself: choose another --output")
    try:
        here: Path | None = Path.cwd()
    except FileNotFoundError:  # it was removed
        here = None
    if here and target.is_dir() and here.is_relative_to(target):
        raise OutputError(f"{output} is or contains the working directory: leave it, or choose another --output")
    try:
        found = output.stat()
    except FileNotFoundError:
        if output.is_symlink() and not target.parent.is_dir():
            raise OutputError(
                f"{output} is a link to {target}, and there is no folder {target.parent}: create it first, "
                "or choose another --output"
            ) from None
    else:
        if not target.is_dir():
            raise OutputError(f"{output} is a file; expected a folder for the {what}: choose another --output")
        if is_mount_point(target, found.st_dev):
            raise OutputError(
                f"{output} is a mount point, which can't be replaced: choose a folder in it, such as {output / what}"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def is_mount_point(folder: Path, device: int) -> bool:
    """Tell whether a folder is the root of a file system, or of a bind mount."""
    if folder.parent.stat().st_dev != device:
        return True
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    points = (line.split(" ")[4] for line in lines)
    return str(folder) in (OCTAL.sub(lambda match: chr(int(match[1], 8)), point) for point in points)


@contextmanager
def explained(output: Path, kept: Callable[[], str] | None = None, within: Path | None = None) -> Iterator[None]:
    """Turn a failure to write into one line.

    Args:
        output: The output.
        kept: Ends the message: says what is kept.
        within: Errors that name a file outside this folder pass, unless they mean a full disk; default: none pass.

    Raises:
        OutputError: Something could not be written.
    """
    try:
        yield
    except FtxError:
        raise
    except Exception as error:
        if not write_failed(error) and not (isinstance(error, OSError) and concerns(error, within)):
            raise
        advice = advised(error, output) + (kept() if kept else OTHERWISE)
        raise KeptError(f"{output} can't be written: {reason(error)}; {advice}") from error


def reason(error: Exception) -> str:
    """Return an error's message in one line, and what it means if a library reports its internals."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line if PLAIN.search(line) else f"the disk seems to be full ({line})"


def concerns(error: OSError, within: Path | None) -> bool:
    """Tell whether an error names a file in a folder."""
    return within is None or (isinstance(error.filename, str) and Path(error.filename).is_relative_to(within))


def advised(error: Exception, output: Path) -> str:
    """Return what to do about a file that can't be written."""
    code = getattr(error, "errno", None)
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"make {getattr(error, 'filename', None) or output.parent} writable"
    if code == errno.EFBIG:
        return "raise the limit on the size of files (ulimit -f)"
    if code == errno.ENAMETOOLONG:
        return "choose a shorter name"
    if code in (errno.ELOOP, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT):
        return "check the folders of its path"
    return "check the disk" if code == errno.EIO else "free some space"


def staging_of(target: Path) -> Path:
    """Return the staging folder of `target`."""
    return beside(target, "partial")


def beside(target: Path, role: str) -> Path:
    """Return the hidden neighbour of `target` with this role."""
    resolved = Path(os.path.realpath(target))
    return resolved.with_name(f".{resolved.name}.{role}")
