"""Read the processors' energy counters (RAPL), where the machine has them and lets them be read."""

from __future__ import annotations

from pathlib import Path

__all__ = ["joules"]

POWERCAP = Path("/sys/class/powercap")


def joules(folder: Path = POWERCAP) -> float | None:
    """Sum the counters of all packages, which may wrap around; None where there are none that can be read."""
    try:
        # intel-rapl:0 is a package; intel-rapl:0:0 a part of it. AMD's have the same names.
        found = [int((place / "energy_uj").read_text()) for place in folder.glob("intel-rapl:[0-9]")]
    except (OSError, ValueError):
        return None
    return sum(found) / 1e6 if found else None
