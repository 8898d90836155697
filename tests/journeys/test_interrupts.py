"""Ctrl-C, a reader that leaves, a killed run: nothing half-made stays, and nobody sees a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

FTX = [sys.executable, "-m", "ftx"]


def interrupt(arguments: list[str], seconds: float, **options: object) -> tuple[int, str]:
    """Start a command, send it SIGINT after a while, and give its status and what it said."""
    process = subprocess.Popen(
        [*FTX, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore the signal, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,  # type: ignore[call-overload]
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, output + errors


@pytest.mark.parametrize("seconds", [1.0, 4.0, 12.0])
def test_ctrl_c_while_training(
    tmp_path: Path, tiny_model: Callable[[str], Path], reviews: Path, seconds: float
) -> None:
    output = tmp_path / "runs/tiny"
    model = str(tiny_model("single_label_classification"))
    arguments = ["train", "--model", model, "--dataset", str(reviews), "--epochs", "100000"]
    arguments += ["--save-steps", "0", "--output", str(output)]
    status, said = interrupt(arguments, seconds)
    assert status == 130, said
    assert "Traceback" not in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not output.exists()


def test_ctrl_c_within_an_exec_of_a_string(tmp_path: Path) -> None:
    # `python -m` then kills itself with SIGINT at its end, although the exception was caught.
    (tmp_path / "struck.py").write_text("""
import sys, types, ftx.__main__
struck = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
sys.modules["ftx.cli"] = types.SimpleNamespace(ftx=lambda **options: exec(struck))
ftx.__main__.main()
""")
    command = [sys.executable, "-m", "struck"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130
    assert done.stderr == ""


@pytest.mark.parametrize("seconds", [1.0, 10.0])
def test_ctrl_c_while_exporting(tmp_path: Path, tiny_run: Path, seconds: float) -> None:
    big = tmp_path / "big.jsonl"  # so many texts that the proof is still going on
    big.write_text((tiny_run / "eval.jsonl").read_text() * 5000)
    arguments = ["export", str(tiny_run), "--data", str(big), "--output", str(tmp_path / "onnx")]
    status, said = interrupt(arguments, seconds)
    assert status == 130, said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["big.jsonl"]


def test_ctrl_c_while_measuring(tiny_export: Path, tiny_run: Path) -> None:
    arguments = ["bench", "--onnx", str(tiny_export), "--against", str(tiny_run), "--rounds", "100000"]
    status, said = interrupt(arguments, 6.0)
    assert status == 130, said
    assert "Traceback" not in said


def test_ctrl_c_while_waiting_for_input(tiny_export: Path) -> None:
    status, said = interrupt(["predict", "--onnx", str(tiny_export)], 3.0, stdin=subprocess.PIPE)
    assert status == 130, said
    assert "Traceback" not in said


def test_a_reader_that_leaves_sees_no_traceback(tiny_export: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("The movie was great!\n" * 5000)
    with (tmp_path / "texts").open() as texts:
        process = subprocess.Popen(
            [*FTX, "predict", "--onnx", str(tiny_export)], stdin=texts, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    assert process.stdout and process.stderr
    assert process.stdout.readline().startswith(b"positive")
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert errors == b""


@pytest.mark.slow
def test_a_run_that_was_killed_leaves_no_run_and_the_next_one_clears_up(
    tmp_path: Path, tiny_model: Callable[[str], Path], reviews: Path
) -> None:
    output = tmp_path / "run"
    model = str(tiny_model("single_label_classification"))
    arguments = [*FTX, "train", "--model", model, "--dataset", str(reviews), "--output", str(output), "--epochs"]
    process = subprocess.Popen([*arguments, "100000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    staging = tmp_path / ".run.partial"
    deadline = time.monotonic() + 120
    while not (staging / "history.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait(60)
    assert staging.exists()
    assert not output.exists()
    done = subprocess.run([*arguments, "1"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
