"""Put a finished folder into its place so that a crash at any point loses nothing and can be gone on from.

A finished folder waits in its staging folder, and is whole as soon as its record is there. Where nothing stands at the
target, one rename publishes it. Where a folder is overwritten, that folder stays, with its mode and all that is the
user's, and these files of the staging folder tell how far things are:

    .replaces   lists what goes from the target first: each file if it still has the digest that it is listed with
    .replaced   it has gone; what the record lists moves from the staging folder to the target, the record last
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
# For a folder whose readers take every file for data, but those.
HIDDEN_RECORD = "_SHA256SUMS"
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What ftx writes into a folder.

    Attributes:
        what: Its name, for messages.
        owned: The files it may consist of, as patterns of their paths; what else lies in a folder is never asked about.
        mark: A file that is always part of it: a list of digests without it is somebody else's.
        record: The name of its list of digests.
        scratch: A folder that helps to write it and is no part of it.
        inner: Folders in it that ftx writes by themselves, and that go out of date with it.
    """

    what: str
    owned: frozenset[str]
    mark: str = ""
    record: str = RECORD
    scratch: str = ""
    inner: Mapping[str, Kind] = field(default_factory=dict)


def is_occupied(target: Path) -> bool:
    """Tell whether a folder holds anything."""
    return target.is_dir() and any(target.iterdir())


def is_finished(folder: Path) -> bool:
    """Tell whether a folder has its record, which is written last."""
    return record_in(folder) is not None


def record_in(folder: Path) -> str | None:
    """Name a folder's record; None where it has none."""
    return next((name for name in (RECORD, HIDDEN_RECORD) if (folder / name).is_file()), None)


def is_whole(target: Path, kind: Kind) -> bool:
    """Tell whether a folder has a record of this kind."""
    return bool(recorded(target, kind))


def recorded(target: Path, kind: Kind) -> dict[str, str]:
    """List what ftx wrote into a folder, by path, each record after what it lists, with the digests they had then."""
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
    """Name what stands in a folder where ftx may need to write, and is not as ftx left it."""
    known = recorded(target, kind)
    found = {name for name, digest in known.items() if lies(target / name) and not is_intact(target, name, digest)}
    for pattern in (*kind.owned, kind.record):
        found |= {name for name in matching(target, pattern) if name not in known}
        found |= blocked_parents(target, pattern)
    return sorted(found)


def matching(target: Path, pattern: str) -> Iterable[str]:
    """Give the paths of a folder that a pattern fits, links that lead nowhere among them."""
    if "*" not in pattern:
        return [pattern] if lies(target / pattern) else []
    return [path.relative_to(target).as_posix() for path in target.glob(pattern)]


def blocked_parents(target: Path, name: str) -> set[str]:
    """Give the parents of a path that are there and are no folders of the target's own."""
    parents = [str(parent) for parent in PurePosixPath(name).parents if parent.name]
    return {
        one for one in parents if lies(target / one) and ((target / one).is_symlink() or not (target / one).is_dir())
    }


def refuse_foreign(target: Path, names: list[str], advice: str) -> None:
    """Refuse to go on where something is in the way.

    Raises:
        OutputError: Something is.
    """
    if names:
        listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        verb = "are not ftx's, or were" if len(names) > 1 else "is not ftx's, or was"
        raise OutputError(f"{target} holds {listed}, which {verb} changed since: {advice}")


def seal(staging: Path, target: Path, kind: Kind, *, overwrite: bool) -> None:
    """Make a staging folder a finished one: from here on it is published, by this process or by the next one."""
    (staging / REPLACES).unlink(missing_ok=True)  # of an earlier attempt
    if overwrite:
        list_replaced(staging, target, kind)
    write_record(staging, kind.record, without=(kind.scratch, REPLACES, REPLACED))


def list_replaced(staging: Path, target: Path, kind: Kind) -> None:
    """Write down what goes from the target to make place for a finished folder, unless that was done before."""
    if is_occupied(target) and not lies(staging / REPLACES) and not lies(staging / REPLACED):
        replace_text(staging / REPLACES, record_of(recorded(target, kind)))


def publish(staging: Path, target: Path) -> None:
    """Put a finished folder into its place, from the beginning or from where a crash left off.

    Raises:
        OutputError: Something of the user's is in the way; everything is kept.
        OSError: The disk is full, or the like; likewise.
    """
    record = record_in(staging) or RECORD
    names = [*read_record(staging / record)]
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
    for name in left:
        (staging / name).rename(target / name)
    for folder in sorted(folders):
        sync(folder)
    (staging / record).rename(target / record)
    sync(target)
    shutil.rmtree(staging)


def put(staging: Path, target: Path) -> None:
    """Publish where there is nothing, or an empty folder, of which the mode is kept."""
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
    """Remove from the target what is listed and unchanged, and the folders that are empty then and not needed again."""
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
    """Refuse to publish over what is the user's own."""
    advice = f"move it away and give the command again; what was to stand there is whole, in {staging}"
    refuse_foreign(target, sorted(names), advice)


def taken(staging: Path, target: Path) -> OutputError:
    """Say that the place was free once and is not any more."""
    return OutputError(
        f"{target} holds something by now: move it away and give the command again, or add --overwrite; "
        f"what was to stand there is whole, in {staging}"
    )


def drop_unlisted(staging: Path, names: set[str]) -> None:
    """Remove scratch."""
    kept = {PurePosixPath(name).parts[0] for name in names}
    for path in staging.iterdir():
        if path.name not in kept:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def read_only(target: Path, kind: Kind) -> list[Path]:
    """Give the folders of a target in which nothing can be replaced."""
    folders = {target, *(parent for name in recorded(target, kind) for parent in parents_of(target, name))}
    return [path for path in sorted(folders) if path.is_dir() and not os.access(path, os.W_OK | os.X_OK)]


def parents_of(target: Path, name: str) -> list[Path]:
    """Give the folders between the target and a path in it."""
    return [target / parent for parent in PurePosixPath(name).parents if parent.name]


def mode_of(folder: Path) -> int:
    """Read a folder's mode."""
    return stat.S_IMODE(folder.stat().st_mode)


def lies(path: Path) -> bool:
    """Tell whether there is anything of this name, a link that leads nowhere too."""
    return os.path.lexists(path)
