"""Run the server: listen, follow changed files, drain at SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import anyio.to_thread
import uvicorn

from ftx.errors import FtxError
from ftx.runtime.server.app import application, load
from ftx.runtime.server.hosts import LOOPBACK, is_loopback
from ftx.runtime.server.listening import listen
from ftx.runtime.server.logs import LogWriter, log_to_stderr
from ftx.runtime.server.protocol import bounded
from ftx.runtime.server.service import Service
from ftx.runtime.server.settings import ServeSettings

__all__ = ["serve"]

log = logging.getLogger("ftx.server")
# A file that is being copied changes from look to look: it is opened when two looks saw the same.
LOOK_SEC = 1.0
# To send those that could not be finished their refusals.
REFUSE_SEC = 1
AF_UNIX = getattr(socket, "AF_UNIX", None)  # Windows has none
SWITCH_SEC = 0.0005
# By the numbers of malloc.h: M_ARENA_MAX, one for all threads; M_MMAP_THRESHOLD, so that the tensors of long texts are
# given back at once; M_TRIM_THRESHOLD, so that those of short texts need no new pages for each batch.
MALLOC = {-8: 1, -3: 4 * 2**20, -1: 64 * 2**20}


def serve(
    onnx: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    uds: Path | None = None,
    log_format: str = "text",
    settings: ServeSettings | None = None,
) -> int:
    """Serve a model, or several, until SIGTERM or SIGINT.

    Args:
        onnx: A file, a folder with one export, or a folder of these.
        host: Address to listen on.
        port: Port; 0: any free one.
        uds: A Unix socket to listen on instead.
        log_format: `text` or `json`, a line each on stderr.
        settings: Limits.

    Returns:
        How many accepted requests could not be finished.

    Raises:
        FtxError: A model can't be served, or the address can't be listened on.
    """
    settings = settings or ServeSettings()
    sockets = listen(host, port, uds)
    # The workers and the event loop take turns in Python: with the default of 5 ms each system call of the one can cost
    # as much while the other is busy. Under overload 40 % more requests were answered.
    sys.setswitchinterval(SWITCH_SEC)
    bound_memory()
    try:
        with log_to_stderr(log_format) as written:
            return run(Path(onnx), host, sockets, settings, written)
    finally:
        for one in sockets:
            one.close()
        if uds is not None:
            uds.unlink(missing_ok=True)


def bound_memory() -> None:
    """Let glibc's malloc keep less, unless the environment has settings of its own for it."""
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for parameter, value in MALLOC.items():
            mallopt(parameter, value)


def run(onnx: Path, host: str, sockets: list[socket.socket], settings: ServeSettings, written: LogWriter) -> int:
    """Serve on sockets that are open; give how many accepted requests could not be finished."""
    if all(map(is_loopback, sockets)) and settings.token is None and not settings.allowed_hosts:
        settings = dataclasses.replace(settings, allowed_hosts=(*LOOPBACK, host), own_pages_only=True)
    with hang_up_ignored():
        service = load(onnx, settings)
        service.metrics.registry.register(written.dropped)
        made = application(service)
        config = uvicorn.Config(
            made, log_config=None, access_log=False, server_header=False, lifespan="off",
            proxy_headers=False, timeout_keep_alive=75, http=bounded(settings, made.refuse), ws="none",
            timeout_graceful_shutdown=math.ceil(settings.drain_sec) + REFUSE_SEC,
        )  # fmt: skip
        server = Server(config, service, written)
        open_to = [address(one.getsockname()) for one in sockets if one.family != AF_UNIX and not is_loopback(one)]
        if open_to and settings.token is None:
            log.warning(
                "listening on %s without a token: whoever reaches this port can use the model", ", ".join(open_to)
            )
        server.run(sockets)
    return server.unfinished


@contextlib.contextmanager
def hang_up_ignored() -> Iterator[None]:
    """Let SIGHUP not end the process before the server takes it: a file may be replaced while the first one loads."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


class Server(uvicorn.Server):
    """uvicorn with our signals: drain, reload.

    Attributes:
        unfinished: Accepted requests that could not be finished.
    """

    def __init__(self, config: uvicorn.Config, service: Service, written: LogWriter) -> None:
        super().__init__(config)
        self.service, self.written = service, written
        self.unfinished = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._wanted: set[str] = set()  # models whose files are to be opened anew
        self._loading = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals in the event loop; none where this is not the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        named = {"SIGTERM": self.drain, "SIGINT": self.drain, "SIGHUP": self.reload}  # Windows lacks the last one
        actions = {getattr(signal, name): action for name, action in named.items() if hasattr(signal, name)}

        def on_signal(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(actions[number])

        before = {number: signal.signal(number, on_signal) for number in actions}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: Any = None) -> None:
        """Listen, say where, and look after the files."""
        await super().startup(sockets)
        if self.started:
            for listener in self.servers:
                for one in listener.sockets:
                    name = one.getsockname()
                    log.info("serving %s on %s", ", ".join(self.service.models), address(name))
            self._begin(self.watch())

    async def shutdown(self, sockets: Any = None) -> None:
        """Stop listening, and let connections finish as long as they may."""
        limit = asyncio.create_task(self.give_up())
        await super().shutdown(sockets)
        limit.cancel()
        for model in self.service.models.values():
            self.unfinished += await anyio.to_thread.run_sync(model.close, 0.0)
        if self.unfinished:
            log.warning("%d accepted requests could not be finished", self.unfinished)
        for task in self._tasks:
            task.cancel()

    async def give_up(self) -> None:
        """Refuse what is not finished when the time is over."""
        await asyncio.sleep(self.service.settings.drain_sec)
        for model in self.service.models.values():
            self.unfinished += model.close(0.0)

    def drain(self) -> None:
        """Begin to end; at once when asked again."""
        if self.service.draining:
            left = sum(model.loaded.batcher.unfinished for model in self.service.models.values() if model.loaded)
            log.warning("ending at once: %d accepted requests are not finished", left)
            self.written.flush()
            os._exit(1)
        self.service.draining = True
        log.info("draining: not ready from now on")
        self._begin(self.end())

    async def end(self) -> None:
        """Go on accepting until load balancers know, then stop."""
        await asyncio.sleep(self.service.settings.drain_grace_sec)
        self.should_exit = True

    def reload(self) -> None:
        """Open all files again."""
        self._begin(self.load(set(self.service.models)))

    async def watch(self) -> None:
        """Open files that have changed."""
        seen: dict[str, tuple[int, ...]] = {}
        while True:
            await asyncio.sleep(LOOK_SEC)
            changed = set()
            for name, model in self.service.models.items():
                stamp = await anyio.to_thread.run_sync(model.stamp)
                if stamp == seen.get(name) and await anyio.to_thread.run_sync(model.changed):
                    changed.add(name)
                seen[name] = stamp
            await self.load(changed)

    async def load(self, names: set[str]) -> None:
        """Open models' files anew, one at a time; one that can't be used leaves the one before at work.

        Who asks while a file is opened, however often, has it opened once more after that.
        """
        self._wanted |= names
        if self._loading:
            return
        self._loading = True
        try:
            while self._wanted and not self.service.draining:
                name = self._wanted.pop()
                try:
                    loaded = await anyio.to_thread.run_sync(self.service.models[name].load)
                    log.info("%s: opened %s, SHA-256 %s", name, loaded.engine.predictor.path, loaded.sha256)
                except FtxError as error:
                    log.error("%s: the new file is not served, the one before is: %s", name, error)
                except Exception:
                    log.exception("%s: the new file is not served, the one before is", name)
        finally:
            self._loading = False

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def address(name: Any) -> str:
    """Write the address of a socket."""
    if isinstance(name, (str, bytes)):
        return os.fsdecode(name)
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"
