"""Write a folder beside its place and put it there when it is whole, so that a crash leaves no half of one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ftx.errors import OutputError

__all__ = ["check_free", "staged_folder", "staging_of"]


Resumable = Callable[[Path], int]


def nothing(staging: Path) -> int:
    """Say of a staging folder that there is nothing in it to go on from."""
    return 0


def check_free(
    target: Path, *, overwrite: bool, what: str, resume: bool = False, resumable: Resumable = nothing
) -> None:
    """Check that a folder may be written at `target`, before any work is spent on it.

    Args:
        target: Where the folder will stand.
        overwrite: Whether one that stands there may be replaced.
        what: What is written, for messages.
        resume: Whether what an unfinished run left is gone on from.
        resumable: Tells how many steps of it there are in a staging folder.

    Raises:
        OutputError: Something is there and `overwrite` is not set, or the place can't be written.
    """
    restore(target)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file; expected a folder for the {what}: choose another --output")
    if target.is_dir() and any(target.iterdir()):
        if not overwrite:
            raise OutputError(f"{target} holds something already: choose another --output, or add --overwrite")
        if Path.cwd().is_relative_to(target.resolve()):
            raise OutputError(f"{target} is the folder you stand in: go one up to overwrite it, or choose another")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = staging_of(target)
        steps = resumable(staging)
        if steps and not resume and not overwrite:
            raise OutputError(
                f"{target} was begun and not finished, {steps} steps are done: go on with --resume, "
                "or begin anew with --overwrite"
            )
        if staging.exists() and not (steps and resume):  # left by a run that was killed
            shutil.rmtree(staging)
        staging.mkdir(exist_ok=True)
        if not (steps and resume):
            staging.rmdir()
    except OSError as error:
        raise OutputError(
            f"{target} can't be written ({error.strerror}): choose another --output, or make {target.parent} writable"
        ) from error


@contextmanager
def staged_folder(
    target: Path,
    *,
    overwrite: bool,
    owned: set[str],
    what: str,
    resume: bool = False,
    resumable: Resumable = nothing,
) -> Iterator[Path]:
    """Give a folder beside `target`, and put it at `target` when the block ends without an exception.

    After an exception it is removed, unless there is something in it to go on from.

    Args:
        target: Where the folder will stand.
        overwrite: Whether a folder that stands there may be replaced.
        owned: Names that belong to what is written: what else lies in a folder that is overwritten is kept.
        what: What is written, for messages.
        resume: Whether to go on from what an unfinished run left; else the folder is fresh.
        resumable: Tells how many steps of it there are.

    Raises:
        OutputError: See `check_free`; or the disk is full.
    """
    check_free(target, overwrite=overwrite, what=what, resume=resume, resumable=resumable)
    staging = staging_of(target)
    staging.mkdir(exist_ok=True)
    try:
        yield staging
        publish(staging, target, owned)
    except OSError as error:
        raise OutputError(
            f"{target} could not be written: {error.strerror or error}; make room, or choose another"
        ) from error
    finally:
        if steps := resumable(staging):
            print(f"{target}: {steps} steps are done and kept: go on with --resume", file=sys.stderr)
        else:
            shutil.rmtree(staging, ignore_errors=True)


def publish(staging: Path, target: Path, owned: set[str]) -> None:
    """Put `staging` at `target` by renaming; a folder that stands there gives its foreign files to the new one."""
    if not target.exists():
        staging.rename(target)
        return
    old = beside(target, "old")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    staging.rename(target)
    for path in old.iterdir():
        if path.name not in owned and not (target / path.name).exists():
            path.rename(target / path.name)
    shutil.rmtree(old)


def restore(target: Path) -> None:
    """Bring back the folder of an overwrite that was killed between its two renames."""
    old = beside(target, "old")
    if old.exists() and not target.exists():
        old.rename(target)


def staging_of(target: Path) -> Path:
    """Name the folder in which what is to stand at `target` is written."""
    return beside(target, "partial")


def beside(target: Path, role: str) -> Path:
    """Name the hidden neighbour of `target` that plays `role`."""
    resolved = target.resolve()
    return resolved.with_name(f".{resolved.name}.{role}")
