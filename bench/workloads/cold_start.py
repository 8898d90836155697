"""Cold starts: from the start of a process to its end after one prediction, without byte code and with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ftx.bench.engine import EngineSpec
from ftx.bench.progress import progress
from ftx.bench.workloads.processes import Run, run_python
from ftx.errors import FtxError
from ftx.turns import take_turns

__all__ = ["ColdStart", "measure_cold_starts"]

ONE_TEXT = "This movie was great!"


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """What whole processes took.

    Attributes:
        first_sec: The first one after an installation: Python compiles all modules and writes their byte code.
        first_cpu_sec: Its processor time.
        later_sec: The median of later ones, which read the byte code.
        later_cpu_sec: Their processor time, likewise.
        samples_sec: Each of the later ones.
    """

    first_sec: float
    first_cpu_sec: float
    later_sec: float
    later_cpu_sec: float
    samples_sec: list[float]


def measure_cold_starts(
    programs: Mapping[str, tuple[EngineSpec, str]], folder: Path, rounds: int
) -> tuple[dict[str, ColdStart], dict[str, str]]:
    """Run the engines' programs in turn, each with byte code of its own.

    Args:
        programs: By the engine's name, its specification and its program.
        folder: For the byte code and the output.
        rounds: Later starts.

    Returns:
        By name what they took, and why some could not be run.
    """
    failed: dict[str, str] = {}
    firsts: dict[str, Run] = {}

    def start(place: int, spec: EngineSpec, program: str, number: int) -> Run:
        arguments = ["-c", program, str(spec.path), str(spec.threads), ONE_TEXT]
        run = run_python(arguments, folder, folder / f"byte_code_{place}")
        step()
        return run

    starts = {
        name: partial(start, place, spec, program) for place, (name, (spec, program)) in enumerate(programs.items())
    }
    with progress("Cold starts", len(starts) * (rounds + 1)) as step:
        for name, run in starts.items():
            try:
                firsts[name] = run(0)
            except FtxError as error:
                failed[name] = str(error)
        laters = take_turns({name: starts[name] for name in firsts}, range(rounds))
    return {
        name: ColdStart(
            first_sec=firsts[name].sec,
            first_cpu_sec=firsts[name].cpu_sec,
            later_sec=float(np.median([run.sec for run in runs])),
            later_cpu_sec=float(np.median([run.cpu_sec for run in runs])),
            samples_sec=[run.sec for run in runs],
        )
        for name, runs in laters.items()
    }, failed
