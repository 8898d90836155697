"""Two commands that write one output at once: the second is refused in one line, the first comes to its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from ftx.cli import ftx
from ftx.output import staging_of
from ftx.output.record import is_intact, read_record

FTX = [sys.executable, "-m", "ftx"]


@contextmanager
def held_in_the_middle(output: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command and stop it while it writes `output`; at the end let it go on, to its own end."""
    process = subprocess.Popen(
        [*FTX, *arguments, "--output", str(output)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not staging_of(output).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    try:
        assert staging_of(output).exists(), process.communicate()
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said


def refused(holder: subprocess.Popen[str], *arguments: str) -> None:
    result = CliRunner().invoke(ftx, list(arguments))
    assert (result.exit_code, result.stdout) == (1, "")
    said = result.stderr.splitlines()[-1]
    assert said.startswith("Error: ")
    assert f"is being written by another process (pid {holder.pid}): wait for it, or end it first" in said


def assert_whole(output: Path) -> None:
    files = read_record(output / "SHA256SUMS")
    assert len(files) > 8
    assert all(is_intact(output, name, digest) for name, digest in files.items())
    assert not [path for path in output.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_two_trainings(tmp_path: Path, tiny_model: Callable[[str], Path], reviews: Path) -> None:
    output = tmp_path / "run"
    arguments = ["train", "--model", str(tiny_model("single_label_classification")), "--dataset", str(reviews)]
    arguments += ["--max-length", "16", "--precision", "fp32", "--epochs", "1"]
    with held_in_the_middle(output, *arguments) as first:
        for more in ([], ["--resume"], ["--overwrite"], ["--overwrite", "--resume"]):
            refused(first, *arguments, "--output", str(output), *more)
    assert_whole(output)


@pytest.mark.slow
def test_two_exports(tmp_path: Path, tiny_run: Path) -> None:
    output = tmp_path / "onnx"
    arguments = ["export", str(tiny_run), "--quantize", "none"]
    with held_in_the_middle(output, *arguments) as first:
        for more in ([], ["--overwrite"]):
            refused(first, *arguments, "--output", str(output), *more)
    assert_whole(output)
    result = CliRunner().invoke(ftx, [*arguments, "--output", str(output)])
    assert result.exit_code == 1
    assert "is not empty" in result.stderr
