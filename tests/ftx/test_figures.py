"""The documentation shows the figures of its reports, and no others."""

from __future__ import annotations

import pytest

for needed in ("torch", "msgspec", "jinja2"):
    pytest.importorskip(needed, reason="needs every room: install the extra train,export,report", exc_type=ImportError)

from tests.figures import PAGES, README, STARTER, page, read, readme  # noqa: E402


def test_readme_shows_the_report() -> None:
    said = "run: .venv/bin/python -m tests.figures BENCH.json"
    assert README.read_text(encoding="utf-8") == readme(read(STARTER)), said


@pytest.mark.parametrize("name", PAGES)
def test_each_page_shows_its_report(name: str) -> None:
    said = f"run: .venv/bin/python -m tests.figures BENCH.json {name}"
    assert PAGES[name].read_text(encoding="utf-8") == page(name), said
