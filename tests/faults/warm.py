"""Runs commands of ftx, each in a fork of one process that has loaded what they need, with a fault in it.

    python warm.py cold|light|heavy

Takes requests on standard input and answers on standard output, JSON, one a line; see `Fault` in commands.py. `light`
has loaded what `ftx predict` loads, `heavy` what training and export load, too, and `cold` the command's own start, so
that faults meet libraries that are being loaded.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import json
import mmap
import os
import resource
import select
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

# ftx comes first: it sets how onnxruntime is to behave.
LIGHT = [
    "ftx", "click", "numpy", "onnxruntime", "pyarrow.parquet", "tokenizers", "ftx.__main__", "ftx.cli", "ftx.runtime",
    "ftx.runtime.stream",
]  # fmt: skip
HEAVY = [
    *LIGHT, "torch", "transformers", "datasets", "evaluate", "accelerate", "sklearn.metrics", "matplotlib.pyplot",
    "onnx", "tomli_w", "transformers.models.bert.modeling_bert", "transformers.models.bert.tokenization_bert_fast",
    "ftx.finetune.trainer.setup", "ftx.finetune.training", "ftx.finetune.model.hub", "ftx.finetune.data.labelled_text",
    "ftx.finetune.scoring.curves", "ftx.export.exporting", "ftx.export.graph.convert", "ftx.export.parity.reference",
    "ftx.export.pages.page", "ftx.export.pages.card",
]  # fmt: skip
PRELOADED: dict[str, list[str]] = {"cold": ["ftx.__main__"], "light": LIGHT, "heavy": HEAVY}

# Audit events that stand for a step on the file system. fsync has none: `watch` adds one.
STEPS = {
    "open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod",
    "os.listdir", "os.scandir", "fcntl.flock", "ftx.fsync",
}  # fmt: skip
WITHOUT_PATH = {"fcntl.flock", "ftx.fsync"}
READING = {"os.listdir", "os.scandir", "fcntl.flock"}
FREEING = {"os.remove", "os.rmdir", "os.rename", "os.chmod", "os.truncate"}
TWO_PATHS = {"os.rename", "os.link"}
CAPABILITY_VERSION = 0x20080522


def serve() -> None:
    """Fork a child for each request, and answer when it has ended."""
    running: dict[int, Running] = {}
    pending, more = b"", True
    while more or running:
        if select.select([0] if more else [], [], [], 0.005)[0]:
            block = os.read(0, 2**16)
            more = bool(block)
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                child = Running(json.loads(line))
                running[child.pid] = child
        for pid in [pid for pid, child in running.items() if child.ended()]:
            os.write(1, json.dumps(running.pop(pid).answer()).encode() + b"\n")


class Running:
    """A child that does what a request asks."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.steps = mmap.mmap(-1, 16)  # shared with the child: the steps seen, and the one at which the fault struck
        self.began = time.monotonic()
        self.signalled = self.hung = False
        self.status = 0
        self.pid = os.fork()
        if not self.pid:
            become(request, self.steps)

    def ended(self) -> bool:
        """Tell whether it has ended; send it its signal, and end it where it hangs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.status = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # whatever it started
            return True
        age, after = time.monotonic() - self.began, self.request["after_sec"]
        if after is not None and age >= after and not self.signalled:
            self.signalled = True
            os.kill(self.pid, self.request["value"])
        if age >= self.request["limit_sec"] and not self.hung:
            self.hung = True
            os.kill(self.pid, signal.SIGKILL)
        return False

    def answer(self) -> dict[str, Any]:
        """Say how it went."""
        seen, struck = (int.from_bytes(self.steps[place : place + 8], "little") for place in (0, 8))
        return {
            "id": self.request["id"], "status": self.status, "hung": self.hung, "steps": seen,
            "struck": self.signalled or bool(struck), "sec": time.monotonic() - self.began,
        }  # fmt: skip


def become(request: dict[str, Any], steps: mmap.mmap) -> None:
    """Turn this process into the command of a request."""
    os.setsid()
    redirect(request["streams"])
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["kind"] == "clock":
        disturb_clock(request["seed"])
    if request["powerless"]:
        drop_capabilities()
    sys.argv = ["ftx", *request["arguments"]]
    limit(request["limits"])
    watch(request, steps)
    importlib.import_module("ftx.__main__").main()
    sys.exit(0)


def redirect(streams: list[str]) -> None:
    """Put the standard streams on these files."""
    for number, path in enumerate(streams):
        descriptor = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)


def limit(limits: dict[str, int]) -> None:
    """Set limits: `AS` in bytes above what is mapped now, `NOFILE` above what is open now, others as they are."""
    for name, value in limits.items():
        if name == "AS":
            value += int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        elif name == "NOFILE":
            value += max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 1
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def watch(request: dict[str, Any], steps: mmap.mmap) -> None:
    """Count the steps on files under a folder, and let the fault strike before the one that was chosen."""
    chosen, under = request["step"], request["under"]
    fsync, within = os.fsync, False

    def audited_fsync(descriptor: Any) -> None:
        sys.audit("ftx.fsync", descriptor)
        fsync(descriptor)

    os.fsync = audited_fsync

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal within
        if within or event not in STEPS or not (event in WITHOUT_PATH or concerns(event, arguments, under)):
            return
        within = True
        try:
            seen, struck = (int.from_bytes(steps[place : place + 8], "little") for place in (0, 8))
            seen += 1
            steps[:8] = seen.to_bytes(8, "little")
            if chosen and seen >= chosen and (request["lasting"] or not struck) and fits(request, event, arguments):
                steps[8:] = seen.to_bytes(8, "little")
                strike(request)
        finally:
            within = False

    sys.addaudithook(hook)


def concerns(event: str, arguments: tuple[Any, ...], under: str) -> bool:
    """Tell whether a step is one on a file under a folder; "" stands for any."""
    if not under:
        return True
    for argument in arguments[: 2 if event in TWO_PATHS else 1]:
        if isinstance(argument, (str, bytes, os.PathLike)):
            path = os.fsdecode(argument)
            if path.startswith(under) or (path and path[0] != "/" and str(Path.cwd()).startswith(under)):
                return True
    return False


def fits(request: dict[str, Any], event: str, arguments: tuple[Any, ...]) -> bool:
    """Tell whether a step can meet this fault: a full disk and a read-only one trouble only those who write."""
    if request["kind"] not in ("full", "frozen"):
        return True
    if event == "open":
        return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(arguments[2], int) else False
    return event not in READING and not (request["kind"] == "full" and event in FREEING)


def strike(request: dict[str, Any]) -> None:
    """Do what the fault does."""
    kind, value = request["kind"], request["value"]
    if kind == "signal":
        os.kill(os.getpid(), value)
    elif kind in ("error", "full", "frozen"):
        raise OSError(value, os.strerror(value))
    elif kind == "vanish":
        shutil.rmtree(value, ignore_errors=True)
    elif kind == "move":
        with contextlib.suppress(OSError):
            Path(value).rename(f"{value}.moved")
    elif kind == "read-only":
        with contextlib.suppress(OSError):
            Path(value).chmod(0o555)


def disturb_clock(seed: int) -> None:
    """Let the wall clock jump at each look at it. What measures time has time.monotonic, which never does."""
    import random

    chance, true, true_ns = random.Random(seed), time.time, time.time_ns
    jumps = itertools.cycle([chance.choice([0, 1, -1]) * chance.uniform(0, 3e8) for _ in range(97)])
    time.time = lambda: true() + next(jumps)
    time.time_ns = lambda: true_ns() + int(next(jumps)) * 10**9


def drop_capabilities() -> None:
    """Let file modes count for root, too."""
    if os.geteuid():
        return
    import ctypes

    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    for name in PRELOADED[sys.argv[1]]:
        importlib.import_module(name)
    gc.freeze()  # else a child that ends looks at every object, and copies its page
    serve()
