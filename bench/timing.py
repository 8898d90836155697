"""Time engines that take turns, on the same texts, round after round in one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ftx.bench.energy import joules
from ftx.bench.engine import Engine
from ftx.bench.memory import Memory
from ftx.bench.noise import Calibration
from ftx.bench.progress import progress
from ftx.text import Text
from ftx.turns import PAUSE_SEC, announced, take_turns

__all__ = ["Sweep", "Timings", "time_engines", "warm_up"]

# Measures an engine at several sizes, and gives a figure by size.
Sweep = Callable[[Engine], dict[int, float]]

# Before timing starts, each engine repeats a window of texts until three of them agree this well, or has had enough.
WINDOW_TEXTS = 16
AGREE = 0.05
MAX_WINDOWS = 12
# All texts are run so often that it takes as long: a short call after another engine's turn varies by several percent.
BATCH_SEC = 0.4


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What an engine did in a round.

    Attributes:
        latencies_ms: Of single texts. *Shape:* `(texts of a round,)`.
        batch_sec: For all texts in batches.
        joules: The processors' energy meanwhile; None where the machine does not count it.
        sweeps: By name and size.
        memory: That of its process afterwards.
    """

    latencies_ms: NDArray[np.float64]
    batch_sec: float
    joules: float | None
    sweeps: dict[str, dict[int, float]]
    memory: Memory


@dataclass(frozen=True, kw_only=True)
class Timings:
    """How long an engine took, from text to logits.

    Attributes:
        latencies_ms: Of single texts. *Shape:* `(rounds, texts of a round)`.
        batch_sec: For all texts in batches. *Shape:* `(rounds,)`.
        joules: The processors' energy for these, the median of the rounds; None where the machine does not count it.
        sweeps: By name and size, the medians of the rounds.
        memory: That of its process after the last round.
    """

    latencies_ms: NDArray[np.float64]
    batch_sec: NDArray[np.float64]
    joules: float | None
    sweeps: dict[str, dict[int, float]]
    memory: Memory

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
    sweeps: Mapping[str, Sweep] | None = None,
    deadline: float = math.inf,
) -> tuple[list[Timings], bool]:
    """Time each engine in every round: on another share of the texts one by one, and on all of them in batches.

    Args:
        engines: The engines, warmed up.
        texts: What to time them on.
        calibration: Is measured before, between and after the turns.
        batch_size: Texts in a batch.
        rounds: How many.
        sweeps: What else to measure in each turn, by name.
        deadline: No round begins after this time of `time.perf_counter`, if two are complete.

    Returns:
        The timings, and whether Ctrl-C ended them early: then those of the rounds that were complete.

    Raises:
        KeyboardInterrupt: No round was complete.
    """
    each = max(1, len(texts) // rounds)

    def turn(engine: Engine, number: int) -> Turn:
        calibration.measure()
        latencies_ms = engine.latencies_ms([texts[(number * each + place) % len(texts)] for place in range(each)])
        time.sleep(PAUSE_SEC)
        before = joules()
        began = time.perf_counter()
        batch_sec = engine.batch_sec(texts, batch_size, BATCH_SEC)
        share_of_one = batch_sec / (time.perf_counter() - began)
        after = joules()
        # A counter that has wrapped around says nothing.
        spent = None if before is None or after is None or after < before else (after - before) * share_of_one
        found = {name: sweep(engine) for name, sweep in (sweeps or {}).items()}
        step()
        return Turn(latencies_ms=latencies_ms, batch_sec=batch_sec, joules=spent, sweeps=found, memory=engine.memory())

    turns = {place: partial(turn, engine) for place, engine in enumerate(engines)}
    found: list[dict[int, list[Turn]]] = []
    interrupted = False
    with progress("Timing", rounds * len(engines)) as step:
        try:
            for number in announced(rounds):
                if number >= 2 and time.perf_counter() > deadline:
                    break
                found.append(take_turns(turns, [number]))
        except KeyboardInterrupt:
            if not found:
                raise
            interrupted = True
    calibration.measure()
    return [summarise([results[place][0] for results in found]) for place in turns], interrupted


def summarise(turns: list[Turn]) -> Timings:
    """Put an engine's turns together."""
    spent = [turn.joules for turn in turns if turn.joules is not None]
    return Timings(
        latencies_ms=np.stack([turn.latencies_ms for turn in turns]),
        batch_sec=np.array([turn.batch_sec for turn in turns]),
        joules=float(np.median(spent)) if spent else None,
        sweeps={
            name: {size: float(np.median([turn.sweeps[name][size] for turn in turns])) for size in sizes}
            for name, sizes in turns[0].sweeps.items()
        },
        memory=turns[-1].memory,
    )
