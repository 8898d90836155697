"""Run an engine in a process of its own, so that its memory can be measured; the parent sends it requests."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import FtxError
from ftx.runtime.session import first_line
from ftx.text import Text
from ftx.turns import elapsed_sec

__all__ = ["Engine", "EngineSpec", "Infer", "load_onnx", "load_pytorch", "start_engine"]

Infer = Callable[[list[Text], int], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """What to run.

    Attributes:
        name: The engine's name in the report.
        path: An `.onnx` file, or a checkpoint folder for PyTorch.
        threads: Threads that share one batch.
        load: Loads it in its own process; a module-level function, so that it can be pickled.
    """

    name: str
    path: Path
    threads: int
    load: Callable[[EngineSpec], Infer]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A running engine.

    Attributes:
        spec: What it runs.
        load_ms: Milliseconds from an empty process to a loaded model: imports and loading.
        connection: Where to send requests.
    """

    spec: EngineSpec
    load_ms: float
    connection: Any

    def latencies_ms(self, texts: list[Text]) -> NDArray[np.float64]:
        """Run each text alone and time it, from text to logits. *Shape:* `(len(texts),)`."""
        return np.asarray(self.ask("latencies", texts))

    def batch_sec(self, texts: list[Text], batch_size: int) -> float:
        """Run all texts in one call, in batches, and time it."""
        return float(self.ask("batch", texts, batch_size))

    def logits(self, texts: list[Text], batch_size: int) -> NDArray[np.float32]:
        """Run all texts. *Shape:* `(len(texts), num_labels)`."""
        return np.asarray(self.ask("logits", texts, batch_size))

    def peak_rss_bytes(self) -> int:
        """Give the process's peak memory so far."""
        return int(self.ask("peak_rss"))

    def ask(self, *request: Any) -> Any:
        """Send a request and wait for the response."""
        with suppress(BrokenPipeError):  # it died: receive raises that
            self.connection.send(request)
        return receive(self.connection, self.spec)


@contextmanager
def start_engine(spec: EngineSpec) -> Iterator[Engine]:
    """Start an engine in a new process, and stop it when the block ends.

    Raises:
        FtxError: The model can't be loaded.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, spec), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Engine(spec=spec, load_ms=receive(ours, spec), connection=ours)
    except BaseException:
        process.kill()
        raise
    finally:
        ours.close()
        process.join(timeout=5)
        if process.is_alive():
            process.kill()


def receive(connection: Connection, spec: EngineSpec) -> Any:
    """Wait for a response; an exception is raised here."""
    try:
        response = connection.recv()
    except (EOFError, ConnectionResetError) as error:
        raise FtxError(f"{spec.name} died while it was measured: out of memory?") from error
    if isinstance(response, Exception):
        raise response
    return response


def serve(connection: Connection, spec: EngineSpec) -> None:
    """Load the model, then serve requests until the parent closes the connection. Runs in the engine's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, too, and decides
    try:
        began = time.perf_counter()
        infer = spec.load(spec)
        connection.send((time.perf_counter() - began) * 1000)
        while True:
            connection.send(respond(infer, *connection.recv()))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
    except FtxError as error:
        connection.send(error)
    except Exception as error:  # toolkits raise anything
        connection.send(FtxError(f"{spec.name} failed: {first_line(error)}"))


def respond(infer: Infer, request: str, texts: list[Text] | None = None, batch_size: int = 1) -> Any:
    """Do what the parent requests."""
    if request == "peak_rss":
        return peak_rss_bytes()
    texts = texts or []
    if request == "logits":
        return infer(texts, batch_size)
    if request == "batch":
        return elapsed_sec(lambda: infer(texts, batch_size))
    return [elapsed_sec(partial(infer, [text], 1)) * 1000 for text in texts]


def load_onnx(spec: EngineSpec) -> Infer:
    """Open an ONNX file as `ftx predict` does."""
    from ftx.runtime import Predictor

    predictor = Predictor(spec.path, intra_op_num_threads=spec.threads)
    return lambda texts, batch_size: predictor.logits(texts, batch_size=batch_size)


def load_pytorch(spec: EngineSpec) -> Infer:
    """Load a checkpoint in PyTorch, eager mode, fp32."""
    import torch

    from ftx.export.parity.reference import Reference

    torch.set_num_threads(spec.threads)
    reference = Reference(spec.path)
    return lambda texts, batch_size: reference.logits(texts, batch_size=batch_size)


def peak_rss_bytes() -> int:
    """Read the process's peak resident memory.

    On Linux from VmHWM: `ru_maxrss` survives exec and would count the parent's memory.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
