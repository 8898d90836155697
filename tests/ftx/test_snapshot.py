from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from ftx import snapshot
from ftx.errors import OnnxFileError
from ftx.snapshot import Snapshot, read_small


def onnx_file(path: Path, name: str = "g") -> Path:
    values = [helper.make_tensor_value_info(one, TensorProto.FLOAT, [1]) for one in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], name, values[:1], values[1:])
    onnx.save(helper.make_model(graph), str(path))
    return path


def content(given: str | bytes) -> bytes:
    return given if isinstance(given, bytes) else Path(given).read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return onnx_file(tmp_path / "model.onnx")


@pytest.fixture(params=["by descriptor", "as bytes"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Linux names an open file; elsewhere its bytes are given."""
    if request.param == "as bytes":
        monkeypatch.setattr(snapshot.sys, "platform", "darwin")
    elif not Path("/proc/self/fd").is_dir():
        pytest.skip("this system has no names for open files")
    return str(request.param)


def test_a_file_that_takes_its_place_is_not_seen(path: Path, tmp_path: Path, way: str) -> None:
    before, file = path.read_bytes(), Snapshot(path)
    onnx_file(tmp_path / "other.onnx", "another").replace(path)
    for _ in range(2):
        with file.source() as given:
            assert isinstance(given, bytes) == (way == "as bytes")
            assert content(given) == before
    path.unlink()
    with file.source() as given:
        assert content(given) == before
    assert file.sha256 == hashlib.sha256(before).hexdigest()


def in_place(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def behind_its_times(path: Path) -> None:
    """With the time of the last change as it was."""
    found = path.stat()
    in_place(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("change", [in_place, behind_its_times, cut, emptied])
def test_a_change_in_place_is_refused(path: Path, way: str, change: Callable[[Path], None]) -> None:
    file = Snapshot(path)
    with file.source():
        pass
    change(path)
    with pytest.raises(OnnxFileError, match=r"was changed since it was opened|it is empty"), file.source():
        pytest.fail("a changed file was given out")


@pytest.mark.parametrize("fresh", [False, True])
def test_a_change_while_it_is_loaded_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool) -> None:
    if not fresh:  # as if the file had been there for long, so that its times tell
        monkeypatch.setattr(snapshot, "COARSEST_SEC", -1e9)
    file = Snapshot(path)
    with pytest.raises(OnnxFileError, match="was changed since it was opened"), file.source() as given:
        assert isinstance(given, str)
        in_place(path)
    path.write_bytes(path.read_bytes())
    with pytest.raises(OnnxFileError, match="was changed since it was opened"), file.source():
        pytest.fail("a changed file was given out")


def test_a_change_that_is_undone_is_none(path: Path, way: str) -> None:
    file, before = Snapshot(path), path.read_bytes()
    in_place(path)
    path.write_bytes(before)
    with file.source() as given:
        assert content(given) == before


def test_it_lets_go_of_its_descriptor(path: Path) -> None:
    count = descriptors()
    for _ in range(100):
        Snapshot(path)
        file = Snapshot(path)
        file.close()
        file.close()
    for bad in (path.parent, path.with_name("absent.onnx"), small(path, b""), small(path, b"not onnx")):
        with pytest.raises(OnnxFileError):
            Snapshot(bad)
    assert descriptors() == count


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def small(path: Path, data: bytes) -> Path:
    path = path.with_name(f"small-{len(data)}.onnx")
    path.write_bytes(data)
    return path


def fifo(path: Path) -> None:
    os.mkfifo(path)


def open_fifo(path: Path) -> None:
    """One that somebody reads and writes, so that to open it does not wait and to read it does."""
    os.mkfifo(path)
    KEPT.append(os.open(path, os.O_RDWR))


def unix_socket(path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_RDONLY)  # a socket's own path may have 108 bytes
    listening.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)
    KEPT.append(listening)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.mkdir()


KEPT: list[object] = []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (fifo, "it is a pipe"),
        (open_fifo, "it is a pipe"),
        (unix_socket, "it is a socket"),
        (device, "it is a device"),
        (folder, "it is a folder"),
        (loop, "symbolic links"),
        (dangling, "No such file"),
    ],
)
def test_what_is_no_file_is_one_line_and_holds_nothing_up(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / "x.onnx"
    make(path)
    for read in (Snapshot, read_small):
        with pytest.raises(OnnxFileError, match=reason) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_pipe_that_takes_the_place_of_a_file_holds_nothing_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look and the opening."""
    real = os.open

    def replaced(name: Path, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return real(name, flags)

    monkeypatch.setattr(os, "open", replaced)
    with pytest.raises(OnnxFileError, match="it is a pipe"):
        Snapshot(path)


def test_names_that_no_system_takes_are_one_line(tmp_path: Path) -> None:
    for name in ("x" * 300 + ".onnx", "a\0b.onnx"):
        with pytest.raises(OnnxFileError, match="can't be read") as caught:
            Snapshot(tmp_path / name)
        assert len(str(caught.value)) < 350


def test_a_file_that_may_not_be_read_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:  # root may read everything
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(OnnxFileError, match=r"model\.onnx can't be read: Permission denied"):
        Snapshot(path)


def test_more_than_protobuf_takes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(OnnxFileError, match="it holds 2048 MiB, expected at most 2048"):
        Snapshot(path)


def test_memory_that_is_not_there_is_no_fault_of_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(snapshot.mmap, "mmap", none_left)
    with pytest.raises(MemoryError, match="too large for this memory"):
        Snapshot(path)


def test_a_copy_is_another_file_with_the_same_digest(path: Path) -> None:
    assert Snapshot(path).sha256 == Snapshot(Path(shutil.copy(path, path.with_name("copy.onnx")))).sha256
