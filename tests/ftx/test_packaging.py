"""What is installed, wherever Python is started, and whether the versions that pyproject.toml names are true."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the package as git has them in `clone`, and what is built of them beside it."""
    if find_spec("setuptools") is None:  # not imported here, where distutils warns that it is deprecated
        pytest.skip("setuptools is not installed")
    clone = tmp_path_factory.mktemp("built") / "clone"
    clone.mkdir()
    for name in (
        "ftx",
        "tests",
        *(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "ftx"),
    ):
        shutil.copytree(ROOT / name, clone / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    build(clone, "sdist")
    build(clone, "wheel")
    return clone.parent


def build(folder: Path, kind: str) -> None:
    """Build a folder's sdist or wheel into the folder above it."""
    done = python("-c", f"from setuptools import build_meta; build_meta.build_{kind}('..')", folder=folder)
    assert done.returncode == 0, done.stderr


def packed(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return {name for name in opened.namelist() if ".dist-info/" not in name}


def test_a_wheel_holds_every_file_and_no_tests(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    found = packed(wheel)
    assert found == set(files(built / "clone/ftx", "ftx"))
    assert "ftx/py.typed" in found
    for suffix in (".jinja", ".toml", ".html"):
        assert any(name.endswith(suffix) for name in found), suffix


def test_a_wheel_of_the_sdist_is_the_same(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"ftx_toolkit-{__version__}"
    build(folder, "wheel")
    (wheel,) = tmp_path.glob("*.whl")
    (first,) = built.glob("*.whl")
    assert packed(wheel) == packed(first)


def test_the_metadata_is_complete(built: Path, pyproject: dict[str, Any]) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith("/METADATA"))
        assert any(one.endswith("licenses/LICENSE") for one in opened.namelist())
        found = email.message_from_string(opened.read(name).decode())
    assert (found["Name"], found["Version"]) == ("ftx-toolkit", __version__)
    for field in ("Summary", "Author", "License-Expression", "Keywords", "Classifier", "Requires-Python"):
        assert found[field], field
    assert found["Description-Content-Type"] == "text/markdown"
    assert found.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(found.get_all("Provides-Extra", [])) == set(pyproject["project"]["optional-dependencies"])


def test_the_version_is_the_same_everywhere(pyproject: dict[str, Any]) -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert pyproject["project"]["version"] == __version__
    assert f"\nversion: {__version__}\n" in citation


def test_the_wheel_works(built: Path, tmp_path: Path, tiny_export: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "site")
    model = str(tiny_export / "model_quantized.onnx")
    code = f"import ftx; print(ftx.__file__); print(ftx.Predictor({model!r})(['The movie was great!'])[0].label)"
    done = python("-c", code, folder=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert (done.stderr, done.stdout) == ("", f"{tmp_path}/site/ftx/__init__.py\npositive\n")
    done = python("-m", "ftx", "--version", folder=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert done.stdout == f"ftx, version {__version__}\n"


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
