"""Count the faults that were tried: which were survived, and which lost something."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

__all__ = ["DEFAULT_FAULTS", "Ledger", "LostError"]

# About what the folder tries by itself, in five minutes on two cores.
DEFAULT_FAULTS = 4000
SHOWN, LONGEST = 20, 1200

Tried = TypeVar("Tried")


class LostError(AssertionError):
    """A file, a row or an answer was lost, or is wrong without a word."""


class Ledger:
    """What was tried in a session.

    Args:
        faults: How many faults are to be tried, about.
        seed: Of all that is random.
    """

    def __init__(self, faults: int = DEFAULT_FAULTS, seed: int = 0) -> None:
        self.faults, self.seed = faults, seed
        self.tried = self.survived = self.lost = 0
        self._lock = threading.Lock()

    def count(self, usual: int) -> int:
        """Say how many random faults of a kind are to be tried, where `usual` are by default."""
        return max(1, round(usual * self.faults / DEFAULT_FAULTS))

    def chance(self, name: str) -> random.Random:
        """Give a source of chance that depends on the seed and the name alone."""
        return random.Random(f"{self.seed} {name}")

    def try_each(self, faults: Iterable[Tried], attempt: Callable[[Tried], None], *, workers: int = 2) -> None:
        """Try faults and count how they end.

        Args:
            faults: What is tried; each says in words what it is.
            attempt: Tries one; raises AssertionError where it is not survived, LostError where something is lost.
            workers: How many are tried at once.

        Raises:
            pytest.fail.Exception: Some were not survived; with the first of them.
        """

        def judge(fault: Tried) -> str | None:
            try:
                attempt(fault)
            except Exception as error:
                return self.add(f"{fault}: {error or repr(error)}"[:LONGEST], error)
            self.add("", None)
            return None

        faults = list(faults)
        if workers == 1:  # in this thread
            verdicts = list(map(judge, faults))
        else:
            with ThreadPoolExecutor(workers) as pool:
                verdicts = list(pool.map(judge, faults))
        failures = [verdict for verdict in verdicts if verdict]
        if failures:
            shown = "\n\n".join(failures[:SHOWN])
            pytest.fail(
                f"{len(failures)} of {len(faults)} faults were not survived (seed {self.seed}):\n{shown}", pytrace=False
            )

    def try_any(self, strategy: st.SearchStrategy[Tried], attempt: Callable[[Tried], None], *, usual: int) -> None:
        """Try what hypothesis makes up; see `try_each` and `count`."""

        @seed(self.seed)
        @settings(
            max_examples=self.count(usual), database=None, deadline=None, phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(strategy)
        def check(example: Tried) -> None:
            self.try_each([example], attempt, workers=1)

        check()

    def add(self, said: str, error: Exception | None) -> str:
        """Count a fault that was tried."""
        with self._lock:
            self.tried += 1
            self.survived += error is None
            self.lost += isinstance(error, LostError)
        return said

    def __str__(self) -> str:
        return f"faults tried {self.tried:,}, survived {self.survived:,}, lost {self.lost:,}"
