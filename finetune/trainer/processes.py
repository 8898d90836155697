"""Train in several processes: `torchrun` or `accelerate launch` starts them and numbers them by RANK."""

from __future__ import annotations

import logging
import os
from typing import Any

__all__ = ["agreed", "is_first_process", "join_processes", "say"]

log = logging.getLogger(__name__)


def is_first_process() -> bool:
    """Tell whether this process is the one that writes files and messages; without a launcher it is."""
    return int(os.environ.get("RANK", "0")) == 0


def say(line: str) -> None:
    """Print a message on stderr, once for all processes."""
    if is_first_process():
        log.info(line)


def join_processes() -> Any:
    """Connect to the other processes, if there are any, and return accelerate's `PartialState`."""
    from accelerate import PartialState

    return PartialState()


def agreed(value: Any) -> Any:
    """Return the first process's value in every process."""
    from torch import distributed

    values = [value]
    if distributed.is_initialized():  # accelerate's own broadcast does nothing on a CPU
        distributed.broadcast_object_list(values, src=0)
    return values[0]
