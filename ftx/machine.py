"""Detect the cores that this process may use and the CPU features that decide int8 speed and exactness."""

from __future__ import annotations

import operator
import os
import platform
import subprocess
import sys
from pathlib import Path

__all__ = [
    "INSTRUCTION_SETS",
    "MAX_THREADS",
    "cache_home",
    "check_threads",
    "cpu_features",
    "cpu_model",
    "cpu_quota",
    "instruction_sets",
    "int8_can_saturate",
    "usable_cores",
]

# The features that matter for int8, by their names in /proc/cpuinfo and macOS's sysctl.
FEATURE_NAMES = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "VNNI": {"avx512_vnni", "avx_vnni", "asimddp", "feat_dotprod"},
    "AMX": {"amx_int8"},
    "NEON": {"asimd", "neon", "advsimd"},
}
# The values of `safe_on`: instruction sets for which onnxruntime has int8 kernels.
INSTRUCTION_SETS = ("avx2", "avx512", "avx512_vnni", "avx_vnni", "amx_int8", "arm64")
# More threads than this only contend, and 100,000 of them hang the machine.
MAX_THREADS = max(64, 4 * (os.cpu_count() or 1))


def usable_cores() -> int:
    """Count the cores this process may use: its affinity mask, cut to the container's CPU quota, at least 1.

    onnxruntime and PyTorch count the machine's cores instead, and start too many threads in a container.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, min(cores, int(quota))) if quota else cores


def check_threads(threads: int | None, name: str = "intra_op_num_threads") -> int | None:
    """Check a number of threads; None, for the cores this process may use, is valid.

    Args:
        threads: The number.
        name: Its name in the message.

    Raises:
        ValueError: It is not a whole number from 1 to `MAX_THREADS`.
    """
    if threads is None:
        return None
    try:
        number = operator.index(threads)
    except TypeError:
        number = 0
    if isinstance(threads, bool) or not 1 <= number <= MAX_THREADS:
        raise ValueError(f"{name} {threads!r}, expected a whole number from 1 to {MAX_THREADS}")
    return number


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Read the container's CPU quota in cores, from cgroup v2 (cpu.max) or v1 (cpu.cfs_*); None where there is none."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        cores = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None
    return cores if cores > 0 else None  # -1: no limit


def cpu_features() -> dict[str, bool]:
    """Tell which of AVX2, AVX-512, VNNI (int8 dot products; on Arm, dotprod), AMX and NEON this CPU has."""
    found = cpu_flags()
    return {feature: bool(names & found) for feature, names in FEATURE_NAMES.items()}


def instruction_sets() -> set[str]:
    """Tell which of `INSTRUCTION_SETS` this CPU has; none if the system does not report an x86 CPU's features."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return {"arm64"}
    flags = cpu_flags()
    return {name for name in INSTRUCTION_SETS if ("avx512f" if name == "avx512" else name) in flags}


def int8_can_saturate() -> bool:
    """Tell whether onnxruntime's fast u8 x s8 kernel may be wrong here: an x86-64 CPU without VNNI.

    It adds pairs of products in int16, which full-range weights silently overflow (vpmaddubsw saturates). If the system
    does not report the CPU's features, the result is True, which only costs speed.
    """
    x86_64 = platform.machine().lower() in ("x86_64", "amd64")
    return x86_64 and not instruction_sets() - {"avx2", "avx512"}


def cpu_flags() -> set[str]:
    """Read the CPU's feature names, lower-cased; empty if the system does not report them."""
    if sys.platform == "linux":
        words = cpuinfo_field("flags") or cpuinfo_field("Features")
        return set(words.lower().split())
    if sys.platform == "darwin":
        lines = sysctl("machdep.cpu.features", "machdep.cpu.leaf7_features", "hw.optional").lower().splitlines()
        options = {line.split(":")[0].split(".")[-1] for line in lines if line.endswith(": 1")}
        return options | {word for line in lines for word in line.split(":")[-1].split()}
    return set()


def cpu_model() -> str:
    """Give the CPU's model name."""
    if sys.platform == "linux":
        return cpuinfo_field("model name") or platform.machine()
    if sys.platform == "darwin":
        return sysctl("machdep.cpu.brand_string").partition(": ")[2].strip() or platform.machine()
    return platform.processor() or platform.machine()


def cpuinfo_field(name: str, path: Path = Path("/proc/cpuinfo")) -> str:
    """Read the first value of a field of /proc/cpuinfo; empty if there is none."""
    try:
        text = path.read_text()
    except OSError:
        return ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def sysctl(*names: str) -> str:
    """Query these values on macOS, one `name: value` a line; unknown names are omitted."""
    done = subprocess.run(["/usr/sbin/sysctl", *names], capture_output=True, text=True, check=False)
    return done.stdout


def cache_home() -> Path:
    """Give the folder for what ftx downloads: `FTX_HOME`, else `ftx` in the platform's cache folder."""
    if chosen := os.environ.get("FTX_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "ftx" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/ftx"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ftx"
