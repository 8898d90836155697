"""students.html: the search among students as one page that needs nothing else."""

from __future__ import annotations

from markupsafe import Markup

from ftx.bench.pages.figures import COLOURS, GREY, INK, finished, new_figure
from ftx.bench.pages.page import fill
from ftx.students.figures import StudentSearch
from ftx.students.shapes import label_of

__all__ = ["render"]


def render(search: StudentSearch) -> str:
    """Write the page."""
    values = {"search": search, "rows": search.rows(), "plot": front(search), "label_of": label_of}
    return fill("ftx.students", "students.html.jinja", values)


def front(search: StudentSearch) -> Markup:
    """Plot what is judged against texts a second: the teacher, the students, and how much may be lost."""
    figure, [panel] = new_figure()
    theirs = search.teacher_file
    panel.plot([theirs.texts_per_sec], [theirs.value], "s", color=GREY, label=f"teacher, {theirs.layers} layers")
    for one, colour in zip(search.students, COLOURS * len(search.students), strict=False):
        mark = "*" if one.run == search.chosen else "o"
        lost = one.loss_interval_points
        name = label_of(len(one.layers), one.ffn_share, one.heads)
        low, high = theirs.value - lost[1] / 100, theirs.value - lost[0] / 100
        panel.errorbar(
            [one.texts_per_sec], [one.value], yerr=[[one.value - low], [high - one.value]],
            fmt=mark, markersize=11 if mark == "*" else 6, color=colour, capsize=3, elinewidth=1,
            label=f"{name}, {one.verdict}{', chosen' if mark == '*' else ''}",
        )  # fmt: skip
    panel.axhline(theirs.value - search.max_loss_points / 100, color=INK, linestyle=":", linewidth=1)
    panel.set_xlim(left=0)
    panel.set_xlabel(f"texts/s in batches, {search.threads} threads")
    panel.set_ylabel(search.measure)
    return finished(figure, panel)
