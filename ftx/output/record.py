"""The list of what ftx wrote into a folder, by digest: what is not in it, or was changed since, is the user's own."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

__all__ = ["digest_of", "is_intact", "read_record", "record_of", "replace_text", "sync", "write_record"]

# As `sha256sum` writes them. Its form for names with a line break is not read: ftx gives none such.
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
# What the name of a file ends in while it is written.
NEW = ".new"
CHUNK_BYTES = 1 << 20
# What a file system answers that can't sync a folder.
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


def write_record(folder: Path, name: str, without: Iterable[str] = ()) -> None:
    """List a folder's files with their digests, for `sha256sum --check`, once all of them are on the disk.

    A folder with this list is whole.

    Args:
        folder: The folder.
        name: The name of the list.
        without: Names at the top that are not listed, such as scratch.
    """
    files: dict[str, str] = {}
    left_out = {name, *without, *(f"{one}{NEW}" for one in (name, *without))}
    for parent, folders, names in os.walk(folder, onerror=unlisted):
        here = Path(parent)
        if here == folder:
            folders[:] = [one for one in folders if one not in left_out]
            names = [one for one in names if one not in left_out]
        for one in names:
            sync(here / one)
            files[(here / one).relative_to(folder).as_posix()] = digest_of(here / one)
        sync(here)
    replace_text(folder / name, record_of(dict(sorted(files.items()))))


def unlisted(error: OSError) -> None:
    """Stop at a folder that can't be read: what is not listed would not be kept."""
    raise error


def record_of(files: Mapping[str, str]) -> str:
    """Write digests by path as `sha256sum` does."""
    return "".join(f"{digest}  {path}\n" for path, digest in files.items())


def read_record(path: Path) -> dict[str, str]:
    """Read digests by path; empty where there is no such list, or it is not one.

    A list that names itself was made by somebody who listed the whole folder, their own files too.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found = [LINE.fullmatch(line) for line in lines]
    files = {match[2]: match[1] for match in found if match}
    inside = all(not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts for name in files)
    return files if all(found) and inside and path.name not in files else {}


def is_intact(folder: Path, name: str, digest: str) -> bool:
    """Tell whether a listed file is there, as a file of this folder and not by way of a link, with its digest."""
    path = folder / name
    try:
        reached = [path, *list(path.parents)[: len(PurePosixPath(name).parts) - 1]]
        return path.is_file() and not any(map(Path.is_symlink, reached)) and digest_of(path) == digest
    except OSError:
        return False


def digest_of(path: Path) -> str:
    """Compute a file's SHA-256, as hexadecimal digits."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def replace_text(path: Path, text: str) -> None:
    """Write a file that is there with its old text or its new one, never with half of it, after a power cut too."""
    beside = path.with_name(path.name + NEW)
    beside.write_text(text, encoding="utf-8")
    sync(beside)
    beside.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk, where it can.

    Raises:
        OSError: The disk is full or failing.
    """
    if os.name == "nt":  # which syncs only what is open for writing, and opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
