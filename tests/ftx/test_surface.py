from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.surface import FILE, surface


def test_the_public_surface_is_as_written_down() -> None:
    """A change of it belongs in CHANGELOG.md."""
    if find_spec("torch") is None:
        pytest.skip("needs every room: install the extra train,export,serve")
    expected = FILE.read_text(encoding="utf-8")
    assert surface() == expected, "the public surface changed: run .venv/bin/python -m tests.surface, and tell of it"
