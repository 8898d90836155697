"""The documentation shows the figures of one report, and no others."""

from __future__ import annotations

import pytest

for needed in ("torch", "msgspec", "jinja2"):
    pytest.importorskip(needed, reason="needs every room: install the extra train,export,report", exc_type=ImportError)

from tests.figures import PAGE, README, page, read, readme  # noqa: E402


def test_readme_and_the_benchmark_page_show_the_report() -> None:
    assert README.read_text(encoding="utf-8") == readme(read()), "run: .venv/bin/python -m tests.figures BENCH.json"
    assert PAGE.read_text(encoding="utf-8") == page(read())
