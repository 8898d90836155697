"""Time several things in one run: they take turns, so that whatever slows the machine for a while slows all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

__all__ = ["PAUSE_SEC", "announced", "elapsed_sec", "take_turns"]

log = logging.getLogger(__name__)

# Lets the previous one's threads come to rest: they spin for a while after a call.
PAUSE_SEC = 0.05

Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")


def take_turns(
    runs: Mapping[Name, Callable[[int], Result]], rounds: Iterable[int], *, pause_sec: float = PAUSE_SEC
) -> dict[Name, list[Result]]:
    """Run each of these once a round, in this order in even rounds and in the reverse in odd ones: A B B A.

    A machine that grows slower evenly slows all of them alike then.

    Args:
        runs: What to run, by name; takes the number of the round.
        rounds: The rounds' numbers, which decide the order.
        pause_sec: How long to wait before each turn.

    Returns:
        What each returned, round by round.
    """
    names = list(runs)
    results: dict[Name, list[Result]] = {name: [] for name in names}
    for number in rounds:
        for name in reversed(names) if number % 2 else names:
            time.sleep(pause_sec)
            results[name].append(runs[name](number))
    return results


def announced(rounds: int) -> Iterator[int]:
    """Count rounds, and report each on stderr as it begins."""
    for number in range(rounds):
        log.info(f"Round {number + 1} of {rounds}")
        yield number


def elapsed_sec(action: Callable[[], object]) -> float:
    """Time an action, in seconds."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
