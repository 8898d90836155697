"""Servers in turn, with the same file, threads and texts, beside one call with all texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ftx.bench.engine import EngineSpec, start_engine
from ftx.bench.progress import progress
from ftx.bench.workloads.server.figures import ServerLoad
from ftx.bench.workloads.server.servers import SERVERS, start_server
from ftx.bench.workloads.server.sweep import CLIENTS, LIMIT_MS, RunningServer
from ftx.errors import FtxError
from ftx.text import Text
from ftx.turns import take_turns

__all__ = ["measure_servers"]

ROUNDS, SECONDS = 3, 3.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 1.0
OFFLINE = "offline"


def measure_servers(
    spec: EngineSpec, texts: Sequence[str], batch_size: int, folder: Path, *, noise: float, quick: bool
) -> tuple[ServerLoad, dict[str, str]]:
    """Measure each server that is installed.

    Args:
        spec: The engine that makes the call with all texts, and whose file is served.
        texts: What to ask for, one a request.
        batch_size: Texts in a batch of that call.
        folder: For the servers' files.
        noise: The spread of the machine's speed.
        quick: For a first look.

    Returns:
        What was found, and the reason, by each server that could not be measured.

    Raises:
        FtxError: `ftx serve` could not.
    """
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    left_out: dict[str, str] = {}
    some: list[Text] = list(texts)
    with ExitStack() as stack:
        running: list[RunningServer] = []
        for kind in SERVERS:
            try:
                port = stack.enter_context(start_server(kind, spec, folder / kind.needs))
            except FtxError as error:
                if kind is SERVERS[0]:
                    raise
                left_out[kind.name] = str(error)
                continue
            requests = [kind.request(text) for text in texts]
            running.append(RunningServer(name=kind.name, port=port, requests=requests, seconds=seconds))
        from ftx.runtime.server.listening import raise_descriptors  # here, as it needs the extra serve

        raise_descriptors()  # an open loop has a connection for each request that waits
        engine = stack.enter_context(start_engine(spec))

        def offline(number: int) -> float:
            # The texts so often that it takes about as long as a loop of clients.
            times = max(1, round(seconds / engine.batch_sec(some, batch_size)))
            return len(some) * times / engine.batch_sec(some * times, batch_size)

        turns: dict[str, Callable[[int], Any]] = {OFFLINE: offline, **{one.name: one.clients for one in running}}
        with progress("Servers", rounds + 1 + len(running)) as step:
            take_turns(turns, [0])  # warms up
            step()
            found: dict[str, list[Any]] = {name: [] for name in turns}
            for number in range(rounds):
                for name, taken in take_turns(turns, [number]).items():
                    found[name] += taken
                step()
            rates = np.array(found[OFFLINE])
            servers = []
            for one in running:
                servers.append(one.figures(found[one.name], rates, noise))
                step()
    offline_rate = float(np.median(rates))
    load = ServerLoad(limit_ms=LIMIT_MS, clients=CLIENTS, offline_texts_per_sec=offline_rate, servers=servers)
    return load, left_out
