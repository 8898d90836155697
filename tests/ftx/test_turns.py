from __future__ import annotations

import pytest

from ftx.turns import announced, elapsed_sec, take_turns
from tests.conftest import Clock


def test_everyone_runs_once_a_round_in_turning_order(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ftx")
    order: list[str] = []

    def note(name: str, number: int) -> str:
        order.append(name)
        return f"{name}{number}"

    runs = {name: lambda number, name=name: note(name, number) for name in "abc"}
    assert take_turns(runs, announced(3), pause_sec=0.5) == {
        "a": ["a0", "a1", "a2"],
        "b": ["b0", "b1", "b2"],
        "c": ["c0", "c1", "c2"],
    }
    assert "".join(order) == "abccbaabc"
    assert clock.now == 9 * 0.5
    assert caplog.messages == ["Round 1 of 3", "Round 2 of 3", "Round 3 of 3"]


def test_elapsed_time_is_that_of_the_action(clock: Clock) -> None:
    assert elapsed_sec(lambda: clock.sleep(2.5)) == 2.5
