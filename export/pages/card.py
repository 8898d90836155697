"""The model card: the files and what was measured of them, for whoever decides whether to deploy."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from ftx.export.parity.gate import ENOUGH_TEXTS
from ftx.manifest import Manifest

if TYPE_CHECKING:
    from ftx.export.report import ExportReport

__all__ = ["write_card"]


def write_card(path: Path, report: ExportReport, manifest: Manifest) -> None:
    """Write the export folder's README.md."""
    template = resources.files("ftx.export.pages").joinpath("model_card.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template).render(report=report, manifest=manifest, enough=ENOUGH_TEXTS)
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
