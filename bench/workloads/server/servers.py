"""The servers that are measured: how each is started with a file, and how it is asked."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ftx.bench.engine import EngineSpec
from ftx.bench.workloads.server.classifier import SETTINGS, TOKENIZER
from ftx.bench.workloads.server.client import Client, post
from ftx.errors import FtxError
from ftx.runtime.model_file import describe

__all__ = ["SERVERS", "ServerKind", "start_server"]

START_SEC = 120.0
STOP_SEC = 20.0
# LitServe's and MLServer's manuals turn batching on with such values.
BATCH_TEXTS, BATCH_WAIT_SEC = 16, 0.005


@dataclass(frozen=True, kw_only=True)
class ServerKind:
    """A server.

    Attributes:
        name: In the report.
        needs: The module without which it can't run.
        command: Writes its settings into its working directory, and gives what starts it there, on a port.
        request: Writes a request for one text's prediction.
    """

    name: str
    needs: str
    command: Callable[[EngineSpec, Path, int], list[str]]
    request: Callable[[str], bytes]


def ftx_command(spec: EngineSpec, folder: Path, port: int) -> list[str]:
    """Start `ftx serve` as it stands."""
    options = [*spec.options, "--port", str(port)]
    return [sys.executable, "-m", "ftx", "serve", *options]


def litserve_command(spec: EngineSpec, folder: Path, port: int) -> list[str]:
    """Start LitServe."""
    return [sys.executable, "-m", "ftx.bench.workloads.server.litserve_program", str(port)]


def mlserver_command(spec: EngineSpec, folder: Path, port: int) -> list[str]:
    """Start MLServer without worker processes, each of which would load the model."""
    runtime = "ftx.bench.workloads.server.mlserver_program.Runtime"
    model = {"name": "model", "implementation": runtime, "max_batch_size": BATCH_TEXTS}
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **ports}
    (folder / "model-settings.json").write_text(json.dumps({**model, "max_batch_time": BATCH_WAIT_SEC}))
    (folder / "settings.json").write_text(json.dumps(settings))
    return [sys.executable, "-m", "mlserver.cli.main", "start", "."]


def ask_ftx(text: str) -> bytes:
    """Ask as ftx's own interface has it, which LitServe's program reads, too."""
    return post("/predict", json.dumps({"texts": [text]}).encode())


def ask_mlserver(text: str) -> bytes:
    """Ask by the Open Inference Protocol."""
    tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
    return post("/v2/models/model/infer", json.dumps({"inputs": [tensor]}).encode())


SERVERS = (
    ServerKind(name="ftx serve", needs="starlette", command=ftx_command, request=ask_ftx),
    ServerKind(name="LitServe", needs="litserve", command=litserve_command, request=ask_ftx),
    ServerKind(name="MLServer", needs="mlserver", command=mlserver_command, request=ask_mlserver),
)


@contextmanager
def start_server(kind: ServerKind, spec: EngineSpec, folder: Path) -> Iterator[int]:
    """Start a server with an ONNX file, and stop it when the block ends.

    Args:
        kind: The server.
        spec: The file, and the threads that a batch may use.
        folder: Its working directory, which is created.

    Yields:
        Its port, once it has answered a request.

    Raises:
        FtxError: It is not installed, or did not start.
    """
    if importlib.util.find_spec(kind.needs) is None:
        raise FtxError(f"{kind.name} can't run: No module named {kind.needs!r}")
    folder.mkdir()
    manifest, tokenizer_json = describe(spec.path)
    settings = {"onnx": str(spec.path), "threads": spec.threads, "max_length": manifest.max_length}
    (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    (folder / TOKENIZER).write_text(tokenizer_json, encoding="utf-8")
    port = free_port()
    command = kind.command(spec, folder, port)
    with (folder / "log").open("w+", encoding="utf-8", errors="replace") as log:
        # In a session of its own, so that Ctrl-C is for ftx bench, which then ends it.
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            end = time.monotonic() + START_SEC
            while asyncio.run(status_of(port, kind.request("warm up"))) != 200:
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    last = (log.read().strip().splitlines() or ["no output"])[-1]
                    raise FtxError(f"{kind.name} did not start: {last:.200}")
                time.sleep(0.1)
            yield port
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and its own processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_SEC)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            break


async def status_of(port: int, request: bytes) -> int:
    """Ask once; 0: nobody answers."""
    client = Client(port)
    try:
        return await client.send(request)
    except OSError:
        return 0
    finally:
        client.close()


def free_port() -> int:
    """Find a port."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
