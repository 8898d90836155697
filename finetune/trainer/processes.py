"""One training in several processes: `torchrun` and `accelerate launch` start them and number them by RANK."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["agreed", "is_first_process", "say"]


def is_first_process() -> bool:
    """Tell whether this process is the one that writes and speaks; without a launcher it is."""
    return int(os.environ.get("RANK", "0")) == 0


def say(line: str) -> None:
    """Tell the user on stderr, once."""
    if is_first_process():
        print(line, file=sys.stderr)


def agreed(value: Any) -> Any:
    """Give every process the first one's value."""
    from torch import distributed

    values = [value]
    if distributed.is_initialized():  # accelerate's own broadcast leaves processes on a CPU with what each has
        distributed.broadcast_object_list(values, src=0)
    return values[0]
