from __future__ import annotations

from tests.tree import HOUSE, draw, replaced


def test_readme_shows_the_tree_as_it_is() -> None:
    readme = (HOUSE / "README.md").read_text(encoding="utf-8")
    assert readme == replaced(readme, draw()), "run: .venv/bin/python -m tests.tree"
    assert max(map(len, draw().splitlines())) <= 150
