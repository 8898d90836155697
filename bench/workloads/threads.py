"""Latency and throughput by number of threads: each engine is started again for each."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ftx.bench.engine import Engine, EngineSpec, start_engine
from ftx.bench.progress import progress
from ftx.bench.timing import warm_up
from ftx.text import Text
from ftx.turns import take_turns

__all__ = ["ThreadFigures", "measure_threads", "thread_counts"]

ROUNDS = 2
SINGLE_TEXTS = 32


@dataclass(frozen=True, kw_only=True)
class ThreadFigures:
    """How fast an engine is with some threads.

    Attributes:
        threads: How many.
        latency_ms: Median of single texts.
        texts_per_sec: In batches.
    """

    threads: int
    latency_ms: float
    texts_per_sec: float


def thread_counts(most: int) -> list[int]:
    """Give the powers of two below a number, and the number."""
    return [2**power for power in range(most.bit_length()) if 2**power < most] + [most]


def measure_threads(
    specs: list[EngineSpec], texts: list[Text], most: int, batch_size: int
) -> dict[str, list[ThreadFigures]]:
    """Measure engines with 1, 2, 4 ... threads, in turn for each number.

    Returns:
        By the engine's name.
    """
    found: dict[str, list[ThreadFigures]] = {spec.name: [] for spec in specs}

    def turn(engine: Engine, number: int) -> tuple[float, float]:
        latency_ms = float(np.median(engine.latencies_ms(texts[:SINGLE_TEXTS])))
        seconds = engine.batch_sec(texts, batch_size)
        step()
        return latency_ms, seconds

    with progress("Threads", ROUNDS * len(specs) * len(thread_counts(most))) as step:
        for threads in thread_counts(most):
            with ExitStack() as stack:
                engines = [stack.enter_context(start_engine(replace(spec, threads=threads))) for spec in specs]
                for engine in engines:
                    warm_up(engine, texts)
                    engine.batch_sec(texts, batch_size)
                turns = {engine.spec.name: partial(turn, engine) for engine in engines}
                for name, times in take_turns(turns, range(ROUNDS)).items():
                    latency_ms, seconds = np.median(times, axis=0)
                    rate = len(texts) / float(seconds)
                    found[name].append(ThreadFigures(threads=threads, latency_ms=float(latency_ms), texts_per_sec=rate))
    return found
