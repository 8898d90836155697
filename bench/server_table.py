"""The figures of servers that every form of the report shows."""

from __future__ import annotations

from ftx.bench.column import Column, Table
from ftx.bench.report import BenchReport
from ftx.bench.statistics import P99_SAMPLES
from ftx.bench.workloads.server.figures import ServerFigures, ServerLoad

__all__ = ["SERVER_COLUMNS", "server_tables"]

Server = Column[ServerFigures]

# MLPerf's names stand where its scenarios are measured.
SERVER_COLUMNS = [
    Server(name="one_client_p50_ms", heading="1 client, p50 ms", form=".1f", value=lambda _, s: s.one_client_ms["p50"]),
    Server(name="one_client_p90_ms", heading="p90 ms (SingleStream)", form=".1f",
           value=lambda _, s: s.one_client_ms["p90"]),
    Server(name="one_client_p99_ms", heading="p99 ms", form=".1f",
           value=lambda _, s: s.one_client_ms["p99"] if s.one_client >= P99_SAMPLES else None),
    Server(name="clients_texts_per_sec", heading="{clients} clients, texts/s", form=".0f",
           value=lambda _, s: s.clients_texts_per_sec),
    Server(name="clients_p50_ms", heading="their p50 ms", form=".1f", value=lambda _, s: s.clients_ms["p50"]),
    Server(name="clients_p90_ms", heading="their p90 ms", form=".1f", value=lambda _, s: s.clients_ms["p90"]),
    Server(name="over_offline", heading="× one call with all texts", form=".2f", value=lambda _, s: s.over_offline,
           interval=lambda _, s: s.over_offline_interval),
    Server(name="knee_per_sec", heading="knee, texts/s (Server)", form=".0f", value=lambda _, s: s.knee_per_sec),
    Server(name="most_shed_share", heading="most shed", form=".0%",
           value=lambda _, s: max(point.shed_share for point in s.load)),
    Server(name="generator_cores", heading="cores of the load generator", form=".2f",
           value=lambda _, s: s.generator_cores),
]  # fmt: skip


def server_tables(report: BenchReport, load: ServerLoad) -> list[Table]:
    """Make a table of the servers, and one of what each did at each rate; the knee's rows are marked."""
    shown = [one for one in SERVER_COLUMNS if any(one.value(report, server) is not None for server in load.servers)]
    summary = Table(
        title="Servers",
        headings=["server", *(one.heading.format(clients=load.clients) for one in shown)],
        rows=[[server.name, *(one.cell(report, server) for one in shown)] for server in load.servers],
        marked=[0],
        note=(
            "With the same file, texts and threads, a text a request. In the same run, one call with all texts "
            f"(MLPerf's Offline) makes {load.offline_texts_per_sec:.0f} texts/s. The knee (MLPerf's Server) is the "
            "highest rate of Poisson arrivals at which the p99 stays within "
            f"{load.limit_ms:.0f} ms, MLPerf's limit for BERT, and 1 % of the requests at most are shed or fail."
        ),
    )  # fmt: skip
    rows: list[list[str]] = []
    marked: list[int] = []
    for server in load.servers:
        for point in server.load:
            is_knee = point.sent_per_sec == server.knee_per_sec
            if is_knee:
                marked.append(len(rows))
            times = [f"{point.latency_ms[name]:.1f}" if point.answered else "-" for name in ("p50", "p90")]
            times.append(f"{point.latency_ms['p99']:.1f}" if point.answered >= P99_SAMPLES else "-")
            shares = [f"{share:.1%}" for share in (point.shed_share, point.failed_share)]
            rates = [f"{rate:.0f}" for rate in (point.sent_per_sec, point.answered_per_sec)]
            rows.append([server.name, *rates, *times, *shares, "knee" if is_knee else ""])
    headings = ["server", "requests/s", "answers/s", "p50 ms", "p90 ms", "p99 ms", "shed", "failed", ""]
    note = "Latency counts from when a request was due, whatever the server answered before."
    return [summary, Table(title="Servers under rising load", headings=headings, rows=rows, marked=marked, note=note)]
