"""What is reported of servers under load."""

from __future__ import annotations

from dataclasses import dataclass

from ftx.bench.statistics import Interval

__all__ = ["LoadPoint", "ServerFigures", "ServerLoad"]


@dataclass(frozen=True, kw_only=True)
class LoadPoint:
    """What a server did at one rate of arrivals.

    Attributes:
        sent_per_sec: Requests of one text a second, by a Poisson process.
        answered_per_sec: Predictions a second.
        answered: How many.
        shed_share: Share of the requests refused with 429 or 503.
        failed_share: Share of the requests that got neither a prediction nor such a refusal.
        latency_ms: p50, p90 and p99 of the predictions, since their requests were due.
        within_limit: Whether the p99 is within the limit, and no more than 1 % were shed or failed.
    """

    sent_per_sec: float
    answered_per_sec: float
    answered: int
    shed_share: float
    failed_share: float
    latency_ms: dict[str, float]
    within_limit: bool


@dataclass(frozen=True, kw_only=True)
class ServerFigures:
    """A server.

    Attributes:
        name: Which.
        one_client_ms: p50, p90 and p99 of a client that sends one text after the other: MLPerf's SingleStream.
        one_client: How many answers that were.
        clients_ms: The same of each of many clients.
        clients_texts_per_sec: What these get together.
        over_offline: That, divided by one call with all texts: the median of the rounds' ratios.
        over_offline_interval: Its 95 % interval.
        generator_cores: Cores that the load generator used meanwhile, which the server lacked.
        knee_per_sec: The highest rate of arrivals within the limit: MLPerf's Server; None if none was.
        load: By rate.
    """

    name: str
    one_client_ms: dict[str, float]
    one_client: int
    clients_ms: dict[str, float]
    clients_texts_per_sec: float
    over_offline: float
    over_offline_interval: Interval
    generator_cores: float
    knee_per_sec: float | None
    load: list[LoadPoint]


@dataclass(frozen=True, kw_only=True)
class ServerLoad:
    """Servers with the same file and threads.

    Attributes:
        limit_ms: What the p99 is held against.
        clients: Those that send at once.
        offline_texts_per_sec: One call with all texts: MLPerf's Offline.
        servers: `ftx serve` comes first.
    """

    limit_ms: float
    clients: int
    offline_texts_per_sec: float
    servers: list[ServerFigures]
