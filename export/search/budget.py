"""The seconds that a search may spend on a better choice. What passes the gate does not depend on them."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Budget"]


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

    def spent(self) -> float:
        """Tell how many seconds are gone."""
        return self._clock() - self._began

    def left(self, share: float = 1.0) -> float:
        """Tell how many seconds of a share of the budget are left; 0 where none are."""
        return max(0.0, share * self.sec - self.spent())
