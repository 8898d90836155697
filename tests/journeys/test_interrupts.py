"""Ctrl-C, SIGTERM, a reader that leaves, a killed run: nothing half-made stays, and nobody sees a traceback.

Each signal comes at a moment that the process itself reaches: an import, a file it opens, a line it writes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FTX = [sys.executable, "-m", "ftx"]
STRIKING = Path(__file__).with_name("striking")
HANG_SEC = 600  # ends a hang; nothing that is tested takes as long on any machine
STATUS = {"SIGINT": (130, "Interrupted"), "SIGTERM": (143, "Terminated")}


def begin(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start a command as the leader of a group, as a shell does."""
    return subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has them ignore the signal, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a command; give its status and what it said."""
    try:
        output, errors = process.communicate(timeout=HANG_SEC)
    finally:
        process.kill()
    return process.returncode, output + errors


def struck(moment: str, arguments: list[str], **options: Any) -> str:
    """Run a command that is sent a signal at a moment; check how it ends, and give what it said."""
    path = os.pathsep.join(filter(None, (str(STRIKING), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "FTX_STRIKE": moment}
    status, said = end(begin([*FTX, *arguments], env=environment, **options))
    check_end(moment.split()[0], status, said)
    return said


def check_end(signal_name: str, status: int, said: str) -> None:
    expected, word = STATUS[signal_name]
    assert status == expected, said
    assert said.splitlines()[-1] == word
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert "Error" not in said


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until a process has reached a state that can be seen from outside."""
    deadline = time.monotonic() + HANG_SEC
    while not reached():
        assert process.poll() is None, end(process)
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def train(tmp_path: Path, tiny_model: Callable[[str], Path], reviews: Path) -> list[str]:
    model = str(tiny_model("single_label_classification"))
    arguments = ["train", "--model", model, "--dataset", str(reviews), "--max-length", "32", "--precision", "fp32"]
    # No checkpoints: an interrupted run then has nothing to go on from, however far it came.
    return [*arguments, "--save-steps", "0", "--output", str(tmp_path / "runs/tiny"), "--epochs"]


@pytest.mark.parametrize(
    "moment",
    [
        "SIGINT import click",
        pytest.param("SIGINT import torch", marks=pytest.mark.slow),
        "SIGINT import accelerate",
        pytest.param("SIGINT open history.jsonl", marks=pytest.mark.slow),
        pytest.param("SIGTERM open metrics.json", marks=pytest.mark.slow),
    ],
)
def test_a_signal_while_training(tmp_path: Path, train: list[str], moment: str) -> None:
    struck(moment, [*train, "1"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not (tmp_path / "runs/tiny").exists()


@pytest.mark.slow
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_training_goes_on(tmp_path: Path, train: list[str], signal_name: str) -> None:
    process = begin([*FTX, *train, "100000"])
    history = tmp_path / "runs/.tiny.partial/history.jsonl"
    wait_for(lambda: history.exists() and history.stat().st_size > 0, process)
    os.killpg(process.pid, getattr(signal, signal_name))  # a terminal sends it to the whole group
    check_end(signal_name, *end(process))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("module", ["ftx.process", "logging", "ftx.cli", "click"])
def test_ctrl_c_while_the_command_itself_is_imported(module: str) -> None:
    path = os.pathsep.join(filter(None, (str(STRIKING), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "FTX_STRIKE": f"SIGINT import {module}"}
    status, said = end(begin([*FTX, "--help"], env=environment))
    # By the signal itself, until there is somebody to say so; a shell reports 130 for both.
    assert (status, said) in ((-signal.SIGINT, ""), (130, "Interrupted\n"))


def test_ctrl_c_within_an_exec_of_a_string(tmp_path: Path) -> None:
    # `python -m` then kills itself with SIGINT at its end, although the exception was caught.
    (tmp_path / "struck.py").write_text("""
import sys, types, ftx.__main__
struck = "import os, signal; os.kill(os.getpid(), signal.SIGINT); [None for _ in iter(int, 1)]"
sys.modules["ftx.cli"] = types.SimpleNamespace(ftx=lambda **options: exec(struck))
ftx.__main__.main()
""")
    assert end(begin([sys.executable, "-m", "struck"], cwd=tmp_path)) == (130, "Interrupted\n")


def test_ctrl_c_where_python_drops_exceptions(tmp_path: Path) -> None:
    (tmp_path / "struck.py").write_text("""
import os, signal, sys, types, ftx.__main__
class Struck:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        [None for _ in range(1000)]
def command(**options):
    Struck()
    [None for _ in iter(int, 1)]
sys.modules["ftx.cli"] = types.SimpleNamespace(ftx=command)
ftx.__main__.main()
""")
    assert end(begin([sys.executable, "-m", "struck"], cwd=tmp_path)) == (130, "Interrupted\n")


def test_an_interrupt_that_a_library_makes_its_own_error_of(tmp_path: Path) -> None:
    (tmp_path / "struck.py").write_text("""
import os, signal, sys, types, ftx.__main__
def command(**options):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        [None for _ in iter(int, 1)]
    except KeyboardInterrupt:
        raise ValueError("write to closed file")
sys.modules["ftx.cli"] = types.SimpleNamespace(ftx=command)
ftx.__main__.main()
""")
    assert end(begin([sys.executable, "-m", "struck"], cwd=tmp_path)) == (130, "Interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "SIGINT import optimum",
        "SIGINT open .onnx.partial/model.onnx",
        "SIGINT shutil.rmtree .search",
        "SIGTERM open parity.html",
    ],
)
def test_a_signal_while_exporting(tmp_path: Path, tiny_run: Path, moment: str) -> None:
    struck(moment, ["export", str(tiny_run), "--quantize", "fast", "--output", str(tmp_path / "onnx")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_signal_while_a_whole_export_is_put_into_its_place(tmp_path: Path, tiny_run: Path) -> None:
    export = ["export", str(tiny_run), "--quantize", "fast", "--output", str(tmp_path / "onnx")]
    struck("SIGINT os.rename .onnx.partial", export)
    assert [path.name for path in tmp_path.iterdir()] == [".onnx.partial"]
    assert end(begin([*FTX, *export]))[0] == 1  # as it is there: the command puts it into its place first
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]


def test_ctrl_c_while_measuring(tmp_path: Path, tiny_export: Path, tiny_run: Path) -> None:
    arguments = ["bench", "--onnx", str(tiny_export), "--against", str(tiny_run), "--rounds", "1"]
    process = begin([*FTX, *arguments[:-1], "100000"])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: len(children.read_text().split()) > 1, process)  # an engine, beside multiprocessing's tracker
    os.killpg(process.pid, signal.SIGINT)
    check_end("SIGINT", *end(process))


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("event", ["import numpy", "import onnxruntime", "open model_quantized.onnx"])
def test_a_signal_while_the_model_is_loaded(tiny_export: Path, signal_name: str, event: str) -> None:
    struck(f"{signal_name} {event}", ["predict", "--onnx", str(tiny_export), "a text"])


def test_ctrl_c_while_waiting_for_input(tiny_export: Path) -> None:
    process = begin([*FTX, "predict", "--onnx", str(tiny_export)], stdin=subprocess.PIPE, bufsize=1)
    assert process.stdin and process.stdout
    for _ in range(300):  # more than are answered together
        process.stdin.write("The movie was great!\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith("positive")
    os.killpg(process.pid, signal.SIGINT)
    check_end("SIGINT", *end(process))


@pytest.mark.parametrize("kind", ["csv", "jsonl.gz", "parquet"])
@pytest.mark.parametrize(
    "moment", ["SIGINT open .part.json.tmp", "SIGTERM os.rename .part.json.tmp", "SIGINT os.rename {whole}"]
)
def test_a_signal_in_a_file_job(tmp_path: Path, tiny_export: Path, kind: str, moment: str) -> None:
    rows, target = tmp_path / "in.jsonl", tmp_path / f"out.{kind}"
    rows.write_text('{"text": "The movie was great!"}\n' * 3000)
    arguments = ["predict", "--onnx", str(tiny_export), "--input", str(rows), "--output", str(target)]
    said = struck(moment.format(whole="joined" if kind == "parquet" else f"{target.name}.part"), arguments)
    assert ("finished rows are kept: add --resume to continue" in said) == ("{whole}" in moment)
    assert not target.exists()
    done = subprocess.run([*FTX, *arguments, "--resume"], capture_output=True, text=True, check=False, timeout=HANG_SEC)
    assert done.returncode == 0, done.stderr
    assert "3,000 rows" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", target.name]


def test_a_reader_that_leaves_sees_no_traceback(tiny_export: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("The movie was great!\n" * 5000)
    with (tmp_path / "texts").open() as texts:
        process = begin([*FTX, "predict", "--onnx", str(tiny_export)], stdin=texts)
    assert process.stdout and process.stderr
    assert process.stdout.readline().startswith("positive")
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(HANG_SEC) == 141  # 128 + SIGPIPE, as other tools have it
    assert errors == ""


@pytest.mark.slow
def test_a_run_that_was_killed_leaves_no_run_and_the_next_one_clears_up(tmp_path: Path, train: list[str]) -> None:
    output, staging = tmp_path / "runs/tiny", tmp_path / "runs/.tiny.partial"
    process = begin([*FTX, *train, "100000"])
    wait_for((staging / "history.jsonl").exists, process)
    process.kill()
    end(process)
    assert staging.exists()
    assert not output.exists()
    done = subprocess.run([*FTX, *train, "1"], capture_output=True, text=True, check=False, timeout=HANG_SEC)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in output.parent.iterdir()] == ["tiny"]
