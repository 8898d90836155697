"""Closed loops of clients that wait for each answer, and an open loop of arrivals that wait for nothing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ftx.bench.workloads.server.client import Client

__all__ = ["Answers", "closed_loop", "open_loop"]

OK, REFUSED = 200, (429, 503)
# For what is still unanswered when the last request has been sent.
DRAIN_SEC = 30.0


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a server answered.

    Attributes:
        latencies_ms: Of the predictions; in an open loop, since the request was due. *Shape:* `(predictions,)`.
        sent: Requests.
        refused: Those that it shed with 429 or 503.
        sec: From the first request to the last answer.
        cpu_sec: Processor time of the generator, which takes it from the server on the same machine.
    """

    latencies_ms: NDArray[np.float64]
    sent: int
    refused: int
    sec: float
    cpu_sec: float

    @property
    def per_sec(self) -> float:
        """Predictions a second."""
        return len(self.latencies_ms) / self.sec


@dataclass(kw_only=True)
class Tally:
    """Counts answers as they come."""

    began: float = field(default_factory=time.perf_counter)
    cpu_began: float = field(default_factory=time.process_time)
    latencies_sec: list[float] = field(default_factory=list)
    sent: int = 0
    refused: int = 0

    async def ask(self, client: Client, request: bytes, due: float) -> None:
        """Send a request that was due at a time, and count its answer; a connection that breaks counts as none."""
        self.sent += 1
        try:
            status = await client.send(request)
        except OSError:
            return
        if status == OK:
            self.latencies_sec.append(time.perf_counter() - due)
        self.refused += status in REFUSED

    def answers(self) -> Answers:
        """Give what was counted."""
        return Answers(
            latencies_ms=1000 * np.array(self.latencies_sec),
            sent=self.sent,
            refused=self.refused,
            sec=time.perf_counter() - self.began,
            cpu_sec=time.process_time() - self.cpu_began,
        )


async def closed_loop(port: int, requests: list[bytes], clients: int, seconds: float) -> Answers:
    """Let clients send requests of one text, each one after the other."""
    tally, turns = Tally(), count()

    async def run() -> None:
        client = Client(port)
        while (now := time.perf_counter()) < tally.began + seconds:
            await tally.ask(client, requests[next(turns) % len(requests)], now)
        client.close()

    await asyncio.gather(*(run() for _ in range(clients)))
    return tally.answers()


async def open_loop(port: int, requests: list[bytes], rate: float, seconds: float) -> Answers:
    """Send requests of one text as they come, a Poisson process of some rate, whatever the server answers.

    Latency counts from when a request was due, so that a generator that falls behind hides no wait.
    """
    # Given how many arrive, those of a Poisson process are uniform: so the rate is just the one that was asked for.
    arrivals = np.sort(np.random.default_rng(0).uniform(0, seconds, max(1, round(rate * seconds)))).tolist()
    free: list[Client] = []
    tasks: list[asyncio.Task[None]] = []
    tally = Tally()

    async def one(request: bytes, due: float) -> None:
        client = free.pop() if free else Client(port)
        await tally.ask(client, request, due)
        free.append(client)

    for turn, at in enumerate(arrivals):
        due = tally.began + at
        # What is late is sent at once, but what has been answered is read meanwhile.
        if (wait := due - time.perf_counter()) > 0 or turn % 16 == 0:
            await asyncio.sleep(max(0.0, wait))
        tasks.append(asyncio.create_task(one(requests[turn % len(requests)], due)))
    _, unanswered = await asyncio.wait(tasks, timeout=DRAIN_SEC)
    answers = tally.answers()
    for task in unanswered:
        task.cancel()
    for client in free:
        client.close()
    return answers
