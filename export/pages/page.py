"""parity.html: what was measured, for whoever decides whether to deploy, as one self-contained page."""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup

from ftx.export.parity.gate import ENOUGH_TEXTS

if TYPE_CHECKING:
    from ftx.export.report import ExportReport
    from ftx.export.search.candidate import Candidate

__all__ = ["write_page"]

BLUE, ORANGE, GREY, RED, GREEN = "#2563eb", "#ea580c", "#64748b", "#dc2626", "#16a34a"
COLOURS = {"int8": BLUE, "fp32": GREY, "peer": ORANGE}
MARKERS = {"int8": "o", "fp32": "s", "peer": "^"}
INK = "#010203"  # becomes the page's own colour, light or dark
SHOWN_OPERATORS = 24
SHOWN_CHARACTERS = 600


def write_page(path: Path, report: ExportReport) -> None:
    """Write the page."""
    template = resources.files("ftx.export.pages").joinpath("parity.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made = report.int8 or report.fp16
    timed = [one for one in report.search.candidates if one.speed] if report.search else []
    text = environment.from_string(template).render(
        report=report,
        made=made,
        values=report.values,
        enough=ENOUGH_TEXTS,
        chosen=report.search.chosen if report.search else None,
        front=front(timed, report) if timed else "",
        histogram=histogram(made.prob_diffs, "|Δvalue|" if report.values else "|Δp|") if made else "",
        bars=sensitivity_bars(report) if report.search and report.search.ranking else "",
        shorten=shorten,
    )
    path.write_text(text, encoding="utf-8")


def front(timed: list[Candidate], report: ExportReport) -> Markup:
    """Plot what the gate judges by over speed, alone and in batches; the front is filled, the choice circled."""
    plots = [
        plot_against(timed, report, title, figure_name)
        for title, figure_name in (
            ("texts/s in batches of 32", "texts_per_sec"),
            ("latency of a single text, ms (p50)", "latency_ms"),
        )
    ]
    return Markup("").join(plots)


def plot_against(timed: list[Candidate], report: ExportReport, title: str, figure_name: str) -> Markup:
    """Plot what the gate judges by over one of the speeds."""
    figure, [panel] = new_figure(1, 1, (5.5, 4))
    above = False  # neighbours' names in turn below and above
    for one in sorted(timed, key=lambda one: one.expected_agreement):
        x, y, colour = getattr(one.speed, figure_name), one.expected_agreement, COLOURS[one.kind]
        panel.scatter(
            x, y, s=46, marker=MARKERS[one.kind], edgecolors=colour, facecolors=colour if one.on_front else "none"
        )
        if report.search and one.name == report.search.chosen:
            panel.scatter(x, y, s=220, facecolors="none", edgecolors=GREEN, linewidths=2)
            panel.annotate(one.name, (x, y), xytext=(0, 14), textcoords="offset points", ha="center", color=GREEN)
        elif one.kind == "peer":
            place = (0, 8 if above else -16)
            panel.annotate(one.name, (x, y), xytext=place, textcoords="offset points", ha="center", color=ORANGE)
            above = not above
    panel.axhline(report.gate.min_agreement, color=RED, linestyle="--", linewidth=1)
    panel.annotate(
        "gate", (0, report.gate.min_agreement), xycoords=("axes fraction", "data"), xytext=(4, 3),
        textcoords="offset points", ha="left", color=RED,
    )  # fmt: skip
    panel.set_xlabel(title)
    panel.set_ylabel("values that agree with PyTorch's" if report.values else "estimated label agreement")
    panel.margins(0.22)
    return svg(figure)


def histogram(prob_diffs: list[float], what: str) -> Markup:
    """Plot how far the probabilities (or the value) of texts move."""
    figure, panels = new_figure(1, 1, (7, 3))
    panels[0].hist(prob_diffs, bins=60, color=BLUE)
    panels[0].set_yscale("symlog", linthresh=1)
    panels[0].set_xlim(left=0)
    panels[0].set_xlabel(f"largest {what} of a text")
    panels[0].set_ylabel("texts")
    p99 = float(np.quantile(prob_diffs, 0.99))
    panels[0].axvline(p99, color=RED, linestyle="--", linewidth=1)
    panels[0].annotate(
        f"p99 {p99:.3f}", (p99, 1), xycoords=("data", "axes fraction"), xytext=(4, -14), textcoords="offset points",
        color=RED,
    )  # fmt: skip
    return svg(figure)


def sensitivity_bars(report: ExportReport) -> Markup:
    """Plot what int8 does to each operator alone, the worst on top, mixed-precision ones in another colour."""
    ranking = report.search.ranking[:SHOWN_OPERATORS] if report.search else []
    mixed = set(report.int8.quantization.fallback_nodes) if report.int8 else set()
    figure, panels = new_figure(1, 1, (7.5, 0.6 + 0.22 * len(ranking)))
    names = [short_name(entry.node) for entry in ranking]
    colours = [ORANGE if entry.node in mixed else BLUE for entry in ranking]
    panels[0].barh(range(len(ranking)), [entry.rms_logit_error for entry in ranking], color=colours)
    panels[0].set_yticks(range(len(ranking)), names)
    panels[0].invert_yaxis()
    panels[0].set_xlabel("RMS change of the logits when this operator alone is int8")
    return svg(figure)


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """Make a figure without matplotlib's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel().tolist()
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(INK)
        panel.tick_params(which="both", color=INK, labelcolor=INK)
        for label in (panel.xaxis.label, panel.yaxis.label):
            label.set_color(INK)
        panel.grid(alpha=0.25)
        panel.set_axisbelow(True)
    return figure, panels


def svg(figure: Any) -> Markup:
    """Give a figure as inline SVG, reproducibly."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ftx", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue().replace(INK, "currentColor")
    return Markup(text[text.index("<svg") :])


def short_name(node: str) -> str:
    """Shorten an operator's name to its layer and its place there."""
    parts = node.strip("/").split("/")
    layer = next((place for place, part in enumerate(parts) if part.startswith("layer.")), 0)
    return " ".join(parts[layer:]).removesuffix(" MatMul")


def shorten(text: Any) -> str:
    """Shorten a long text, and join the two of a pair."""
    whole = text if isinstance(text, str) else " | ".join(text)
    return whole if len(whole) <= SHOWN_CHARACTERS else whole[:SHOWN_CHARACTERS] + "…"
