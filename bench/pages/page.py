"""bench.html: the report as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from ftx.bench.pages.plots import plots
from ftx.bench.report import BenchReport
from ftx.bench.table import tables

__all__ = ["fill", "render"]


def render(report: BenchReport) -> str:
    """Write the page."""
    return fill(
        "ftx.bench.pages", "bench.html.jinja", {"report": report, "tables": tables(report), "plots": plots(report)}
    )


def fill(package: str, name: str, values: Mapping[str, Any]) -> str:
    """Fill the template of a page, which lies in a package."""
    import jinja2

    template = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(values)
