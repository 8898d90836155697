"""How noisy the machine was: a fixed calculation, timed before, between and after the engines' turns."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ftx.machine import usable_cores
from ftx.turns import elapsed_sec

__all__ = ["NOISY", "Calibration", "machine_state"]

# A spread above this is reported as a warning: two quiet cores showed 0.09 once, cores shared with another program 0.5.
NOISY = 0.1
SIZE = 200_000
# The first repetitions warm the caches, which the engine before has filled, and its threads may still spin.
REPETITIONS = 15


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Times a fixed calculation of some milliseconds on all cores at once: who else computes takes from one of them.

    Attributes:
        seconds: The median of fifteen repetitions, each until the last core is done.
    """

    seconds: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Time it once more."""
        values = [np.random.default_rng(0).random(SIZE)] * usable_cores()
        with ThreadPoolExecutor(len(values)) as pool:
            took = [elapsed_sec(lambda: list(pool.map(np.sort, values))) for _ in range(REPETITIONS)]
        self.seconds.append(float(np.median(took)))

    @property
    def spread(self) -> float:
        """From the 10th to the 90th percentile, as a share of the median."""
        low, middle, high = np.quantile(self.seconds, (0.1, 0.5, 0.9))
        return float((high - low) / middle)


def machine_state() -> dict[str, Any]:
    """Record what the speed of a machine depends on beside its CPU, as JSON values; None for what it doesn't say."""
    return {
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "governor": first_line_of(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "git_revision": git_revision(),
    }


def first_line_of(path: Path) -> str | None:
    """Read a file's first line, if it is there."""
    try:
        return path.read_text().splitlines()[0]
    except (OSError, IndexError):
        return None


def git_revision() -> str | None:
    """Give the revision of the checkout that ftx runs from; None for an installed copy."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
