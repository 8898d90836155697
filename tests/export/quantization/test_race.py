from __future__ import annotations

import time

import numpy as np
import pytest

from ftx.export.quantization.race import Run, race
from ftx.runtime.tokenization import Batch
from tests.export.quantization.conftest import Graphs


def working(sec: float, order: list[str], name: str) -> Run:
    def run(batch: Batch) -> np.ndarray:
        order.append(name)
        time.sleep(sec)
        return np.zeros((len(batch["input_ids"]), 2), dtype=np.float32)

    return run


def test_everyone_gets_the_same_turns_and_a_ratio_of_its_own(graphs: Graphs) -> None:
    order: list[str] = []
    runs = {"one": working(0.004, order, "one"), "two": working(0.008, order, "two")}
    found = race(runs, graphs.batches, 0)
    assert found["one"].latency_ratio == found["one"].throughput_ratio == found["one"].score == 1
    # Sleeping is exact enough to tell twice from once, on any machine.
    assert found["two"].latency_ratio == pytest.approx(2, rel=0.3)
    assert found["two"].throughput_ratio == pytest.approx(0.5, rel=0.3)
    assert found["two"].score == pytest.approx(0.5, rel=0.3)
    assert found["one"].rounds == found["two"].rounds == 3
    turns = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    # Each round is a pair, and each of a pair comes first in every other round; the warm-up comes before.
    assert turns == ["one", "two", "one", "two", "one", "two"]
    assert order.count("one") == order.count("two")


def test_one_alone_is_as_fast_as_itself(graphs: Graphs) -> None:
    [found] = race({"one": working(0, [], "one")}, graphs.batches, 0).values()
    assert (found.score, found.rounds) == (1, 3)
