"""Run whole programs, and measure what they take."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ftx.errors import FtxError

__all__ = ["Run", "run_python"]

# Linux's machine-wide setting of this environment is left as it is for everything but byte code.
WITHOUT = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a program took.

    Attributes:
        sec: Wall time.
        cpu_sec: Processor time.
    """

    sec: float
    cpu_sec: float


def run_python(arguments: list[str], folder: Path, byte_code: Path | None = None) -> Run:
    """Run a Python program to its end.

    Args:
        arguments: Of Python.
        folder: The working directory; holds the program's output.
        byte_code: A folder that takes the place of all `__pycache__` folders; default: those.

    Raises:
        FtxError: It failed.
    """
    environment = {name: value for name, value in os.environ.items() if name not in WITHOUT}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    if byte_code:
        environment["PYTHONPYCACHEPREFIX"] = str(byte_code)
    with (folder / "process.log").open("w+", encoding="utf-8", errors="replace") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        sec = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            last = (log.read().strip().splitlines() or ["no output"])[-1]
            raise FtxError(f"A program ended with status {process.returncode}: {last:.200}")
    return Run(sec=sec, cpu_sec=usage.ru_utime + usage.ru_stime)
