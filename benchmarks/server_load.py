"""Load on `ftx serve`, from another process on this machine, and the figures that its promises are about.

    .venv/bin/python benchmarks/server_load.py --onnx RUN/onnx
    .venv/bin/python benchmarks/server_load.py --onnx RUN/onnx --only overload --seconds 60 --json

Latency of one text and throughput of many clients stand beside those of a `Predictor` on the same texts in the same
run, taking turns, since the machine may be busy with other work. The load generator needs a part of the same cores.
Prints a Markdown table, or JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from ftx import Predictor
from ftx.runtime.server.listening import raise_descriptors

PAUSE_SEC = 0.3  # threads that spin after a call come to rest
CLIENTS = 32
MANY_TEXTS = 1000
SOAK_REQUESTS = 10_000
Figures = dict[str, float]


class Client(asyncio.Protocol):
    """One connection that is kept, with one request at a time.

    It reads no more of a response than the generator needs: what the generator computes, the server lacks.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting: asyncio.Future[tuple[int, bytes, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        self.transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """End the request once its response is whole."""
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if ended and self._waiting is not None and len(body) >= int(header(head, b"content-length")):
            self._received, waiting, self._waiting = b"", self._waiting, None
            waiting.set_result((int(head[9:12]), head, body))

    async def send(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Send a request; give status, head and body of its response."""
        loop = asyncio.get_running_loop()
        if self.transport is None:
            await loop.create_connection(lambda: self, "127.0.0.1", self.port)
        assert self.transport is not None
        self._waiting = loop.create_future()
        self.transport.write(request)
        return await self._waiting

    async def metric(self, name: str) -> float:
        """Read one of the server's metrics."""
        _, _, body = await self.send(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        [value] = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", body.decode(), re.MULTILINE)
        return float(value)

    def close(self) -> None:
        """Close the connection."""
        if self.transport is not None:
            self.transport.close()


def header(head: bytes, name: bytes) -> bytes:
    """Find a header of a response, whose name is in small letters."""
    return head.partition(b"\r\n" + name + b": ")[2].partition(b"\r\n")[0]


def asking(texts: list[str]) -> bytes:
    """Write the request for predictions of texts."""
    body = json.dumps({"texts": texts}).encode()
    return b"POST /predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A server that runs."""

    port: int
    pid: int

    def cpu_sec(self) -> float:
        """Seconds of processor time that it has used; Linux only."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(onnx: Path, *options: str) -> Iterator[Serving]:
    """Run a server."""
    command = [sys.executable, "-m", "ftx", "serve", "--onnx", str(onnx), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"serving .* on http://.*:(\d+)", line):
                    yield Serving(port=int(found[1]), pid=process.pid)
                    break
            else:
                raise click.ClickException("the server did not start")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def made_up(count: int, seed: int = 7) -> list[str]:
    """Make sentences of 4 to 40 words."""
    words = "the movie film story plot was is not very great good bad awful dull and but of with cast music"
    chosen = random.Random(seed)
    return [" ".join(chosen.choices(words.split(), k=chosen.randint(4, 40))) for _ in range(count)]


def percentile(values: list[float], percent: float) -> float:
    """Give a percentile; NaN of nothing."""
    return float(np.percentile(values, percent)) if values else float("nan")


async def one_text(server: Serving, predictor: Predictor, texts: list[str], rounds: int) -> Figures:
    """p50 of one text over HTTP and of a predictor, taking turns."""
    client, own, over_http = Client(server.port), list[float](), list[float]()
    requests = [asking([text]) for text in texts[:100]]
    for _ in range(rounds):
        times: list[float] = []
        for text in texts[:100]:
            begun = time.perf_counter()
            predictor([text])
            times.append(time.perf_counter() - begun)
        own.append(percentile(times, 50))
        await asyncio.sleep(PAUSE_SEC)
        times = []
        for request in requests:
            begun = time.perf_counter()
            status, _, _ = await client.send(request)
            assert status == 200
            times.append(time.perf_counter() - begun)
        over_http.append(percentile(times, 50))
    client.close()
    more = [1e3 * (http - its) for http, its in zip(over_http, own, strict=True)]
    return {
        "predictor_p50_ms": 1e3 * statistics.median(own),
        "http_p50_ms": 1e3 * statistics.median(over_http),
        "http_more_ms": statistics.median(more),
    }


async def closed_loop(
    port: int, clients: int, seconds: float, ask: Callable[[Client, int], Awaitable[int]]
) -> tuple[int, list[float]]:
    """Let clients ask one after the other; give what they got and how long each waited."""
    end, counts, times = time.perf_counter() + seconds, list[int](), list[float]()

    async def run(number: int) -> None:
        client, turn = Client(port), number
        while time.perf_counter() < end:
            begun = time.perf_counter()
            counts.append(await ask(client, turn))
            times.append(time.perf_counter() - begun)
            turn += clients
        client.close()

    await asyncio.gather(*map(run, range(clients)))
    return sum(counts), times


async def throughput(server: Serving, predictor: Predictor, texts: list[str], rounds: int, seconds: float) -> Figures:
    """Texts a second of 32 clients, each with one text at a time, and of a predictor that has all texts.

    The generator's share of the processor is the server's loss, so texts per second of processor time stand beside.
    """
    requests = [asking([text]) for text in texts]

    async def ask(client: Client, turn: int) -> int:
        status, _, _ = await client.send(requests[turn % len(requests)])
        assert status == 200, status
        return 1

    offline, served, ratios = list[float](), list[float](), list[float]()
    cpu_ratios, generator = list[float](), list[float]()
    for _ in range(rounds):
        begun, cpu, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - begun < seconds:
            predictor(texts)
            count += len(texts)
        offline.append(count / (time.perf_counter() - begun))
        offline_a_cpu_sec = count / (time.process_time() - cpu)
        await asyncio.sleep(PAUSE_SEC)
        begun, cpu, own_cpu = time.perf_counter(), server.cpu_sec(), time.process_time()
        count, _ = await closed_loop(server.port, CLIENTS, seconds, ask)
        wall = time.perf_counter() - begun
        served.append(count / wall)
        ratios.append(served[-1] / offline[-1])
        cpu_ratios.append(count / (server.cpu_sec() - cpu) / offline_a_cpu_sec)
        generator.append((time.process_time() - own_cpu) / wall)
    return {
        "offline_texts_per_sec": statistics.median(offline),
        "clients_32_texts_per_sec": statistics.median(served),
        "served_over_offline": statistics.median(ratios),
        "least_served_over_offline": min(ratios),
        "most_served_over_offline": max(ratios),
        "served_over_offline_per_cpu_sec": statistics.median(cpu_ratios),
        "cores_of_generator": statistics.median(generator),
    }


async def overload(server: Serving, predictor: Predictor, texts: list[str], seconds: float, times: float) -> Figures:
    """Send so many times what it can do, whatever it answers; look at what was accepted and what was refused.

    The true wait is that of the queue's tokens at the speed with which tokens were run under this load; once the load
    stops, the queue empties faster.
    """
    right = predictor.predict_proba(texts).argmax(axis=1)
    labels = predictor.manifest.labels
    requests = [asking([text]) for text in texts]
    bodies: list[tuple[int, bytes]] = []  # of accepted requests, to be read afterwards

    async def ask(client: Client, turn: int) -> int:
        status, _, _ = await client.send(requests[turn % len(requests)])
        return int(status == 200)

    count, _ = await closed_loop(server.port, CLIENTS, seconds / 4, ask)
    peak = count / (seconds / 4)
    statuses, accepted, waits = Counter[int](), list[float](), list[float]()
    predicted = list[float]()
    free, tasks = list[Client](), set[asyncio.Task[None]]()

    async def one(turn: int) -> None:
        client = free.pop() if free else Client(server.port)
        begun = time.perf_counter()
        status, head, body = await client.send(requests[turn % len(requests)])
        took = time.perf_counter() - begun
        free.append(client)
        statuses[status] += 1
        if status == 200:
            accepted.append(took)
            bodies.append((turn % len(texts), body))
        elif status == 429:
            waits.append(float(header(head, b"retry-after")))
            predicted.append(float(header(head, b"retry-after-ms")) / 1e3)

    client = Client(server.port)
    tokens = await client.metric("ftx_tokens_total")
    cpu, own_cpu = server.cpu_sec(), time.process_time()
    begun, turn = time.perf_counter(), 0
    while (now := time.perf_counter() - begun) < seconds:
        while turn < now * peak * times:
            task = asyncio.create_task(one(turn))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            turn += 1
        await asyncio.sleep(0.002)
    answered, sent_for = statuses[200], time.perf_counter() - begun
    stopped = time.perf_counter()
    cpu, own_cpu = server.cpu_sec() - cpu, time.process_time() - own_cpu
    said, queued = await client.metric("ftx_predicted_wait_seconds"), await client.metric("ftx_queued_tokens")
    run = await client.metric("ftx_tokens_total") - tokens
    while await client.metric("ftx_queued_tokens"):
        await asyncio.sleep(0.01)
    emptied = time.perf_counter() - stopped
    if tasks:
        await asyncio.wait(tasks)
    for one_client in (*free, client):
        one_client.close()
    wrong = sum(json.loads(body)[0]["label"] != labels[right[place]] for place, body in bodies)
    return {
        "peak_requests_per_sec": peak,
        "sent_requests_per_sec": turn / sent_for,
        "answered_requests_per_sec": answered / sent_for,
        "goodput_over_peak": answered / sent_for / peak,
        "cores_of_server": cpu / sent_for,
        "cores_of_generator": own_cpu / sent_for,
        "connections": len(free),
        "accepted_p50_ms": 1e3 * percentile(accepted, 50),
        "accepted_p99_ms": 1e3 * percentile(accepted, 99),
        "refused_429": statuses[429],
        "other_statuses": sum(statuses.values()) - statuses[200] - statuses[429],
        "other_labels": wrong,
        "retry_after_sec": statistics.median(waits) if waits else float("nan"),
        "predicted_wait_sec": statistics.median(predicted) if predicted else float("nan"),
        "predicted_over_true_wait": said / (queued / (run / sent_for)) if queued else float("nan"),
        "predicted_at_end_sec": said,
        "emptied_after_sec": emptied,
    }


async def mixed(server: Serving, texts: list[str], seconds: float) -> Figures:
    """p99 of requests of one text, alone, and beside a client that sends 1,000 texts at a time."""
    port = server.port
    many = asking((texts * (MANY_TEXTS // len(texts) + 1))[:MANY_TEXTS])
    requests = [asking([text]) for text in texts]

    async def small(client: Client, turn: int) -> int:
        await asyncio.sleep(0.01)
        status, _, _ = await client.send(requests[turn % len(requests)])
        return int(status == 200)

    async def large(client: Client, turn: int) -> int:
        status, _, _ = await client.send(many)
        return int(status == 200)

    _, alone = await closed_loop(port, 1, seconds, small)
    (_, beside), (done, _) = await asyncio.gather(
        closed_loop(port, 1, seconds, small), closed_loop(port, 1, seconds, large)
    )
    alone, beside = ([took - 0.01 for took in times] for times in (alone, beside))
    return {
        "small_alone_p50_ms": 1e3 * percentile(alone, 50),
        "small_alone_p99_ms": 1e3 * percentile(alone, 99),
        "small_beside_p50_ms": 1e3 * percentile(beside, 50),
        "small_beside_p99_ms": 1e3 * percentile(beside, 99),
        "beside_over_alone_p99": percentile(beside, 99) / percentile(alone, 99),
        "large_requests_done": done,
    }


async def soak(server: Serving, texts: list[str], requests: int) -> Figures:
    """Growth of the server's memory over requests of 1 to 512 words."""
    words = " ".join(texts).split()
    chosen = random.Random(3)
    client = Client(server.port)

    async def send(count: int) -> None:
        left = iter(range(count))

        async def run() -> None:
            one = Client(server.port)
            for _ in left:
                start = chosen.randrange(len(words) - 512)
                status, _, _ = await one.send(asking([" ".join(words[start : start + chosen.randint(1, 512)])]))
                assert status in (200, 429)
            one.close()

        await asyncio.gather(*(run() for _ in range(8)))

    await send(requests // 10)
    before = await client.metric("ftx_resident_memory_bytes")
    await send(requests)
    after = await client.metric("ftx_resident_memory_bytes")
    client.close()
    return {"warm_mib": before / 2**20, "after_mib": after / 2**20, "growth_mib": (after - before) / 2**20}


SECTIONS = ("latency", "throughput", "overload", "mixed", "soak")


@click.command()
@click.option("--onnx", type=click.Path(path_type=Path, exists=True), required=True, help="File or folder.")
@click.option("--only", type=click.Choice(SECTIONS), multiple=True, help="Some of the measurements.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Of each kind of load.")
@click.option("--times", default=4.0, show_default=True, help="Overload, in times of the peak.")
@click.option("--requests", default=SOAK_REQUESTS, show_default=True, help="Of the soak.")
@click.option("--json", "as_json", is_flag=True)
def main(
    onnx: Path, only: tuple[str, ...], rounds: int, seconds: float, times: float, requests: int, as_json: bool
) -> None:
    """Measure `ftx serve`."""
    raise_descriptors()
    texts = made_up(2000)
    chosen = only or SECTIONS
    found: dict[str, Figures] = {}
    with serving(onnx) as server, Predictor(onnx) as predictor:
        if "latency" in chosen:
            found["latency"] = asyncio.run(one_text(server, predictor, texts, rounds))
        if "throughput" in chosen:
            found["throughput"] = asyncio.run(throughput(server, predictor, texts, rounds, seconds / 2))
        if "overload" in chosen:
            found["overload"] = asyncio.run(overload(server, predictor, texts, seconds, times))
        if "mixed" in chosen:
            found["mixed"] = asyncio.run(mixed(server, texts, seconds))
    if "soak" in chosen:
        with serving(onnx) as server:
            found["soak"] = asyncio.run(soak(server, texts, requests))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo("| measurement | figure | value |\n|---|---|---:|")
    for name, figures in found.items():
        for figure, value in figures.items():
            click.echo(f"| {name} | {figure} | {value:.2f} |")


if __name__ == "__main__":
    main()
