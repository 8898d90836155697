from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tree import HOUSE

README = (HOUSE / "README.md").read_text(encoding="utf-8")
PAGES = [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md")), *sorted((HOUSE / "deploy").glob("*.md"))]


def prose(markdown: str) -> str:
    """Leave out code, fenced or indented (the tree, too), and tables."""
    markdown = re.sub(r"^```.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    return "\n".join(line for line in markdown.splitlines() if not line.startswith(("    ", "|")))


def test_the_two_commands_of_a_clone_are_named() -> None:
    assert "make train export" in README
    assert "make test" in README


def test_readme_is_short() -> None:
    words = [word for word in prose(README).split() if re.search(r"\w", word)]
    assert 200 < len(words) <= 700


def test_each_way_in_takes_four_lines_or_fewer() -> None:
    start = README.partition("## Where to start\n")[2].partition("\n## ")[0]
    ways = start.split("\n**")[1:]
    assert len(ways) == 3
    for way in ways:
        commands = [line for line in way.splitlines() if line.startswith("    ")]
        assert 1 <= len(commands) <= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(page.read_text(encoding="utf-8"))):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
