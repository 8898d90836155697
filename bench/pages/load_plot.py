"""The load curve: latency and the share of shed requests against the rate of arrivals."""

from __future__ import annotations

from markupsafe import Markup

from ftx.bench.pages.figures import COLOURS, INK, SIZE, finished, new_figure, plain_ticks
from ftx.bench.workloads.server.figures import ServerLoad

__all__ = ["load_curve"]


def load_curve(load: ServerLoad) -> Markup:
    """Plot each server's p99 and p50 over the rate of arrivals, with a ring at the knee, and below what is shed."""
    figure, [above, below] = new_figure((SIZE[0], SIZE[1] + 1), heights=(3, 1))
    for server, colour in zip(load.servers, COLOURS, strict=False):
        answered = [point for point in server.load if point.answered]
        rates = [point.sent_per_sec for point in answered]
        knee = "none" if server.knee_per_sec is None else f"{server.knee_per_sec:.0f}/s"
        above.plot(rates, [point.latency_ms["p99"] for point in answered], "o-", color=colour, markersize=3.5,
                   label=f"{server.name}, p99, knee {knee}")  # fmt: skip
        above.plot(rates, [point.latency_ms["p50"] for point in answered], "--", color=colour, linewidth=1,
                   label=f"{server.name}, p50")  # fmt: skip
        knees = [point for point in answered if point.sent_per_sec == server.knee_per_sec]
        above.plot([point.sent_per_sec for point in knees], [point.latency_ms["p99"] for point in knees], "o",
                   markersize=10, markerfacecolor="none", markeredgecolor=colour)  # fmt: skip
        below.plot([point.sent_per_sec for point in server.load],
                   [100 * (point.shed_share + point.failed_share) for point in server.load], "o-", color=colour,
                   markersize=3.5)  # fmt: skip
    above.axhline(load.limit_ms, color=INK, linestyle=":", linewidth=1)
    above.annotate(f"{load.limit_ms:.0f} ms", (0, load.limit_ms), xytext=(3, 3), textcoords="offset points", fontsize=8,
                   color=INK)  # fmt: skip
    above.set_yscale("log")
    above.minorticks_off()
    plain_ticks(above.yaxis)
    above.set_ylabel("ms")
    above.set_xlim(left=0)
    below.set_ylim(bottom=0)
    below.set_ylabel("% shed")
    below.set_xlabel("requests/s, Poisson arrivals")
    return finished(figure, above)
