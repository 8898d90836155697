"""Write a folder beside its place, and move it there when it is complete: all or nothing, and no file is lost."""

from __future__ import annotations

import logging
import os
import shutil
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

log = logging.getLogger(__name__)

# Says what in a staging folder can be resumed, such as `25 steps`; empty: nothing.
Resumable = Callable[[Path], str]


class FinishedError(OutputError):
    """What should be resumed is finished."""


@contextmanager
def staged_folder(
    output: Path, *, kind: Kind, overwrite: bool, resume: bool = False, resumable: Resumable = lambda staging: ""
) -> Iterator[Path]:
    """Yield a folder beside `output`, and move it to `output` when the block ends without an exception.

    Enter it before any work is done: an output that can't or must not be written is refused here. From then on no other
    process writes there. A result that an earlier process finished and did not publish is published first.
    After an exception the folder is removed, unless it can be resumed.

    Args:
        output: Where the folder will be. A link to a folder stays a link.
        kind: What is written.
        overwrite: Whether what ftx wrote there before may be replaced. Anything else there is kept.
        resume: Whether to continue what an unfinished run left; otherwise the folder is new.
        resumable: Says what in a staging folder can be resumed, such as `25 steps`; empty: nothing.

    Raises:
        OutputError: The place is taken, is being written by another process, or can't be written; or the disk is full.
        FinishedError: With `resume`: the run is finished.
    """
    with ExitStack() as held:
        with explained(output):
            target = located(output, kind.what)
            held.enter_context(locked_place(beside(target, "lock"), output))
            recovered = recover(target, kind, output, overwrite=overwrite)
            if overwrite and is_occupied(target):
                for name, inner in kind.inner.items():
                    claim_inner(target / name, inner, output / name, held)
            staging = staging_of(target)
            if resume and not resumable(staging) and (recovered or (not overwrite and is_whole(target, kind))):
                raise FinishedError(f"{output} is finished: there is nothing to resume")
            check_place(target, kind, output, overwrite=overwrite)
            begin(staging, target, output, overwrite=overwrite, resume=resume, resumable=resumable)
            made = held.enter_context(opened(staging))

        def kept() -> str:
            done = resumable(staging)
            return f" and continue with --resume: {done} are done and kept" if done else OTHERWISE

        try:
            with explained(output, kept, within=staging):
                yield staging
            with explained(output, kept):
                check_same(made, staging, output)
                seal(staging, target, kind, overwrite=overwrite)
            with explained(output, lambda: f" and run the command again: its result is complete, in {staging}"):
                publish(staging, target)
        except BaseException as error:
            leave(staging, output, resumable, told=isinstance(error, KeptError))
            raise


def recover(target: Path, kind: Kind, output: Path, *, overwrite: bool) -> bool:
    """Publish what an earlier process finished.

    Returns:
        Whether there was something to publish.
    """
    staging, old = staging_of(target), beside(target, "old")
    if old.is_dir() and not target.exists():  # an older version of ftx was killed between two renames
        old.rename(target)
    if not is_finished(staging):
        return False
    if overwrite:
        list_replaced(staging, target, kind)
    publish(staging, target)
    log.warning(f"{output}: finished by an earlier command, which was ended before it could publish it")
    return True


def claim_inner(target: Path, kind: Kind, output: Path, held: ExitStack) -> None:
    """Lock a folder within the one that is overwritten, and clear what a killed process left there."""
    staging, lock = staging_of(target), beside(target, "lock")
    if not any(path.exists() for path in (target / kind.record, staging, lock)):
        return
    held.enter_context(locked_place(lock, output))
    recover(target, kind, output, overwrite=True)
    if staging.exists():
        shutil.rmtree(staging)


def check_place(target: Path, kind: Kind, output: Path, *, overwrite: bool) -> None:
    """Check that a place is free, or that everything to be replaced is as ftx left it.

    Raises:
        OutputError: It is not.
    """
    if not is_occupied(target):
        return
    if not overwrite:
        raise OutputError(f"{output} is not empty: choose another --output, or add --overwrite")
    refuse_foreign(output, in_the_way(target, kind), "move it away, or choose another --output")
    if found := read_only(target, kind):
        raise OutputError(f"{found[0]} is not writable, so that nothing in it can be replaced: make it writable")


def begin(staging: Path, target: Path, output: Path, *, overwrite: bool, resume: bool, resumable: Resumable) -> None:
    """Create a staging folder, or keep that of an unfinished run to resume; one with nothing done is removed first.

    Raises:
        OutputError: There is an unfinished run, and neither `resume` nor `overwrite`.
    """
    done = resumable(staging)
    if done and not resume and not overwrite:
        raise OutputError(
            f"{output} is unfinished, with {done} done: continue with --resume, or start over with --overwrite"
        )
    if staging.exists() and not (done and resume):  # left by a process that was killed
        shutil.rmtree(staging)
    staging.mkdir(exist_ok=True)
    if target.is_dir():  # with the same permissions for others
        staging.chmod(mode_of(target) | 0o700)


@contextmanager
def opened(folder: Path) -> Iterator[int | None]:
    """Keep a folder open, to tell it from another of its name; None where folders can't be opened, as on Windows."""
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
    """Check that a staging folder is the one that was created: if it is removed, libraries create it again, in part.

    Raises:
        OutputError: It is not.
    """
    if made is not None and not (staging.is_dir() and os.path.samestat(os.fstat(made), staging.stat())):
        raise OutputError(
            f"{staging}, where {output} was being written, was removed by another program: start over with --overwrite"
        )


def leave(staging: Path, output: Path, resumable: Resumable, *, told: bool) -> None:
    """Remove a staging folder that can't be resumed; report one that is kept."""
    if is_finished(staging):
        if not told:
            log.warning(f"{output}: finished, and kept in {staging}: run the command again")
    elif done := resumable(staging):
        if not told:
            log.warning(f"{output}: {done} are done and kept: continue with --resume")
    else:
        shutil.rmtree(staging, ignore_errors=True)
