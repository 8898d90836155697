"""Time engines that take turns, on the same texts, round after round in one run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ftx.bench.engine import Engine
from ftx.text import Text
from ftx.turns import PAUSE_SEC, announced, take_turns

__all__ = ["Timings", "time_engines"]


@dataclass(frozen=True, kw_only=True)
class Timings:
    """How long an engine took, from text to logits.

    Attributes:
        latencies_ms: Of single texts. *Shape:* `(rounds, texts of a round)`.
        batch_sec: For all texts in batches. *Shape:* `(rounds,)`.
    """

    latencies_ms: NDArray[np.float64]
    batch_sec: NDArray[np.float64]

    def speedup_over(self, other: Timings) -> tuple[float, float]:
        """Give the speedup at batch 1 and in batches: the medians over the rounds of the ratios within a round.

        Whatever slows the machine for a while slows both sides of such a ratio.
        """
        medians = np.median(self.latencies_ms, axis=1)
        alone = float(np.median(np.median(other.latencies_ms, axis=1) / medians))
        return alone, float(np.median(other.batch_sec / self.batch_sec))


def time_engines(
    engines: list[Engine], texts: list[Text], *, batch_size: int, rounds: int, pause_sec: float = PAUSE_SEC
) -> list[Timings]:
    """Time each engine in every round: on another share of the texts one by one, and on all of them in batches.

    Args:
        engines: The engines, warmed up.
        texts: What to time them on.
        batch_size: Texts in a batch.
        rounds: How many.
        pause_sec: How long to wait before each measurement.
    """
    each = max(1, len(texts) // rounds)

    def turn(engine: Engine, number: int) -> tuple[NDArray[np.float64], float]:
        latencies_ms = engine.latencies_ms([texts[(number * each + place) % len(texts)] for place in range(each)])
        time.sleep(pause_sec)
        return latencies_ms, engine.batch_sec(texts, batch_size)

    turns = {place: partial(turn, engine) for place, engine in enumerate(engines)}
    found = take_turns(turns, announced(rounds), pause_sec=pause_sec)
    both = [zip(*results, strict=True) for results in found.values()]
    return [Timings(latencies_ms=np.stack(latencies), batch_sec=np.array(seconds)) for latencies, seconds in both]
