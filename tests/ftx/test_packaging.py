"""What is installed, wherever Python is started, and whether the versions that pyproject.toml names are true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from ftx import __version__

ROOT = Path(__file__).parents[2]
USES_AN_EXTRA = "import pytest\n\npytest.importorskip('ftx_no_such_extra')\n\n\ndef test_it() -> None:\n    pass\n"


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def python(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "PYTEST", "FTX_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.parametrize("place", ["holder", "holder/ftx", "holder/ftx/ftx", "holder/ftx/finetune", "elsewhere"])
def test_imports_work_from_any_folder(tmp_path: Path, place: str) -> None:
    """Above all from the folder that holds the clone, in which `ftx` is a folder without `__init__.py`."""
    (tmp_path / "holder").mkdir()
    (tmp_path / "holder" / "ftx").symlink_to(ROOT)
    (tmp_path / "elsewhere").mkdir()
    done = python("-m", "ftx", "--version", folder=tmp_path / place)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ftx, version {__version__}\n", "")
    done = python("-c", "from ftx import Predictor; print(Predictor.__module__)", folder=tmp_path / place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ftx.runtime.predictor\n", "")


def test_every_room_is_in_the_package() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"ftx"}
    assert {"finetune", "export", "runtime"} <= rooms
    for room in sorted(rooms):
        link = ROOT / "ftx" / room
        assert link.is_symlink() and link.readlink() == Path("..", room), f"make it: ln -s ../{room} {link}"


def test_a_wheel_holds_every_file(tmp_path: Path) -> None:
    if find_spec("setuptools") is None:  # not imported here, where distutils warns that it is deprecated
        pytest.skip("setuptools is not installed")
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("ftx", *(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "ftx")):
        shutil.copytree(ROOT / name, clone / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    done = python("-c", "from setuptools import build_meta; print(build_meta.build_wheel('..'))", folder=clone)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / done.stdout.splitlines()[-1]) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("ftx/")}
    assert packed == set(files(clone / "ftx", "ftx"))


def files(folder: Path, name: str) -> Iterator[str]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from files(path, f"{name}/{path.name}")
        else:
            yield f"{name}/{path.name}"


def requirements(project: dict[str, Any]) -> list[Requirement]:
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]


def pins(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(found: list[Requirement], name: str) -> list[Version]:
    return [Version(str(pin.specifier).removeprefix("==")) for pin in found if canonical(pin.name) == canonical(name)]


def test_the_oldest_versions_that_are_tested_are_those_that_are_allowed(pyproject: dict[str, Any]) -> None:
    oldest = pins("constraints-oldest.txt")
    for requirement in requirements(pyproject["project"]):
        (bound,) = (Version(part.version) for part in requirement.specifier if part.operator == ">=")
        assert min(pinned(oldest, requirement.name)) == bound, requirement


def test_every_requirement_is_pinned_once_for_this_python(pyproject: dict[str, Any]) -> None:
    newest = [pin for pin in pins("constraints.txt") if pin.marker is None or pin.marker.evaluate()]
    for requirement in requirements(pyproject["project"]):
        if requirement.marker is None or requirement.marker.evaluate():
            (version,) = pinned(newest, requirement.name)
            assert version in requirement.specifier, requirement


@pytest.mark.parametrize(
    ("required", "status", "said"), [("", 5, "1 skipped"), ("1", 2, "No module named 'ftx_no_such")]
)
def test_a_missing_extra_skips_and_fails_the_gate(tmp_path: Path, required: str, status: int, said: str) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_extra.py").write_text(USES_AN_EXTRA)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = python("-m", "pytest", "-p", "no:cacheprovider", folder=tmp_path, FTX_REQUIRE_EXTRAS=required)
    assert (done.returncode, done.stderr) == (status, "")
    assert said in done.stdout
