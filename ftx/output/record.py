"""The record of a folder: digests of the files that ftx wrote. Anything else, or changed since, is the user's."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

__all__ = [
    "digest_of", "is_intact", "read_record", "record_of", "renew_record", "replace_text", "sync", "write_record",
]  # fmt: skip

# As `sha256sum` prints them, except its form for names with a line break, which ftx does not use.
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
# The suffix of a file while it is written.
NEW = ".new"
CHUNK_BYTES = 1 << 20
# The errors of file systems that can't sync a folder.
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


def write_record(folder: Path, name: str, without: Iterable[str] = ()) -> None:
    """List a folder's files with their digests, for `sha256sum --check`, after all of them are synced to the disk.

    A folder with this list is complete.

    Args:
        folder: The folder.
        name: The name of the list.
        without: Names at the top that are not listed, such as temporary ones.
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


def renew_record(record: Path, path: Path) -> None:
    """Give a listed file, which ftx has written anew, its digest as it is now."""
    files = read_record(record)
    name = path.relative_to(record.parent).as_posix()
    if name in files:
        replace_text(record, record_of({**files, name: digest_of(path)}))


def unlisted(error: OSError) -> None:
    """Fail at a folder that can't be read: files that are not listed would be lost."""
    raise error


def record_of(files: Mapping[str, str]) -> str:
    """Format digests by path as `sha256sum` does."""
    return "".join(f"{digest}  {path}\n" for path, digest in files.items())


def read_record(path: Path) -> dict[str, str]:
    """Read digests by path; empty if there is no list, or it is not one.

    A list that contains itself was made by someone who listed the whole folder, including their own files.
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
    """Tell whether a listed file exists in this folder, not through a link, and has its digest."""
    path = folder / name
    try:
        reached = [path, *list(path.parents)[: len(PurePosixPath(name).parts) - 1]]
        return path.is_file() and not any(map(Path.is_symlink, reached)) and digest_of(path) == digest
    except OSError:
        return False


def digest_of(path: Path) -> str:
    """Compute a file's SHA-256 in hexadecimal."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def replace_text(path: Path, text: str) -> None:
    """Replace a file's text atomically, even through a power cut."""
    beside = path.with_name(path.name + NEW)
    beside.write_text(text, encoding="utf-8")
    sync(beside)
    beside.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to the disk, where the system supports that.

    Raises:
        OSError: The disk is full or failing.
    """
    if os.name == "nt":  # syncs only files open for writing, and can't open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
