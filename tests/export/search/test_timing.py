from __future__ import annotations

import numpy as np
import pytest

from ftx.export.search import timing
from ftx.export.search.budget import Budget
from ftx.export.search.timing import Run, race
from ftx.runtime.tokenization import Batch
from tests.conftest import Clock
from tests.export.conftest import Graphs


def working(clock: Clock, sec: float, order: list[str], name: str) -> Run:
    def run(batch: Batch) -> np.ndarray:
        order.append(name)
        clock.sleep(sec)
        return np.zeros((len(batch["input_ids"]), 2), dtype=np.float32)

    return run


def test_everyone_gets_the_same_turns_and_a_ratio_of_its_own(graphs: Graphs, clock: Clock) -> None:
    order: list[str] = []
    runs = {"one": working(clock, 0.004, order, "one"), "two": working(clock, 0.008, order, "two")}
    found = race(runs, graphs.batches, Budget(0, clock.perf_counter))
    assert found["one"].latency_ratio == found["one"].throughput_ratio == found["one"].score == 1
    assert found["two"].latency_ratio == pytest.approx(2)
    assert found["two"].throughput_ratio == pytest.approx(0.5)
    assert found["two"].score == pytest.approx(0.5)
    assert found["two"].latency_ms == pytest.approx(8)
    assert found["two"].spread == pytest.approx(0, abs=1e-9)
    assert found["one"].rounds == found["two"].rounds == 3
    turns = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    # Each round is a pair, and each of a pair comes first in every other round; the warm-up comes before.
    assert turns == ["one", "two", "one", "two", "one", "two"]
    assert order.count("one") == order.count("two")


def test_one_alone_is_as_fast_as_itself(graphs: Graphs, clock: Clock) -> None:
    [found] = race({"one": working(clock, 0.001, [], "one")}, graphs.batches, Budget(0)).values()
    assert (found.score, found.rounds) == (1, 3)


def test_no_more_rounds_are_run_than_tell_something(
    graphs: Graphs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "MAX_ROUNDS", 5)
    [found] = race({"one": working(clock, 0.001, [], "one")}, graphs.batches, Budget(1e9, clock.perf_counter)).values()
    assert found.rounds == 5
