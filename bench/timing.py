"""Time engines that take turns, on the same texts, round after round in one run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import Engine
from ftx.bench.noise import Calibration
from ftx.text import Text
from ftx.turns import PAUSE_SEC, announced, take_turns

__all__ = ["Timings", "time_engines", "warm_up"]


# Before timing starts, each engine repeats a window of texts until three of them agree this well, or has had enough.
WINDOW_TEXTS = 16
AGREE = 0.05
MAX_WINDOWS = 12


@dataclass(frozen=True, kw_only=True)
class Timings:
    """How long an engine took, from text to logits.

    Attributes:
        latencies_ms: Of single texts. *Shape:* `(rounds, texts of a round)`.
        batch_sec: For all texts in batches. *Shape:* `(rounds,)`.
        peak_rss_bytes: Peak memory of its process after the last round.
    """

    latencies_ms: NDArray[np.float64]
    batch_sec: NDArray[np.float64]
    peak_rss_bytes: int

    def ratios_over(self, other: Timings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give how much faster this is at batch 1 and in batches, round by round. *Shape of each:* `(rounds,)`.

        Whatever slows the machine for a while slows both sides of such a ratio.
        """
        alone = np.median(other.latencies_ms, axis=1) / np.median(self.latencies_ms, axis=1)
        return alone, other.batch_sec / self.batch_sec


def warm_up(engine: Engine, texts: list[Text]) -> None:
    """Run single texts until three windows in a row agree."""
    windows: list[float] = []
    while len(windows) < MAX_WINDOWS:
        windows.append(float(np.median(engine.latencies_ms(texts[:WINDOW_TEXTS]))))
        last = windows[-3:]
        if len(last) == 3 and max(last) - min(last) <= AGREE * min(last):
            return


def time_engines(
    engines: list[Engine],
    texts: list[Text],
    calibration: Calibration,
    *,
    batch_size: int,
    rounds: int,
    pause_sec: float = PAUSE_SEC,
) -> tuple[list[Timings], bool]:
    """Time each engine in every round: on another share of the texts one by one, and on all of them in batches.

    Args:
        engines: The engines, warmed up.
        texts: What to time them on.
        calibration: Is measured before, between and after the turns.
        batch_size: Texts in a batch.
        rounds: How many.
        pause_sec: How long to wait before each measurement.

    Returns:
        The timings, and whether Ctrl-C ended them early: then those of the rounds that were complete.

    Raises:
        KeyboardInterrupt: No round was complete.
    """
    each = max(1, len(texts) // rounds)

    def turn(engine: Engine, number: int) -> tuple[NDArray[np.float64], float, int]:
        calibration.measure()
        latencies_ms = engine.latencies_ms([texts[(number * each + place) % len(texts)] for place in range(each)])
        time.sleep(pause_sec)
        return latencies_ms, engine.batch_sec(texts, batch_size), engine.peak_rss_bytes()

    turns = {place: partial(turn, engine) for place, engine in enumerate(engines)}
    found: list[dict[int, list[tuple[NDArray[np.float64], float, int]]]] = []
    interrupted = False
    try:
        for number in announced(rounds):
            found.append(take_turns(turns, [number], pause_sec=pause_sec))
    except KeyboardInterrupt:
        if not found:
            raise
        interrupted = True
    calibration.measure()
    timings = []
    for place in turns:
        latencies, seconds, peaks = zip(*(results[place][0] for results in found), strict=True)
        timings.append(Timings(latencies_ms=np.stack(latencies), batch_sec=np.array(seconds), peak_rss_bytes=peaks[-1]))
    return timings, interrupted
