"""One server's figures: clients in a closed loop, then arrivals at rising rates until the p99 breaks its limit."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftx.bench.statistics import ratio_interval
from ftx.bench.workloads.server.figures import LoadPoint, ServerFigures
from ftx.bench.workloads.server.loops import Answers, closed_loop, open_loop
from ftx.errors import FtxError

__all__ = ["CLIENTS", "LIMIT_MS", "RunningServer"]

# MLPerf Inference's limit for BERT in its Server scenario, where the p99 counts.
LIMIT_MS = 130.0
# The share of requests that may fail or be refused.
FAILURES = 0.01
CLIENTS = 32
PERCENTILES = (50, 90, 99)
# Rates of arrivals, in shares of what the clients of the closed loop get. Once two in a row have broken the limit, only
# the last is left, which shows what is shed.
SHARES = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
# A rate is held until it gives enough answers for a p99, but not for more than so many times as long as others.
ANSWERS, LONGEST = 450, 5
PAUSE_SEC = 0.3  # threads that spin after a call come to rest


@dataclass(frozen=True, kw_only=True)
class RunningServer:
    """A server that runs.

    Attributes:
        name: Which.
        port: Where it listens.
        requests: What to ask: a text each.
        seconds: How long each kind of load is held.
    """

    name: str
    port: int
    requests: list[bytes]
    seconds: float

    def clients(self, number: int) -> tuple[Answers, Answers]:
        """Let one client ask, then many at once, in whichever round.

        Raises:
            FtxError: It answered nothing.
        """
        found = []
        for clients in (1, CLIENTS):
            time.sleep(PAUSE_SEC)
            answers = asyncio.run(closed_loop(self.port, self.requests, clients, self.seconds))
            if not len(answers.latencies_ms):
                raise FtxError(f"{self.name} answered none of the {answers.sent} requests of {clients} clients")
            found.append(answers)
        return found[0], found[1]

    def figures(
        self, rounds: list[tuple[Answers, Answers]], offline: NDArray[np.float64], noise: float
    ) -> ServerFigures:
        """Raise the load, and put all figures together.

        Args:
            rounds: What the clients found.
            offline: Texts a second of one call with all texts. *Shape:* `(rounds,)`.
            noise: The spread of the machine's speed.
        """
        rates = np.array([many.per_sec for _, many in rounds])
        load = self.load(float(np.median(rates)))
        alone = np.concatenate([one.latencies_ms for one, _ in rounds])
        return ServerFigures(
            name=self.name,
            one_client_ms=percentiles(alone),
            one_client=len(alone),
            clients_ms=percentiles(np.concatenate([many.latencies_ms for _, many in rounds])),
            clients_texts_per_sec=float(np.median(rates)),
            over_offline=float(np.median(rates / offline)),
            over_offline_interval=ratio_interval(rates / offline, noise),
            generator_cores=float(np.median([many.cpu_sec / many.sec for _, many in rounds])),
            knee_per_sec=max((point.sent_per_sec for point in load if point.within_limit), default=None),
            load=load,
        )

    def load(self, peak: float) -> list[LoadPoint]:
        """Raise the rate of arrivals, in shares of a rate."""
        points: list[LoadPoint] = []
        for share in SHARES:
            broken = len(points) > 1 and not (points[-1].within_limit or points[-2].within_limit)
            if broken and share != SHARES[-1]:
                continue
            time.sleep(PAUSE_SEC)
            rate = share * peak
            seconds = min(max(self.seconds, ANSWERS / rate), LONGEST * self.seconds)
            points.append(point_of(asyncio.run(open_loop(self.port, self.requests, rate, seconds)), rate))
        return points


def point_of(answers: Answers, rate: float) -> LoadPoint:
    """Summarise what was answered at a rate."""
    answered = len(answers.latencies_ms)
    failed = (answers.sent - answers.refused - answered) / answers.sent
    shed = answers.refused / answers.sent
    latency_ms = percentiles(answers.latencies_ms)
    return LoadPoint(
        sent_per_sec=rate,
        answered_per_sec=answers.per_sec,
        answered=answered,
        shed_share=shed,
        failed_share=failed,
        latency_ms=latency_ms,
        within_limit=latency_ms.get("p99", np.inf) <= LIMIT_MS and shed + failed <= FAILURES,
    )


def percentiles(latencies_ms: NDArray[np.float64]) -> dict[str, float]:
    """Give percentiles; none of nothing."""
    if not len(latencies_ms):
        return {}
    return {f"p{percent}": float(np.percentile(latencies_ms, percent)) for percent in PERCENTILES}
