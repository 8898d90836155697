"""Compare two reports: what became faster or slower beyond noise, relative to PyTorch in the same run."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx import typed
from ftx.bench.statistics import Interval, ratio_interval
from ftx.errors import DataError

__all__ = ["Change", "Comparison", "compare"]

BATCHES, SINGLE = "texts/s in batches", "latency of single texts"


@dataclass(frozen=True, kw_only=True)
class Change:
    """How an engine's speed changed from one report to the other.

    Attributes:
        engine: The engine.
        what: Throughput in batches, or latency of single texts.
        before: How many times as fast as PyTorch it was.
        after: How many times it is.
        factor: The latter divided by the former.
        interval: Its 95 % interval, from those of both.
        verdict: `slower` or `faster` where the interval excludes 1, else `same`; `regressed` where it is slower than
            allowed, beyond noise.
    """

    engine: str
    what: str
    before: float
    after: float
    factor: float
    interval: Interval
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two reports side by side.

    Attributes:
        before: The first one's file.
        after: The second one's.
        max_regression: How much slower an engine may be.
        changes: Of the engines that both have.
        only: Engines that one of them has.
        notes: What makes the two hard to compare.
    """

    before: str
    after: str
    max_regression: float
    changes: list[Change]
    only: list[str]
    notes: list[str]

    @property
    def regressed(self) -> bool:
        """Whether an engine is slower than allowed."""
        return any(change.verdict == "regressed" for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return {"regressed": self.regressed, **asdict(self)}

    def to_markdown(self) -> str:
        """Write a comment for a pull request."""
        allowed = f"{self.max_regression:.0%}"
        slow = [change for change in self.changes if change.verdict == "regressed"]
        lowest = min((change.interval[0] for change in self.changes), default=1.0)
        if slow:
            what = ", ".join(f"{change.engine} ({change.what}, {change.factor - 1:+.1%})" for change in slow)
            verdict = f"**Slower by more than {allowed}:** {what}."
        elif lowest < 1 - self.max_regression:
            verdict = (
                f"No engine was found to be slower by more than {allowed}, but the intervals reach to "
                f"{lowest - 1:+.1%}: more `--rounds`, or a quieter machine, would tell."
            )
        else:
            verdict = f"No engine is slower by more than {allowed}."
        lines = [
            verdict, "", "| engine | what | before, × PyTorch | after, × PyTorch | change | 95 % interval | |",
            "|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for one in self.changes:
            low, high = one.interval
            lines.append(
                f"| {one.engine} | {one.what} | {one.before:.2f} | {one.after:.2f} | {one.factor - 1:+.1%} | "
                f"{low - 1:+.1%} to {high - 1:+.1%} | {one.verdict} |"
            )
        lines += ["", *(f"- {note}" for note in self.notes), *(f"- Only in one of them: {name}" for name in self.only)]
        return "\n".join(lines).rstrip() + "\n"


def compare(before: str | Path, after: str | Path, *, max_regression: float = 0.05) -> Comparison:
    """Compare two `bench.json`. Each engine's speed is taken relative to PyTorch's in the same round.

    A change of the machine's speed between the runs changes both, and so does not count.

    Args:
        before: The first report.
        after: The second.
        max_regression: How much slower an engine may be, as a share.

    Raises:
        DataError: One of them is no report.
    """
    old, new = read_report(Path(before)), read_report(Path(after))
    noise = (noise_of(Path(before)), noise_of(Path(after)))
    changes = [
        change_of(name, what, old[name][what], new[name][what], noise, max_regression)
        for name in old
        if name in new
        for what in (BATCHES, SINGLE)
        if name != reference_of(old)
    ]
    notes = [f"{path}: {note}" for path in (before, after) for note in notes_of(Path(path))]
    return Comparison(
        before=str(before),
        after=str(after),
        max_regression=max_regression,
        changes=changes,
        only=sorted(old.keys() ^ new.keys()),
        notes=notes,
    )


def reference_of(report: dict[str, Any]) -> str:
    """Name the engine with which all are compared: the last one."""
    return str(list(report)[-1])


def read_report(path: Path) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Read the ratios of each engine over PyTorch, round by round, by engine and figure.

    Raises:
        DataError: It can't be read, or is no report.
    """
    try:
        engines = [
            (
                str(engine["name"]),
                np.array(engine["samples"]["latencies_ms"], dtype=float),
                np.array(engine["samples"]["batch_sec"], dtype=float),
            )
            for engine in load_report(path)["engines"]
        ]
        if not all(
            times.size and (times > 0).all() and np.isfinite(times).all() for _, *each in engines for times in each
        ):
            raise ValueError("its samples are not times above 0")
        _, latencies, seconds = engines[-1]
        alone = np.median(latencies, axis=1)
        found = {
            name: {BATCHES: seconds / each, SINGLE: alone / np.median(single, axis=1)} for name, single, each in engines
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{path} is not a report of ftx bench, expected its bench.json: {error!r:.100}") from error
    return found


def load_report(path: Path) -> dict[str, Any]:
    """Read a report's JSON.

    Raises:
        ValueError: It is no JSON object.
    """
    return typed.mapping(json.loads(path.read_text(encoding="utf-8")), "the report")


def notes_of(path: Path) -> list[str]:
    """Say what makes a report hard to compare."""
    from ftx.bench.noise import NOISY

    report = load_report(path)
    notes = []
    if noise_of(path) > NOISY:
        notes.append("its machine was noisy")
    if report.get("interrupted"):
        notes.append("it was interrupted")
    return notes


def noise_of(path: Path) -> float:
    """Give the spread of the machine's speed during a run."""
    return typed.number(load_report(path).get("noise", 0.0), "noise")


def change_of(
    name: str,
    what: str,
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    noise: tuple[float, float],
    max_regression: float,
) -> Change:
    """Compare an engine's ratios, each of shape `(rounds,)`, of two runs on machines of some noise."""
    before, after = (float(np.median(rates)) for rates in (old, new))
    factor = after / before
    old_low, old_high = ratio_interval(old, noise[0])
    new_low, new_high = ratio_interval(new, noise[1])
    # The two runs are independent: the distances of their bounds add up in quadrature, on the logarithmic scale.
    low = factor * math.exp(-math.hypot(math.log(after / new_low), math.log(old_high / before)))
    high = factor * math.exp(math.hypot(math.log(new_high / after), math.log(before / old_low)))
    verdict = "same" if low <= 1 <= high else "slower" if factor < 1 else "faster"
    if verdict == "slower" and factor < 1 - max_regression:
        verdict = "regressed"
    return Change(
        engine=name, what=what, before=before, after=after, factor=factor, interval=(low, high),
        verdict=verdict,
    )  # fmt: skip
