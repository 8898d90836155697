"""A server in a thread of the test, on a free port of the loopback."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn

from ftx import Predictor
from ftx.runtime.server import ServeSettings
from ftx.runtime.server.app import application, load
from ftx.runtime.server.protocol import bounded
from ftx.runtime.server.service import Service

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
        # Without TLS, whose certificates take longer to read than a request takes.
        return httpx.Client(base_url=self.url, timeout=WAIT_SEC, verify=False)


@contextmanager
def serve(path: Path, *, close_sec: float = WAIT_SEC, **settings: object) -> Iterator[Running]:
    chosen = ServeSettings(**{"max_queue_sec": 1e6, **settings})  # type: ignore[arg-type]
    service = load(path, chosen)
    kept = Lines()
    for name in LOGGERS:
        logging.getLogger(name).addHandler(kept)
    made = application(service)
    config = uvicorn.Config(
        made, port=0, log_config=None, access_log=False, server_header=False, lifespan="off",
        http=bounded(chosen, made.refuse), ws="none", timeout_graceful_shutdown=1,
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
