"""Time graphs against each other, in pairs: on the same texts, with the same threads, in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.batches import BATCH_SIZE, Batches
from ftx.export.search.budget import Budget
from ftx.runtime.tokenization import Batch
from ftx.turns import elapsed_sec, take_turns

__all__ = ["Run", "Speed", "race"]

# Batches and single texts of one turn, spread over the lengths of the held-out texts.
TURN_BATCHES = 6
TURN_TEXTS = 24
MIN_ROUNDS = 3
# With this many pairs the median of their ratios is known to about 1 %.
MAX_ROUNDS = 50

Run = Callable[[Batch], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a graph is, from tokens to logits, and relative to the first of the race.

    Attributes:
        latency_ms: Median latency of a single text.
        texts_per_sec: In batches of 32.
        latency_ratio: Its latency divided by the first one's: the median of the pairs' ratios.
        throughput_ratio: Its throughput divided by the first one's, likewise.
        spread: Half the interquartile range of the pairs' speed ratios: what a difference must exceed.
        rounds: The number of pairs.
    """

    latency_ms: float
    texts_per_sec: float
    latency_ratio: float
    throughput_ratio: float
    spread: float
    rounds: int

    @property
    def score(self) -> float:
        """Speed relative to the first one: the geometric mean of both, so that neither is traded for the other."""
        return float(np.sqrt(self.throughput_ratio / self.latency_ratio))


def race(runs: dict[str, Run], batches: Batches, budget: Budget) -> dict[str, Speed]:
    """Time graphs in pairs with the first one, round after round until the budget is spent.

    Args:
        runs: Compute the logits of a batch, by name. The others are compared with the first.
        batches: The texts, whose lengths decide what is fast.
        budget: Seconds to spend; three rounds are run in any case, and no more than `MAX_ROUNDS`.
    """
    whole = batches.of(BATCH_SIZE)
    together = [whole[int(place)] for place in np.linspace(0, len(whole) - 1, min(TURN_BATCHES, len(whole)))]
    alone = batches.of(1, batches.spread(TURN_TEXTS))

    def turn(run: Run, number: int) -> tuple[float, float]:
        """Give a graph's median latency of a text and its seconds for all batches."""
        latency = float(np.median([elapsed_sec(partial(run, batch)) for batch in alone]))
        return latency, elapsed_sec(lambda: [run(batch) for batch in together])

    for run in runs.values():
        for batch in [*together[:1], *together[-1:], *alone[:4]]:
            run(batch)
    turns = {name: partial(turn, run) for name, run in runs.items()}
    first, *others = runs
    pairs: dict[str, list[tuple[float, ...]]] = {name: [] for name in runs}
    rounds = 0
    while rounds < MIN_ROUNDS or (rounds < MAX_ROUNDS and budget.left()):
        for place, name in enumerate(others or [first]):
            pair = take_turns({one: turns[one] for one in (first, name)}, [place + rounds])
            [theirs], [mine] = pair[first], pair[name]
            pairs[name].append((*mine, *theirs))
            if others:
                pairs[first].append((*theirs, *theirs))
            budget.tick()
        rounds += 1
    texts = sum(len(batch["input_ids"]) for batch in together)
    return {name: summary(np.array(found), texts) for name, found in pairs.items()}


def summary(pairs: NDArray[np.float64], texts: int) -> Speed:
    """Summarise the pairs of one graph.

    Args:
        pairs: Latency and seconds for all batches, then the first one's. *Shape:* `(rounds, 4)`.
        texts: How many texts the batches hold.
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
