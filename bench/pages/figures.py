"""Figures as inline SVG whose lines and letters take the page's colour."""

from __future__ import annotations

import io
from typing import Any

from markupsafe import Markup

__all__ = ["COLOURS", "GREY", "INK", "SIZE", "finished", "new_figure", "plain_ticks", "svg"]

# Readable on white and on black; the first is PyTorch's, which comes last.
GREY = "#7c8798"
COLOURS = (
    "#3b82f6", "#f97316", "#22a06b", "#d946ef", "#eab308", "#ef4444", "#06b6d4", "#8b5cf6", "#84cc16", "#ec4899",
    "#14b8a6", "#a16207", "#64748b",
)  # fmt: skip
# Stands for the page's colour in matplotlib, which knows no such thing; no other line has it.
INK = "#010203"
# Inches, 72 to the point: as wide as a phone, so that letters are as large there as on a wide screen.
SIZE = (5.1, 3.3)


def new_figure(size: tuple[float, float] = SIZE, heights: tuple[int, ...] = (1,)) -> tuple[Any, list[Any]]:
    """Make a figure without matplotlib's global state, in the page's colour.

    Args:
        size: In inches.
        heights: Of the panels, one below the other, relative to each other; all have the same horizontal axis.

    Returns:
        The figure, and its panels from above.
    """
    import matplotlib
    from matplotlib.figure import Figure

    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    settings: Any = {**dict.fromkeys(names, INK), "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        panels: list[Any] = list(
            figure.subplots(len(heights), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        )
    for panel in panels:
        panel.grid(alpha=0.15)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_axisbelow(True)
    return figure, panels


def plain_ticks(axis: Any) -> None:
    """Write ticks of a logarithmic axis as numbers, at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def finished(figure: Any, panel: Any) -> Markup:
    """Add a legend below, and give the SVG."""
    handles, names = panel.get_legend_handles_labels()
    rows = -(-len(names) // 2)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.17 * rows)
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK)
    return svg(figure)


def svg(figure: Any) -> Markup:
    """Give a figure as inline SVG, reproducibly."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ftx", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :].replace(INK, "currentColor"))
