"""Move a finished folder to its place, so that a crash at any point loses nothing and the move can be resumed.

A finished folder waits in its staging folder, and is complete as soon as its record exists. If there is nothing at the
target, one rename publishes it. If a folder is overwritten, that folder is kept, with its mode and the user's own
files, and these files in the staging folder record the progress:

    .replaces   lists what is removed from the target first: each file that still has the digest in this list
    .replaced   those are removed; the files in the record are moved from the staging folder to the target, the record
                last
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ftx.errors import OutputError
from ftx.output.record import digest_of, is_intact, read_record, record_of, replace_text, sync, write_record

__all__ = [
    "Kind",
    "in_the_way",
    "is_finished",
    "is_occupied",
    "is_whole",
    "list_replaced",
    "mode_of",
    "publish",
    "read_only",
    "refuse_foreign",
    "seal",
]

REPLACES = ".replaces"
REPLACED = ".replaced"
RECORD = "SHA256SUMS"
# For a folder whose readers take every other file for data.
HIDDEN_RECORD = "_SHA256SUMS"
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What ftx writes into a folder.

    Attributes:
        what: Its name, for messages.
        owned: Patterns of the paths of its files; anything else in a folder is ignored.
        mark: A file that is always part of it: a list of digests without it is not ftx's.
        record: The name of its list of digests.
        scratch: A temporary folder, which is not published.
        inner: Folders in it that ftx writes separately, and that are out of date when it is replaced.
    """

    what: str
    owned: frozenset[str]
    mark: str = ""
    record: str = RECORD
    scratch: str = ""
    inner: Mapping[str, Kind] = field(default_factory=dict)


def is_occupied(target: Path) -> bool:
    """Tell whether a folder is not empty."""
    return target.is_dir() and any(target.iterdir())


def is_finished(folder: Path) -> bool:
    """Tell whether a folder has its record, which is written last."""
    return record_in(folder) is not None


def record_in(folder: Path) -> str | None:
    """Return the name of a folder's record, if it has one."""
    return next((name for name in (RECORD, HIDDEN_RECORD) if (folder / name).is_file()), None)


def is_whole(target: Path, kind: Kind) -> bool:
    """Tell whether a folder has a record of this kind."""
    return bool(recorded(target, kind))


def recorded(target: Path, kind: Kind) -> dict[str, str]:
    """List what ftx wrote into a folder: digests by path, each record after the files that it lists."""
    files = read_record(target / kind.record)
    if kind.mark and kind.mark not in files:
        files = {}
    if files or not kind.mark:
        with_record = target / kind.record
        if with_record.is_file():
            files[kind.record] = digest_of(with_record)
    for name, inner in kind.inner.items():
        files |= {f"{name}/{path}": digest for path, digest in recorded(target / name, inner).items()}
    return files


def in_the_way(target: Path, kind: Kind) -> list[str]:
    """List what ftx would have to replace in a folder, and is not as ftx left it."""
    known = recorded(target, kind)
    found = {name for name, digest in known.items() if lies(target / name) and not is_intact(target, name, digest)}
    for pattern in (*kind.owned, kind.record):
        found |= {name for name in matching(target, pattern) if name not in known}
        found |= blocked_parents(target, pattern)
    return sorted(found)


def matching(target: Path, pattern: str) -> Iterable[str]:
    """Return the paths in a folder that match a pattern, including broken links."""
    if "*" not in pattern:
        return [pattern] if lies(target / pattern) else []
    return [path.relative_to(target).as_posix() for path in target.glob(pattern)]


def blocked_parents(target: Path, name: str) -> set[str]:
    """Return the parents of a path that exist and are links or files."""
    parents = [str(parent) for parent in PurePosixPath(name).parents if parent.name]
    return {
        one for one in parents if lies(target / one) and ((target / one).is_symlink() or not (target / one).is_dir())
    }


def refuse_foreign(target: Path, names: list[str], advice: str) -> None:
    """Refuse to overwrite what is not ftx's.

    Raises:
        OutputError: There are such files.
    """
    if names:
        listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        verb = "are not ftx's, or were" if len(names) > 1 else "is not ftx's, or was"
        raise OutputError(f"{target} holds {listed}, which {verb} changed since: {advice}")


def seal(staging: Path, target: Path, kind: Kind, *, overwrite: bool) -> None:
    """Mark a staging folder as finished: from now on it will be published, by this process or by the next one."""
    (staging / REPLACES).unlink(missing_ok=True)  # of an earlier attempt
    if overwrite:
        list_replaced(staging, target, kind)
    write_record(staging, kind.record, without=(kind.scratch, REPLACES, REPLACED))


def list_replaced(staging: Path, target: Path, kind: Kind) -> None:
    """List what a finished folder replaces in the target, unless that was done before."""
    if is_occupied(target) and not lies(staging / REPLACES) and not lies(staging / REPLACED):
        replace_text(staging / REPLACES, record_of(recorded(target, kind)))


def publish(staging: Path, target: Path) -> None:
    """Move a finished folder to its place, from the start or from where a crash interrupted it.

    Raises:
        OutputError: A file of the user's is in the way; everything is kept.
        OSError: The disk is full, for example; everything is kept.
    """
    record = record_in(staging) or RECORD
    digests = read_record(staging / record)
    names = [*digests]
    if not names and (staging / record).stat().st_size:
        raise OutputError(f"{staging / record} is damaged; expected a list of digests: move {staging} away")
    drop_unlisted(staging, {*names, record, REPLACES, REPLACED})
    if not (staging / REPLACES).exists() and not (staging / REPLACED).exists():
        put(staging, target)
        return
    if not (staging / REPLACED).exists():
        make_place(staging, target, {*names, record})
        (staging / REPLACES).replace(staging / REPLACED)
        sync(staging)
    left = [name for name in names if lies(staging / name)]
    refuse(staging, target, [name for name in (*left, record) if lies(target / name)])
    folders = {target, *(path for name in left for path in parents_of(target, name))}
    for folder in sorted(folders):
        folder.mkdir(exist_ok=True)
    try:
        for name in left:
            (staging / name).rename(target / name)
        for folder in sorted(folders):
            sync(folder)
        (staging / record).rename(target / record)
    except FileNotFoundError:
        if not staging.exists():  # somebody removed it: without their list, files would be taken for the user's
            for name in [name for name, digest in digests.items() if is_intact(target, name, digest)]:
                (target / name).unlink()
        raise
    sync(target)
    shutil.rmtree(staging)


def put(staging: Path, target: Path) -> None:
    """Publish to a free place, or to an empty folder, whose mode is kept."""
    if is_occupied(target):
        raise taken(staging, target)
    if target.is_dir() and (mode := mode_of(target)) != mode_of(staging):
        staging.chmod(mode)
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise taken(staging, target) from error
        raise
    sync(target.parent)


def make_place(staging: Path, target: Path, names: set[str]) -> None:
    """Remove listed files from the target if they are unchanged, and folders that become empty and are not needed."""
    old = {name: digest for name, digest in read_record(staging / REPLACES).items() if is_intact(target, name, digest)}
    blocked = {name for name in names if lies(target / name) and name not in old}
    refuse(staging, target, blocked.union(*(blocked_parents(target, name) for name in names)))
    for name in old:
        (target / name).unlink()
    needed = {path for name in names for path in parents_of(target, name)}
    emptied = {path for name in old for path in parents_of(target, name)}
    for folder in sorted(emptied, reverse=True):
        if folder not in needed and not any(folder.iterdir()):
            folder.rmdir()
    for folder in sorted(path for path in {target, *emptied} if path.is_dir()):
        sync(folder)


def refuse(staging: Path, target: Path, names: Iterable[str]) -> None:
    """Refuse to publish over the user's own files."""
    advice = f"move it away and run the command again; the new result is complete, in {staging}"
    refuse_foreign(target, sorted(names), advice)


def taken(staging: Path, target: Path) -> OutputError:
    """Report that the place is no longer free."""
    return OutputError(
        f"{target} is no longer empty: move it away and run the command again, or add --overwrite; "
        f"the new result is complete, in {staging}"
    )


def drop_unlisted(staging: Path, names: set[str]) -> None:
    """Remove temporary files."""
    kept = {PurePosixPath(name).parts[0] for name in names}
    for path in staging.iterdir():
        if path.name not in kept:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def read_only(target: Path, kind: Kind) -> list[Path]:
    """Return the folders of a target that are not writable."""
    folders = {target, *(parent for name in recorded(target, kind) for parent in parents_of(target, name))}
    return [path for path in sorted(folders) if path.is_dir() and not os.access(path, os.W_OK | os.X_OK)]


def parents_of(target: Path, name: str) -> list[Path]:
    """Return the folders between the target and a path in it."""
    return [target / parent for parent in PurePosixPath(name).parents if parent.name]


def mode_of(folder: Path) -> int:
    """Return a folder's mode."""
    return stat.S_IMODE(folder.stat().st_mode)


def lies(path: Path) -> bool:
    """Tell whether a path exists, even as a broken link."""
    return os.path.lexists(path)
