"""SIGKILL, SIGINT and SIGTERM in predict, train and export jobs, at chosen steps and at any time."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.commands import Commands, Fault, check_ending
from tests.faults.jobs import Job, prove_nothing_lost
from tests.faults.ledger import Ledger, LostError

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)


def kills(job: Job, ledger: Ledger, usual: int) -> list[Fault]:
    """Choose signals and the moments at which they come: two of three at a step on files, one by the clock."""
    assert job.usual is not None
    chance = ledger.chance(f"kills of {job}")
    chosen = []
    for number, kind in zip(range(ledger.count(usual)), itertools.cycle(SIGNALS), strict=False):
        if number % 9 < 6:
            chosen.append(Fault(kind="signal", value=kind, step=chance.randint(1, job.steps)))
        else:
            chosen.append(Fault(kind="signal", value=kind, after_sec=chance.uniform(0, 1.2 * job.usual.sec)))
    return chosen


@pytest.mark.parametrize(
    ("name", "usual"),
    [("csv", 12), ("jsonl.gz", 6), ("parquet", 9), ("csv over", 6), ("train", 9), ("train over", 3),
     ("export", 6), ("export over", 3)],
)  # fmt: skip
def test_signals(
    name: str, usual: int, job: Callable[[str], Job], ledger: Ledger, new_folder: Callable[[], Path], base: Path
) -> None:
    broken = job(name)
    faults = kills(broken, ledger, usual)
    ledger.try_each(faults, lambda fault: prove_nothing_lost(broken, new_folder(), fault, base))


def test_signals_while_libraries_load(cold: Commands, tiny_export: Path, ledger: Ledger) -> None:
    arguments = ["predict", "--onnx", str(tiny_export), "The movie was great!"]
    usual = cold.run(*arguments)
    assert usual.status == 0, usual.stderr
    chance = ledger.chance("kills of a start")

    def attempt(fault: Fault) -> None:
        outcome = cold.run(*arguments, fault=fault)
        check_ending(outcome, usual=usual, over=outcome.stdout == usual.stdout)
        if outcome.stdout not in (b"", usual.stdout):
            raise LostError(f"answered {outcome.stdout!r}")
        if outcome.status == 0:
            assert outcome.stdout == usual.stdout

    ledger.try_each(
        (
            Fault(kind="signal", value=kind, step=chance.randint(1, usual.steps))
            for _, kind in zip(range(ledger.count(16)), itertools.cycle(SIGNALS), strict=False)
        ),
        attempt,
    )
