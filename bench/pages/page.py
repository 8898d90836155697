"""bench.html: the report as one page that needs nothing else."""

from __future__ import annotations

from importlib import resources

from ftx.bench.pages.plots import plots
from ftx.bench.report import BenchReport
from ftx.bench.table import tables

__all__ = ["render"]


def render(report: BenchReport) -> str:
    """Write the page."""
    import jinja2

    template = resources.files("ftx.bench.pages").joinpath("bench.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(report=report, tables=tables(report), plots=plots(report))
