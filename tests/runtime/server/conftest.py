"""Servers in a thread of the test, on a free port of the loopback, over models of every head."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from onnx import TensorProto

from ftx import Predictor
from ftx.runtime.server import ServeSettings
from ftx.runtime.server.app import application, load
from ftx.runtime.server.protocol import bounded
from ftx.runtime.server.service import Service
from tests.runtime.conftest import save_words

WAIT_SEC = 120.0  # only ends a hang
LOGGERS = ("ftx.server", "uvicorn.error", "asyncio")


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@dataclass
class Running:
    """A server that runs."""

    url: str
    port: int
    service: Service
    predictor: Predictor
    log: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return next(iter(self.service.models))

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=WAIT_SEC)


@contextmanager
def serve(path: Path, *, close_sec: float = WAIT_SEC, **settings: object) -> Iterator[Running]:
    chosen = ServeSettings(**{"max_queue_sec": 1e6, **settings})  # type: ignore[arg-type]
    service = load(path, chosen)
    kept = Lines()
    for name in LOGGERS:
        logging.getLogger(name).addHandler(kept)
    config = uvicorn.Config(
        application(service), port=0, log_config=None, access_log=False, server_header=False, lifespan="off",
        http=bounded(chosen), ws="none", timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        loaded = next(iter(service.models.values())).loaded
        assert loaded is not None
        yield Running(f"http://127.0.0.1:{port}", port, service, loaded.engine.predictor, kept.lines)
    finally:
        server.should_exit = True
        thread.join(WAIT_SEC)
        for model in service.models.values():
            model.close(close_sec)
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(kept)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Classifiers that count words, by head."""
    folder = tmp_path_factory.mktemp("heads")
    options: dict[str, dict[str, Any]] = {
        "single": {"text_pair": False},
        "multi": {"problem_type": "multi_label_classification", "thresholds": {"negative": 0.2, "positive": 0.9}},
        "regression": {
            "problem_type": "regression", "id2label": {0: "stars"}, "table": [[0], [1.5], [-1.25], [np.nan], [np.inf]],
            "output": (TensorProto.FLOAT, ["batch", 1]),
        },
        "pair": {"text_pair": True},
    }  # fmt: skip
    return {name: save_words(folder / f"{name}.onnx", **values) for name, values in options.items()}


@pytest.fixture(scope="session")
def head(heads: dict[str, Path]) -> Iterator[Callable[[str], Running]]:
    """A server by head; each is started once."""
    with ExitStack() as stack:
        yield functools.cache(lambda name: stack.enter_context(serve(heads[name])))


@pytest.fixture(scope="session")
def tiny(tiny_export: Path) -> Iterator[Running]:
    """A server on the tiny model in fp32."""
    with serve(tiny_export / "model.onnx") as running:
        yield running
