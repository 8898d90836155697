"""Write a folder beside its place and put it there when it is whole, so that nothing half-made and no file is lost."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ftx.errors import OutputError
from ftx.locking import locked_place
from ftx.output.place import OTHERWISE, KeptError, beside, explained, located, staging_of
from ftx.output.publishing import (
    Kind,
    in_the_way,
    is_finished,
    is_occupied,
    is_whole,
    list_replaced,
    mode_of,
    publish,
    read_only,
    refuse_foreign,
    seal,
)

__all__ = ["FinishedError", "KeptError", "Kind", "explained", "staged_folder", "staging_of"]

Resumable = Callable[[Path], int]


class FinishedError(OutputError):
    """What was to be gone on with is finished."""


def nothing(staging: Path) -> int:
    """Say of a staging folder that there is nothing in it to go on from."""
    return 0


@contextmanager
def staged_folder(
    output: Path, *, kind: Kind, overwrite: bool, resume: bool = False, resumable: Resumable = nothing
) -> Iterator[Path]:
    """Give a folder beside `output`, and put it at `output` when the block ends without an exception.

    Enter it before any work is spent: what can't be written, or must not, is refused here. From then on no other
    process writes there. What an earlier process had finished and not put into its place is put there first.
    After an exception the folder is removed, unless there is something in it to go on from.

    Args:
        output: Where the folder will stand. A link to a folder stays a link.
        kind: What is written.
        overwrite: Whether what ftx wrote there before may be replaced. Anything else that lies there stays.
        resume: Whether to go on from what an unfinished run left; else the folder is fresh.
        resumable: Tells how many steps of it there are in a staging folder.

    Raises:
        OutputError: The place is taken, is being written by another process, or can't be written; or the disk is full.
        FinishedError: With `resume`: there is nothing to go on with, because it is finished.
    """
    with ExitStack() as held:
        with explained(output):
            target = located(output, kind.what)
            held.enter_context(locked(target, output))
            recovered = recover(target, kind, output, overwrite=overwrite)
            if overwrite and is_occupied(target):
                for name, inner in kind.inner.items():
                    claim_inner(target / name, inner, output / name, held)
            staging = staging_of(target)
            if resume and not resumable(staging) and (recovered or (not overwrite and is_whole(target, kind))):
                raise FinishedError(f"{output} is finished: there is nothing to go on with")
            check_place(target, kind, output, overwrite=overwrite)
            begin(staging, target, output, overwrite=overwrite, resume=resume, resumable=resumable)
            made = held.enter_context(opened(staging))

        def kept() -> str:
            steps = resumable(staging)
            return f" and go on with --resume: {steps} steps are done and kept" if steps else OTHERWISE

        try:
            with explained(output, kept, within=staging):
                yield staging
            with explained(output, kept):
                check_same(made, staging, output)
                seal(staging, target, kind, overwrite=overwrite)
            with explained(output, lambda: f" and give the command again: what it made is whole, in {staging}"):
                publish(staging, target)
        except BaseException as error:
            leave(staging, output, resumable, told=isinstance(error, KeptError))
            raise


def recover(target: Path, kind: Kind, output: Path, *, overwrite: bool) -> bool:
    """Put what an earlier process had finished into its place.

    Returns:
        Whether there was such a thing.
    """
    staging, old = staging_of(target), beside(target, "old")
    if old.is_dir() and not target.exists():  # an earlier version of ftx was killed between two renames
        old.rename(target)
    if not is_finished(staging):
        return False
    if overwrite:
        list_replaced(staging, target, kind)
    publish(staging, target)
    print(f"{output}: finished by an earlier command, which did not come to put it into its place", file=sys.stderr)
    return True


def claim_inner(target: Path, kind: Kind, output: Path, held: ExitStack) -> None:
    """Keep other processes from writing a folder within the one that is overwritten; clear what a killed one left."""
    staging = staging_of(target)
    if not any(path.exists() for path in (target / kind.record, staging, beside(target, "lock"))):
        return
    held.enter_context(locked(target, output))
    recover(target, kind, output, overwrite=True)
    if staging.exists():
        shutil.rmtree(staging)


def check_place(target: Path, kind: Kind, output: Path, *, overwrite: bool) -> None:
    """Check that a place is free, or that all that has to go from there is as ftx left it.

    Raises:
        OutputError: It is not.
    """
    if not is_occupied(target):
        return
    if not overwrite:
        raise OutputError(f"{output} holds something already: choose another --output, or add --overwrite")
    refuse_foreign(output, in_the_way(target, kind), "move it away, or choose another --output")
    if found := read_only(target, kind):
        raise OutputError(f"{found[0]} is not writable, so that nothing in it can be replaced: make it so")


def begin(staging: Path, target: Path, output: Path, *, overwrite: bool, resume: bool, resumable: Resumable) -> None:
    """Make a staging folder, or keep that of an unfinished run to go on with.

    Raises:
        OutputError: There is an unfinished run, and no word of what is to become of it.
    """
    steps = resumable(staging)
    if steps and not resume and not overwrite:
        raise OutputError(
            f"{output} was begun and not finished, {steps} steps are done: go on with --resume, "
            "or begin anew with --overwrite"
        )
    if staging.exists() and not (steps and resume):  # left by a process that was killed
        shutil.rmtree(staging)
    staging.mkdir(exist_ok=True)
    if target.is_dir():  # what nobody else may read there, they may not read here
        staging.chmod(mode_of(target) | 0o700)


@contextmanager
def opened(folder: Path) -> Iterator[int | None]:
    """Hold a folder open, so that no other can pass for it; None where folders can't be opened, as on Windows."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def check_same(made: int | None, staging: Path, output: Path) -> None:
    """Check that a staging folder is the one that was made: a library makes it anew, and half, when it is gone.

    Raises:
        OutputError: It is not.
    """
    if made is not None and not (staging.is_dir() and os.path.samestat(os.fstat(made), staging.stat())):
        raise OutputError(
            f"{staging}, where {output} was being written, was removed by another program: begin anew with --overwrite"
        )


def leave(staging: Path, output: Path, resumable: Resumable, *, told: bool) -> None:
    """Remove what nobody can go on from; say what is kept."""
    if is_finished(staging):
        if not told:
            print(f"{output}: finished, and kept in {staging}: give the command again", file=sys.stderr)
    elif steps := resumable(staging):
        if not told:
            print(f"{output}: {steps} steps are done and kept: go on with --resume", file=sys.stderr)
    else:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def locked(target: Path, output: Path) -> Iterator[None]:
    """Hold the lock of an output folder."""
    with locked_place(beside(target, "lock"), output):
        yield
