"""Run an engine in a process of its own, so that its memory can be measured; the parent sends it requests."""

from __future__ import annotations

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

from ftx.bench.apart import receive, start_apart
from ftx.bench.memory import Memory, memory
from ftx.text import Text
from ftx.turns import elapsed_sec

__all__ = ["Engine", "EngineSpec", "Infer", "start_engine"]

# Computes the logits of texts, in batches of at most this many.
Infer = Callable[[list[Text], int], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """What to run.

    Attributes:
        name: The engine's name in the report.
        path: The file or folder that it loads.
        threads: Threads that share one batch.
        load: Loads it in its own process; a module-level function, so that it can be pickled.
        fallback: Another model's file, which answers the texts that the first one is unsure of.
    """

    name: str
    path: Path
    threads: int
    load: Callable[[EngineSpec], Infer]
    fallback: Path | None = None

    @property
    def options(self) -> list[str]:
        """The options of `ftx predict` and `ftx serve` with which they run the same."""
        fallback = ["--fallback", str(self.fallback)] if self.fallback else []
        return ["--onnx", str(self.path), "--threads", str(self.threads), *fallback]


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

    def batch_sec(self, texts: list[Text], batch_size: int, least_sec: float = 0.0) -> float:
        """Run all texts in one call, in batches, and time it: the mean of as many calls as take so long together."""
        return float(self.ask("batch", texts, batch_size, least_sec))

    def logits(self, texts: list[Text], batch_size: int) -> NDArray[np.float32]:
        """Run all texts. *Shape:* `(len(texts), num_labels)`."""
        return np.asarray(self.ask("logits", texts, batch_size))

    def memory(self) -> Memory:
        """Give the process's memory."""
        found: Memory = self.ask("memory")
        return found

    def ask(self, *request: Any) -> Any:
        """Send a request and wait for the response."""
        with suppress(BrokenPipeError):  # it died: receive raises that
            self.connection.send(request)
        return receive(self.connection, self.spec.name)


@contextmanager
def start_engine(spec: EngineSpec) -> Iterator[Engine]:
    """Start an engine in a new process, and stop it when the block ends.

    Raises:
        FtxError: The model can't be loaded.
    """
    with start_apart(spec.name, serve, spec) as connection:
        yield Engine(spec=spec, load_ms=receive(connection, spec.name), connection=connection)


def serve(connection: Connection, spec: EngineSpec) -> None:
    """Load the model, then serve requests until the parent closes the connection. Runs in the engine's process."""
    began = time.perf_counter()
    infer = spec.load(spec)
    connection.send((time.perf_counter() - began) * 1000)
    while True:
        connection.send(respond(infer, *connection.recv()))


def respond(
    infer: Infer, request: str, texts: list[Text] | None = None, batch_size: int = 1, least_sec: float = 0.0
) -> Any:
    """Do what the parent requests."""
    if request == "memory":
        return memory()
    texts = texts or []
    if request == "logits":
        return infer(texts, batch_size)
    if request == "batch":
        took: list[float] = []
        while not took or sum(took) < least_sec:
            took.append(elapsed_sec(lambda: infer(texts, batch_size)))
        return sum(took) / len(took)
    return [elapsed_sec(partial(infer, [text], 1)) * 1000 for text in texts]
