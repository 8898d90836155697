from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ftx.errors import DataError
from ftx.tables import lines
from ftx.tables.bad_rows import BadRows

Read = Callable[..., list[tuple[str, str]]]


def test_a_line_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE_BYTES", 1000)
    for name, content in (("a.csv", "text,label\n" + "x" * 1000 + ",1\n"), ("a.jsonl", "[" * 2000)):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=rf"{name}:\d: a line of more than"):
            read(tmp_path / name, bad_rows=BadRows(limit=9))


def test_what_is_no_file_is_refused_and_never_opened(tmp_path: Path, read: Read) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.csv"))
    for name, reason in (
        ("pipe.csv", "is a named pipe; expected a file"),
        ("device.csv", "is a device; expected a file"),
        ("socket.csv", "is a socket; expected a file"),
        ("gone.csv", "can't be read: No such file"),
        ("loop.csv", "can't be read: Too many levels"),
        ("x" * 300 + ".csv", "can't be read: File name too long"),
        ("a\0b.csv", "can't be read: .*embedded null"),
    ):
        with pytest.raises(DataError, match=reason):
            read(tmp_path / name)
    for name in ("pipe.csv", "socket.csv", "folder.csv"):
        folder = tmp_path / f"in {name}"
        folder.mkdir()
        (folder / "a.csv").write_text("text,label\na,1\n")
        (tmp_path / name).rename(folder / name)
        with pytest.raises(DataError, match=rf"{name} is a .*; expected a file"):
            read(folder)


def test_gzip_is_read_alone_and_in_a_folder(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"text;label\nb;0\n") + gzip.compress(b"c;1\n"))
    assert read(tmp_path / "b.txt.gz") == [("b", "0"), ("c", "1")]
    assert read(tmp_path) == [("a", "1"), ("b", "0"), ("c", "1")]
