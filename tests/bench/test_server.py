"""The load generator, against servers that answer as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count

import numpy as np
import pytest

from ftx.bench.workloads.server.loops import Answers, closed_loop, open_loop
from ftx.bench.workloads.server.sweep import LIMIT_MS, SHARES, RunningServer, point_of

REQUESTS = [b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"]
Statuses = Callable[[int], int]


@asynccontextmanager
async def serving(statuses: Statuses) -> AsyncIterator[int]:
    """Answer the nth request with a status; 0: close the connection."""
    numbers, serving = count(), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            serving.add(task)
        while await reader.readline():
            await reader.readuntil(b"{}")
            if not (status := statuses(next(numbers))):
                break
            # In pieces, as a network may bring it.
            for piece in (b"HTTP/1.1 %d X\r\nContent-Le" % status, b"ngth: 4\r\n\r\nbo", b"dy"):
                writer.write(piece)
                await asyncio.sleep(0)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*serving)


def ask(statuses: Statuses, load: Callable[[int], Awaitable[Answers]]) -> Answers:
    async def both() -> Answers:
        async with serving(statuses) as port:
            return await load(port)

    return asyncio.run(both())


def one_of_each(number: int) -> int:
    return (200, 429, 500, 0)[number % 4]


def test_an_open_loop_sends_at_its_rate_and_counts_every_answer() -> None:
    answers = ask(one_of_each, lambda port: open_loop(port, REQUESTS, 400, 0.5))
    assert answers.sent == 200
    assert len(answers.latencies_ms) == answers.refused == 50
    assert (answers.latencies_ms > 0).all()
    point = point_of(answers, 400)
    assert (point.shed_share, point.failed_share) == (0.25, 0.5)
    assert not point.within_limit


def test_a_closed_loop_counts_every_answer() -> None:
    answers = ask(one_of_each, lambda port: closed_loop(port, REQUESTS, 4, 0.2))
    assert answers.sent > 4
    assert abs(answers.sent - 4 * answers.refused) <= 8
    assert abs(len(answers.latencies_ms) - answers.refused) <= 4


def test_a_server_that_nobody_started_fails_every_request() -> None:
    async def load() -> Answers:
        async with serving(one_of_each) as port:
            pass
        return await open_loop(port, REQUESTS, 100, 0.2)

    point = point_of(asyncio.run(load()), 100)
    assert point.failed_share == 1
    assert point.latency_ms == {}
    assert not point.within_limit


@pytest.mark.parametrize(
    ("latency_ms", "refused", "within"), [(LIMIT_MS, 10, True), (LIMIT_MS + 1, 0, False), (1.0, 11, False)]
)
def test_the_limit_holds_for_latency_and_for_what_is_shed(latency_ms: float, refused: int, within: bool) -> None:
    answers = Answers(
        latencies_ms=np.full(1000 - refused, latency_ms), sent=1000, refused=refused, sec=1.0, cpu_sec=0.1
    )
    assert point_of(answers, 1000).within_limit is within


@pytest.mark.parametrize(("status", "shares"), [(200, SHARES), (429, (*SHARES[:2], SHARES[-1]))])
def test_the_load_rises_until_the_limit_is_broken_twice(status: int, shares: tuple[float, ...]) -> None:
    async def load() -> list[float]:
        async with serving(lambda _: status) as port:
            server = RunningServer(name="it", port=port, requests=REQUESTS, seconds=0.02)
            points = await asyncio.to_thread(server.load, 400.0)
        return [point.sent_per_sec for point in points]

    assert asyncio.run(load()) == [400 * share for share in shares]
