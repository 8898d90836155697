"""The seconds that a search may spend on a better choice. What passes the gate does not depend on them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

__all__ = ["TRY_UNTIL", "Budget"]

log = logging.getLogger(__name__)

# The share of the budget after which no further form is tried; the rest is for the race.
TRY_UNTIL = 0.6


class Budget:
    """Seconds, counted from now.

    Args:
        sec: How many.
        clock: Tells the time in seconds.
    """

    def __init__(self, sec: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.sec = sec
        self._clock = clock
        self._began = clock()
        self._bar: tqdm[Any] | None = None

    def spent(self) -> float:
        """Tell how many seconds are gone."""
        return self._clock() - self._began

    def left(self, share: float = 1.0) -> float:
        """Tell how many seconds of a share of the budget are left; 0 where none are."""
        return max(0.0, share * self.sec - self.spent())

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show a progress bar over the budget until the block ends, on a terminal only, where notes are wanted."""
        hidden = None if log.isEnabledFor(logging.INFO) else True  # None: hidden unless on a terminal
        with tqdm(
            total=round(self.sec), desc="Searching", unit=" s", disable=hidden, leave=False, file=sys.stderr
        ) as self._bar:
            yield
        self._bar = None

    def tick(self) -> None:
        """Move the progress bar to where the clock is."""
        if self._bar is not None:
            self._bar.update(min(round(self.spent()), self._bar.total) - self._bar.n)
