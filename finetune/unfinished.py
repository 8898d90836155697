"""Find what an unfinished run left, without loading anything heavy."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["COMPLETE", "TRAINER_FOLDER", "newest_checkpoint", "steps", "unfinished_steps"]

COMPLETE = "COMPLETE"
TRAINER_FOLDER = "trainer"


def newest_checkpoint(folder: Path) -> Path | None:
    """Give the complete checkpoint of the most steps in a Trainer's folder; None where there is none."""
    complete = [mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=steps, default=None)


def steps(checkpoint: Path) -> int:
    """Read a checkpoint's step from its name."""
    return int(re.sub(r"\D", "", checkpoint.name) or 0)


def unfinished_steps(staging: Path) -> int:
    """Tell how many steps an unfinished run can be resumed after; 0: none."""
    newest = newest_checkpoint(staging / TRAINER_FOLDER)
    return steps(newest) if newest else 0
