"""parity.html: what was measured, for whoever decides whether to deploy, as one self-contained page."""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup

if TYPE_CHECKING:
    from ftx.export.report import ExportReport
    from ftx.export.search.candidate import Candidate

__all__ = ["write_page"]

BLUE, ORANGE, GREY, RED, GREEN = "#2563eb", "#ea580c", "#64748b", "#dc2626", "#16a34a"
COLOURS = {"int8": BLUE, "fp32": GREY, "peer": ORANGE}
MARKERS = {"int8": "o", "fp32": "s", "peer": "^"}
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
        chosen=report.search.chosen if report.search else None,
        front=front(timed, report) if timed else "",
        histogram=histogram(made.prob_diffs) if made else "",
        bars=sensitivity_bars(report) if report.search and report.search.ranking else "",
        shorten=shorten,
    )
    path.write_text(text, encoding="utf-8")


def front(timed: list[Candidate], report: ExportReport) -> Markup:
    """Plot faithfulness over speed, alone and in batches; the front is filled, the choice circled."""
    figure, panels = new_figure(1, 2, (10, 4.2))
    for panel, title, figure_name in (
        (panels[0], "texts/s in batches of 32", "texts_per_sec"),
        (panels[1], "latency of a single text, ms (p50)", "latency_ms"),
    ):
        for one in timed:
            x, y, colour = getattr(one.speed, figure_name), one.parity.label_agreement, COLOURS[one.kind]
            panel.scatter(
                x, y, s=46, marker=MARKERS[one.kind], edgecolors=colour, facecolors=colour if one.on_front else "white"
            )
            if report.search and one.name == report.search.chosen:
                panel.scatter(x, y, s=220, facecolors="none", edgecolors=GREEN, linewidths=2)
                if panel is panels[0]:
                    panel.annotate(
                        one.name, (x, y), xytext=(0, -20), textcoords="offset points", ha="center", color=GREEN
                    )
            elif one.kind == "peer":
                panel.annotate(one.name, (x, y), xytext=(0, 8), textcoords="offset points", ha="center", color=ORANGE)
        panel.axhline(report.gate.min_agreement, color=RED, linestyle="--", linewidth=1)
        panel.annotate(
            "gate", (1, report.gate.min_agreement), xycoords=("axes fraction", "data"), xytext=(-4, 3),
            textcoords="offset points", ha="right", color=RED,
        )  # fmt: skip
        panel.set_xlabel(title)
        panel.margins(0.15)
    panels[0].set_ylabel("label agreement with PyTorch")
    return svg(figure)


def histogram(prob_diffs: list[float]) -> Markup:
    """Plot how far the probabilities of texts move."""
    figure, panels = new_figure(1, 1, (10, 3))
    panels[0].hist(prob_diffs, bins=60, color=BLUE)
    panels[0].set_yscale("symlog", linthresh=1)
    panels[0].set_xlim(left=0)
    panels[0].set_xlabel("largest |Δp| of a text")
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
    figure, panels = new_figure(1, 1, (10, 0.6 + 0.22 * len(ranking)))
    names = [entry.node.strip("/").replace("/", " ") for entry in ranking]
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
        panel.grid(alpha=0.25)
        panel.set_axisbelow(True)
    return figure, panels


def svg(figure: Any) -> Markup:
    """Give a figure as inline SVG, reproducibly."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ftx", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])


def shorten(text: Any) -> str:
    """Shorten a long text, and join the two of a pair."""
    whole = text if isinstance(text, str) else " | ".join(text)
    return whole if len(whole) <= SHOWN_CHARACTERS else whole[:SHOWN_CHARACTERS] + "…"
