"""Time graphs against each other: in pairs, on the same texts, with the same threads, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.batches import BATCH_SIZE, Batches
from ftx.export.search.budget import Budget
from ftx.runtime.tokenization import Batch

__all__ = ["Run", "Speed", "race"]

# Whole batches and texts alone that one turn takes, spread over the lengths of the held-out texts.
TURN_BATCHES = 6
TURN_TEXTS = 24
MIN_ROUNDS = 3
# With so many pairs the median of their ratios is known to a hundredth or so.
MAX_ROUNDS = 50
# A pause lets the spinning threads of the session before come to rest.
PAUSE_SEC = 0.05

Run = Callable[[Batch], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a graph is, tokens to logits, and by how much faster than the first of the race.

    Attributes:
        latency_ms: Median of a text alone.
        texts_per_sec: In batches of 32.
        latency_ratio: Its latency over the first one's: the median of the pairs' ratios.
        throughput_ratio: Its throughput over the first one's, likewise.
        spread: Half the distance between the quartiles of the pairs' speed ratios: what a difference must exceed.
        rounds: How many pairs.
    """

    latency_ms: float
    texts_per_sec: float
    latency_ratio: float
    throughput_ratio: float
    spread: float
    rounds: int

    @property
    def score(self) -> float:
        """Speed relative to the first one: the geometric mean of both, so that neither is bought with the other."""
        return float(np.sqrt(self.throughput_ratio / self.latency_ratio))


def race(
    runs: dict[str, Run], batches: Batches, budget: Budget, *, after_turn: Callable[[], None] = lambda: None
) -> dict[str, Speed]:
    """Time graphs in pairs with the first one, turn after turn until the budget is spent.

    Args:
        runs: What answers a batch, by name. The others are compared with the first.
        batches: The texts, whose lengths decide what is fast.
        budget: Seconds to spend; three rounds are run in any case, and no more than `MAX_ROUNDS`.
        after_turn: Called after each pair.
    """
    whole = batches.of(BATCH_SIZE)
    together = [whole[int(place)] for place in np.linspace(0, len(whole) - 1, min(TURN_BATCHES, len(whole)))]
    alone = batches.of(1, batches.spread(TURN_TEXTS))

    def turn(name: str) -> tuple[float, float]:
        """Give the median latency of a text and the seconds for all batches."""
        time.sleep(PAUSE_SEC)
        timed = [elapsed(runs[name], [batch]) for batch in alone]
        return float(np.median(timed)), elapsed(runs[name], together)

    for run in runs.values():
        for batch in [*together[:1], *together[-1:], *alone[:4]]:
            run(batch)
    first, *others = runs
    pairs: dict[str, list[tuple[float, ...]]] = {name: [] for name in runs}
    rounds = 0
    while rounds < MIN_ROUNDS or (rounds < MAX_ROUNDS and budget.left()):
        for place, name in enumerate(others):
            # What slows the machine for a while slows both of a pair; each of them is first in every other one.
            if (place + rounds) % 2:
                mine, theirs = turn(name), turn(first)
            else:
                theirs, mine = turn(first), turn(name)
            pairs[name].append((*mine, *theirs))
            pairs[first].append((*theirs, *theirs))
            after_turn()
        if not others:
            pairs[first].append((*turn(first),) * 2)
        rounds += 1
    texts = sum(len(batch["input_ids"]) for batch in together)
    return {name: summary(np.array(found), texts) for name, found in pairs.items()}


def summary(pairs: NDArray[np.float64], texts: int) -> Speed:
    """Sum up the pairs of one graph.

    Args:
        pairs: Latency and seconds for all batches, then the first one's. *Shape:* `(rounds, 4)`.
        texts: How many the batches hold.
    """
    latency, seconds, first_latency, first_seconds = pairs.T
    scores = np.sqrt((first_seconds / seconds) / (latency / first_latency))
    return Speed(
        latency_ms=float(np.median(latency)) * 1000,
        texts_per_sec=texts / float(np.median(seconds)),
        latency_ratio=float(np.median(latency / first_latency)),
        throughput_ratio=float(np.median(first_seconds / seconds)),
        spread=float(np.quantile(scores, 0.75) - np.quantile(scores, 0.25)) / 2,
        rounds=len(pairs),
    )


def elapsed(run: Run, batches: list[Batch]) -> float:
    """Time a run over batches, in seconds."""
    began = time.perf_counter()
    for batch in batches:
        run(batch)
    return time.perf_counter() - began
