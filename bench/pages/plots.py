"""The plots of the report, each with a title and a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup

from ftx.bench.pages.figures import COLOURS, GREY, INK, SIZE, finished, new_figure, plain_ticks, svg
from ftx.bench.pages.load_plot import load_curve
from ftx.bench.report import BenchReport, EngineFigures

__all__ = ["Plot", "plots"]

SHOWN_OPERATORS = 14

Plot = tuple[str, str, Markup]


def plots(report: BenchReport) -> list[Plot]:
    """Draw what was measured: a title, a sentence and an SVG each."""
    colours = {one.name: colour for one, colour in zip(report.engines[:-1], COLOURS * 2, strict=False)}
    colours[report.engines[-1].name] = GREY
    better = "Up and right is better; bars are 95 % intervals. The line joins what no other engine beats in both."
    drawn: list[Plot] = []
    if report.speedup_over_teacher and report.engines[0].accuracy is not None:
        drawn.append(
            ("Accuracy against speed", better,
             pareto(report, report.engines, colours, "accuracy", lambda e: (e.accuracy, e.accuracy_interval)))
        )  # fmt: skip
    own = [one for one in report.engines if one.name not in report.speedup_over_teacher]
    drawn += [
        (
            "Agreement against speed",
            better,
            pareto(
                report,
                own,
                colours,
                "label agreement with PyTorch",
                lambda e: (e.label_agreement, e.label_agreement_interval),
            ),
        ),
        ("Latency of single texts", "Share of the texts answered within a time.", latencies(report, colours)),
        ("Length of the texts", "In tokens; these decide what is fast.", histogram(report)),
    ]
    if report.engines[0].latency_by_length_ms:
        drawn.append(
            ("Latency by length", "Median of single texts.",
             curves(report, colours, "tokens", "ms", lambda e: e.latency_by_length_ms))
        )  # fmt: skip
    if report.engines[0].texts_per_sec_by_batch:
        drawn.append(
            ("Throughput by batch size", "The same texts, sorted by length where the engine does not.",
             curves(report, colours, "texts in a batch", "texts/s", lambda e: e.texts_per_sec_by_batch))
        )  # fmt: skip
    if len(report.engines[0].by_threads) > 1:
        drawn.append(
            ("Throughput by threads", f"In batches of {report.batch_size}.",
             curves(report, colours, "threads", "texts/s",
                    lambda e: {str(one.threads): one.texts_per_sec for one in e.by_threads}))
        )  # fmt: skip
    if report.server:
        drawn.append(
            ("Servers under load", "By the rate of arrivals; a ring is the knee. Below: requests shed or failed.",
             load_curve(report.server))
        )  # fmt: skip
    if report.profile:
        drawn.append(("Where the time goes", "By operator, with GMAC/s of the products.", operators(report)))
    return drawn


def pareto(
    report: BenchReport, engines: list[EngineFigures], colours: dict[str, str], up: str, share: Callable[..., Any]
) -> Markup:
    """Plot a share, which is given with its interval, over texts a second, and the front."""
    figure, [panel] = new_figure()
    points = []
    for engine in engines:
        x = engine.texts_per_sec[report.many]
        y, (low, high) = share(engine)
        panel.errorbar(
            x, y, yerr=[[max(0.0, y - low)], [max(0.0, high - y)]], fmt="o", color=colours[engine.name],
            label=engine.name, capsize=3, linewidth=1,
        )  # fmt: skip
        points.append((x, y))
    front = sorted(
        one for one in points if not any(other != one and other[0] >= one[0] and other[1] >= one[1] for other in points)
    )
    panel.plot(*zip(*front, strict=True), color=INK, linewidth=0.8, linestyle=":", zorder=0)
    panel.set_xlabel(f"texts/s in batches of {report.batch_size}")
    panel.set_ylabel(up)
    panel.set_xlim(left=0)
    return finished(figure, panel)


def latencies(report: BenchReport, colours: dict[str, str]) -> Markup:
    """Plot the empirical distribution of latencies."""
    figure, [panel] = new_figure()
    for engine in report.engines:
        values = np.sort(np.concatenate(engine.samples.latencies_ms))
        panel.plot(values, np.arange(1, len(values) + 1) / len(values), color=colours[engine.name], label=engine.name)
    panel.set_xscale("log")
    plain_ticks(panel.xaxis)
    panel.set_ylim(0, 1)
    panel.set_xlabel("ms")
    panel.set_ylabel("share of the texts")
    return finished(figure, panel)


def histogram(report: BenchReport) -> Markup:
    """Plot how long the timed texts are."""
    figure, [panel] = new_figure()
    lengths = [int(length) for length in report.token_counts]
    panel.hist(
        lengths, weights=list(report.token_counts.values()), bins=min(40, max(lengths) - min(lengths) + 1),
        color=COLOURS[0],
    )  # fmt: skip
    panel.axvline(report.mean_tokens, color=INK, linestyle=":", linewidth=1)
    panel.set_xlabel(f"tokens (mean {report.mean_tokens:.1f}, dotted)")
    panel.set_ylabel("texts")
    return svg(figure)


def curves(report: BenchReport, colours: dict[str, str], across: str, up: str, values: Any) -> Markup:
    """Plot a figure of each engine by size, both on logarithmic axes."""
    figure, [panel] = new_figure()
    sizes: list[int] = []
    for engine in report.engines:
        found: dict[str, float] = values(engine)
        sizes = [int(size) for size in found] or sizes
        panel.plot([int(size) for size in found], list(found.values()), "o-", color=colours[engine.name],
                   label=engine.name, markersize=3.5)  # fmt: skip
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(sizes, [str(size) for size in sizes])
    panel.minorticks_off()
    plain_ticks(panel.yaxis)
    panel.set_xlabel(across)
    panel.set_ylabel(up)
    return finished(figure, panel)


def operators(report: BenchReport) -> Markup:
    """Plot the operators' shares of the time."""
    assert report.profile
    shown = report.profile.operators[:SHOWN_OPERATORS]
    figure, [panel] = new_figure((SIZE[0], 0.8 + 0.24 * len(shown)))
    panel.barh(range(len(shown)), [100 * one.share for one in shown], color=COLOURS[0])
    for place, one in enumerate(shown):
        rate = "" if one.gmac_per_sec is None else f", {one.gmac_per_sec:.0f} GMAC/s"
        panel.annotate(
            f"{one.share:.1%}{rate}", (100 * one.share, place), xytext=(3, 0), textcoords="offset points", va="center",
            fontsize=8, color=INK,
        )  # fmt: skip
    panel.set_yticks(range(len(shown)), [one.name for one in shown])
    panel.invert_yaxis()
    panel.margins(x=0.3)
    panel.set_xlabel("% of the time of all operators")
    return svg(figure)
