"""The same ONNX file and the same load on `ftx serve`, LitServe and MLServer, in turn.

    python -m venv peers && peers/bin/pip install litserve==0.2.19 mlserver==1.7.1 onnxruntime tokenizers
    .venv/bin/python benchmarks/server_peers.py --onnx RUN/onnx --python peers/bin/python

The two get what their manuals show for a model of one's own: a class that tokenizes a batch, pads it to its longest
text and runs onnxruntime, with their batching on (up to 16 texts, 5 ms). A peer that is not installed is left out.
Prints a Markdown table, or JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from server_load import CLIENTS, PAUSE_SEC, Client, asking, closed_loop, made_up, percentile, serving

from ftx import Predictor

START_SEC = 120.0
MODEL = """
import os
import numpy, onnxruntime, tokenizers

class Classifier:
    def __init__(self):
        folder = os.environ["MODEL_FOLDER"]
        self.tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.tokenizer.enable_truncation(128)
        self.tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        self.session = onnxruntime.InferenceSession(f"{folder}/model_quantized.onnx", options)
        self.names = [one.name for one in self.session.get_inputs()]

    def __call__(self, texts):
        read = self.tokenizer.encode_batch(list(texts))
        every = {"input_ids": [one.ids for one in read], "attention_mask": [one.attention_mask for one in read],
                 "token_type_ids": [one.type_ids for one in read]}
        logits = self.session.run(None, {name: numpy.array(every[name], dtype=numpy.int64) for name in self.names})[0]
        return logits.argmax(axis=1).tolist()
"""
LITSERVE = """
import sys
import litserve
from model import Classifier

class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = Classifier()
    def decode_request(self, request):
        return request["texts"][0]
    def predict(self, texts):
        return self.model(texts)
    def encode_response(self, output):
        return {"label": output}

if __name__ == "__main__":
    api = Api(max_batch_size=16, batch_timeout=0.005)
    litserve.LitServer(api, accelerator="cpu").run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False)
"""
MLSERVER = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceResponse
import numpy
from model import Classifier

class Runtime(MLModel):
    async def load(self):
        self.model = Classifier()
        return True
    async def predict(self, payload):
        labels = self.model(StringCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output("label", numpy.array(labels).reshape(-1, 1))
        return InferenceResponse(model_name=self.name, outputs=[output])
"""


@contextmanager
def litserve(python: Path, folder: Path, onnx: Path) -> Iterator[int]:
    """Run LitServe; give its port."""
    (folder / "serve.py").write_text(LITSERVE)
    port = free_port()
    with running([str(python), "serve.py", str(port)], folder, onnx, port, requests("litserve", ["warm up"])[0]):
        yield port


@contextmanager
def mlserver(python: Path, folder: Path, onnx: Path) -> Iterator[int]:
    """Run MLServer without worker processes, which would each load the model; give its port."""
    (folder / "runtime.py").write_text(MLSERVER)
    settings = {"name": "model", "implementation": "runtime.Runtime", "max_batch_size": 16, "max_batch_time": 0.005}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    port = free_port()
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    command = [str(python.with_name("mlserver")), "start", "."]
    with running(command, folder, onnx, port, requests("mlserver", ["warm up"])[0]):
        yield port


@contextmanager
def running(command: list[str], folder: Path, onnx: Path, port: int, request: bytes) -> Iterator[None]:
    """Run a server until it was answered and used."""
    (folder / "model.py").write_text(MODEL)
    environment = os.environ | {"MODEL_FOLDER": str(onnx.absolute()), "PYTHONPATH": str(folder)}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + START_SEC
        while asyncio.run(status(port, request)) != 200:
            if process.poll() is not None or time.monotonic() > end:
                raise click.ClickException(f"{command[0]} did not start")
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def status(port: int, request: bytes) -> int:
    """Ask once; 0: nobody listens."""
    client = Client(port)
    try:
        return (await client.send(request))[0]
    except OSError:
        return 0
    finally:
        client.close()


def free_port() -> int:
    """Find a port."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def requests(server: str, texts: list[str]) -> list[bytes]:
    """Write requests for one text each, in a server's own dialect."""
    if server != "mlserver":
        return [asking([text]) for text in texts]
    made = []
    for text in texts:
        tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
        body = json.dumps({"inputs": [tensor]}).encode()
        head = b"POST /v2/models/model/infer HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        made.append(head + b"content-length: %d\r\n\r\n" % len(body) + body)
    return made


async def measure(port: int, asked: list[bytes], clients: int, seconds: float) -> tuple[float, list[float]]:
    """Texts a second of so many clients, and how long each request took."""

    async def ask(client: Client, turn: int) -> int:
        got, _, _ = await client.send(asked[turn % len(asked)])
        if got != 200:
            raise click.ClickException(f"port {port} answered {got}")
        return 1

    begun = time.perf_counter()
    count, times = await closed_loop(port, clients, seconds, ask)
    return count / (time.perf_counter() - begun), times


@click.command()
@click.option("--onnx", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--python", type=click.Path(path_type=Path, exists=True), required=True, help="With the peers.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="Of each kind of load.")
@click.option("--json", "as_json", is_flag=True)
def main(onnx: Path, python: Path, rounds: int, seconds: float, as_json: bool) -> None:
    """Measure servers beside each other."""
    texts = made_up(2000)
    found: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        ports = {"ftx serve": stack.enter_context(serving(onnx)).port}
        for name, start, folder in (("litserve", litserve, folders[0]), ("mlserver", mlserver, folders[1])):
            installed = subprocess.run([str(python), "-c", f"import {name}"], stderr=subprocess.DEVNULL, check=False)
            if installed.returncode == 0:
                ports[name] = stack.enter_context(start(python.absolute(), folder, onnx))
        predictor = stack.enter_context(Predictor(onnx))
        offline: list[float] = []
        asked = {name: requests(name, texts) for name in ports}
        for name, port in ports.items():
            asyncio.run(measure(port, asked[name], CLIENTS, 1.0))
        for _ in range(rounds):
            begun = time.perf_counter()
            predictor(texts)
            offline.append(len(texts) / (time.perf_counter() - begun))
            for name, port in ports.items():
                figures = found.setdefault(name, {})
                for clients in (1, CLIENTS):
                    time.sleep(PAUSE_SEC)
                    speed, times = asyncio.run(measure(port, asked[name], clients, seconds))
                    figures.setdefault(f"clients_{clients}_texts_per_sec", []).append(speed)
                    figures.setdefault(f"clients_{clients}_p50_ms", []).append(1e3 * percentile(times, 50))
                    figures.setdefault(f"clients_{clients}_p99_ms", []).append(1e3 * percentile(times, 99))
    medians = {name: {key: statistics.median(its) for key, its in one.items()} for name, one in found.items()}
    if as_json:
        click.echo(json.dumps({"offline_texts_per_sec": statistics.median(offline), **medians}, indent=2))
        return
    click.echo(f"Predictor, all texts in one call: {statistics.median(offline):.0f} texts/s\n")
    keys = list(next(iter(medians.values())))
    click.echo(f"| server | {' | '.join(keys)} |\n|---|{'---:|' * len(keys)}")
    for name, one in medians.items():
        click.echo(f"| {name} | {' | '.join(f'{value:.1f}' for value in one.values())} |")


if __name__ == "__main__":
    main()
