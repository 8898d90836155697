"""Read a process's own memory."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "memory"]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident memory of a process.

    Attributes:
        peak_rss_bytes: The most it had so far.
        rss_bytes: What it has now; None where the system does not say.
    """

    peak_rss_bytes: int
    rss_bytes: int | None


def memory() -> Memory:
    """Read this process's memory.

    On Linux the peak is VmHWM: `ru_maxrss` survives exec and would count the parent's memory.
    """
    try:
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        kib = {words[0]: int(words[1]) for words in lines if words[0] in ("VmHWM:", "VmRSS:")}
        return Memory(peak_rss_bytes=kib["VmHWM:"] * 1024, rss_bytes=kib["VmRSS:"] * 1024)
    except (OSError, KeyError):
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Memory(peak_rss_bytes=peak if sys.platform == "darwin" else peak * 1024, rss_bytes=None)
