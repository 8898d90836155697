"""Draw the tree of README from the rooms' docstrings: `.venv/bin/python -m tests.tree` writes it there."""

from __future__ import annotations

import ast
from pathlib import Path

HOUSE = Path(__file__).parents[1]
ROOMS = ("ftx", "finetune", "export", "runtime", "bench")
# What is no package says here what it is.
OTHERS = {
    "deploy/": "Docker, Compose, systemd, Kubernetes and KServe.",
    "docs/": "The documentation; `make docs` builds it.",
    "tests/": "A folder for each room; journeys/ goes the whole way, faults/ breaks what can break.",
    "constraints.txt": "Every package, pinned; constraints-oldest.txt has the oldest versions that are tested.",
    ".ci/run": "The gate; .ci/busy COMMAND runs a command as on a slow, busy machine.",
}
COLUMN = 24


def draw() -> str:
    """Draw the rooms, a line each, with the first line of their docstrings."""
    rooms = (line(f"{room}/", says(HOUSE / room)) for room in ROOMS)
    return "\n".join([*rooms, *(line(name, said) for name, said in OTHERS.items())]) + "\n"


def says(package: Path) -> str:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    assert docstring, f"{package}/__init__.py says nothing"
    return docstring.splitlines()[0]


def line(name: str, said: str) -> str:
    return f"    {name}".ljust(COLUMN) + said


def replaced(readme: str, tree: str) -> str:
    """Put the tree in the place of the one under README's heading."""
    head, marker, rest = readme.partition("## The tree\n\n")
    old, end, tail = rest.partition("\n\n")
    assert marker and end and all(one.startswith("    ") for one in old.splitlines()), "README has no tree"
    return f"{head}{marker}{tree}\n{tail}"


if __name__ == "__main__":
    readme = HOUSE / "README.md"
    readme.write_text(replaced(readme.read_text(encoding="utf-8"), draw()), encoding="utf-8")
