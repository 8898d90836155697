"""Find what an unfinished run left, without loading anything heavy."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ftx.output.record import is_intact, read_record

__all__ = [
    "COMPLETE", "TRAINER_FOLDER", "damage", "newest_checkpoint", "newest_sound_checkpoint", "steps", "unfinished_steps",
]  # fmt: skip

# Lists a checkpoint's files with their digests, and is written last.
COMPLETE = "COMPLETE"
TRAINER_FOLDER = "trainer"


def newest_checkpoint(folder: Path) -> Path | None:
    """Give the complete checkpoint of the most steps in a Trainer's folder; None where there is none."""
    complete = [mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=steps, default=None)


def newest_sound_checkpoint(folder: Path) -> tuple[Path | None, dict[str, str]]:
    """Find the checkpoint to go on from: the newest one that is as it was written.

    Returns:
        It, or None where there is none; and what is damaged of those that are newer: by name, what is wrong.
    """
    damaged: dict[str, str] = {}
    complete = [mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}")]
    for checkpoint in sorted(complete, key=steps, reverse=True):
        found = damage(checkpoint) or damage_of_best(checkpoint)
        if not found:
            return checkpoint, damaged
        damaged[checkpoint.name] = found
    return None, damaged


def damage(checkpoint: Path) -> str | None:
    """Say what is damaged of a checkpoint; None: nothing is."""
    files = read_record(checkpoint / COMPLETE)
    names = [name for name, digest in files.items() if not is_intact(checkpoint, name, digest)]
    if not files:
        names = [COMPLETE]
    return f"{', '.join(names)} of {checkpoint.name}" if names else None


def damage_of_best(checkpoint: Path) -> str | None:
    """Say what is damaged of the best checkpoint up to then, from which the run takes its weights at the end."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    best = state.get("best_global_step")
    return damage(checkpoint.with_name(f"checkpoint-{best}")) if best else None


def steps(checkpoint: Path) -> int:
    """Read a checkpoint's step from its name."""
    return int(re.sub(r"\D", "", checkpoint.name) or 0)


def unfinished_steps(staging: Path) -> int:
    """Tell how many steps an unfinished run can be resumed after; 0: none."""
    newest = newest_checkpoint(staging / TRAINER_FOLDER)
    return steps(newest) if newest else 0
