"""Find what an unfinished run can go on from, its checkpoints above all, without heavy imports."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from ftx.finetune.trainer.processes import say
from ftx.output import KeptError
from ftx.output.record import is_intact, read_record

__all__ = [
    "COMPLETE", "TEACHER_LOGITS", "TRAINER_FOLDER", "checkpoint_to_resume", "complete_checkpoints", "damage",
    "newest_intact", "step_of", "unfinished", "unfinished_steps",
]  # fmt: skip

# Lists a checkpoint's files with their digests, and is written last.
COMPLETE = "COMPLETE"
TRAINER_FOLDER = "trainer"
# What a teacher's logits on the texts of a run are called in that folder.
TEACHER_LOGITS = "teacher_logits-*.npy"


def complete_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a Trainer's folder, newest first."""
    return sorted((mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}")), key=step_of, reverse=True)


def unfinished_steps(staging: Path) -> int:
    """Return the step at which an unfinished run can be resumed; 0: none."""
    return next(map(step_of, complete_checkpoints(staging / TRAINER_FOLDER)), 0)


def unfinished(staging: Path) -> str:
    """Say what an unfinished run can go on from; empty: nothing."""
    if steps := unfinished_steps(staging):
        return f"{steps} steps"
    return "the teacher's logits" if any((staging / TRAINER_FOLDER).glob(TEACHER_LOGITS)) else ""


def checkpoint_to_resume(output: Path, staging: Path) -> Path | None:
    """Find the checkpoint to resume from, and remove newer ones that are damaged.

    Raises:
        OutputError: All are damaged.
    """
    scratch = staging / TRAINER_FOLDER
    found, damaged = newest_intact(scratch)
    if damaged and not found:
        raise KeptError(
            f"{output} can't be resumed, as every checkpoint is damaged: {'; '.join(damaged.values())}; "
            "start over with --overwrite"
        )
    for name, what in damaged.items():
        say(f"{name} is discarded, as it is damaged: {what}")
        shutil.rmtree(scratch / name)
    return found


def newest_intact(folder: Path) -> tuple[Path | None, dict[str, str]]:
    """Find the newest checkpoint in a Trainer's folder whose files are as they were written.

    Returns:
        The checkpoint, or None; and what is damaged in each newer one, by its name.
    """
    damaged: dict[str, str] = {}
    for checkpoint in complete_checkpoints(folder):
        found = damage(checkpoint) or damage_of_best(checkpoint)
        if not found:
            return checkpoint, damaged
        damaged[checkpoint.name] = found
    return None, damaged


def damage(checkpoint: Path) -> str | None:
    """Say which files of a checkpoint are damaged; None: none."""
    files = read_record(checkpoint / COMPLETE)
    names = [name for name, digest in files.items() if not is_intact(checkpoint, name, digest)]
    if not files:
        names = [COMPLETE]
    return f"{', '.join(names)} of {checkpoint.name}" if names else None


def damage_of_best(checkpoint: Path) -> str | None:
    """Say what is damaged in the best checkpoint so far, from which the run takes its weights at the end."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    best = state.get("best_global_step")
    return damage(checkpoint.with_name(f"checkpoint-{best}")) if best else None


def step_of(checkpoint: Path) -> int:
    """Read a checkpoint's step from its name."""
    return int(re.sub(r"\D", "", checkpoint.name) or 0)
