"""How a command ends: standard streams that are closed, full or too narrow, and errors that somebody foresaw or not."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ftx.advice import advice, refused
from ftx.cli import ftx
from ftx.errors import DataError
from ftx.process import explain, logged

FTX = [sys.executable, "-m", "ftx"]
HANG_SEC = 600
TEXT = "The movie was great!"


def end(*arguments: str | Path, closed: int | None = None, **options: Any) -> tuple[int, str, str]:
    """Run a command, one of whose standard streams may be closed; give status, output and what it said."""
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(
        [*FTX, *map(str, arguments)],
        text=True,
        check=False,
        timeout=HANG_SEC,
        preexec_fn=(lambda: os.close(closed)) if closed is not None else None,
        **{**streams, **options},
    )
    return done.returncode, done.stdout, done.stderr


def one_line(said: str) -> str:
    assert said.startswith("Error: "), said
    assert said.count("\n") == 1, said
    assert "unexpected" not in said
    return said


@pytest.fixture
def printing(tiny_export: Path, tiny_run: Path, tmp_path: Path, reviews: Path) -> dict[str, list[str | Path]]:
    """Every command that prints a result."""
    onnx: list[str | Path] = ["--onnx", tiny_export]
    return {
        "--help": ["--help"],
        "--version": ["--version"],
        "help of a command": ["train", "--help"],
        "predict": ["predict", *onnx, TEXT],
        "predict to -": ["predict", *onnx, "--input", reviews],
        "predict to a descriptor": [
            "predict",
            *onnx,
            "--input",
            reviews,
            "--output",
            "/proc/self/fd/1",
            "--output-format",
            "jsonl",
        ],
        "inspect": ["inspect", *onnx],
        "verify": ["verify", *onnx],
        "doctor": ["doctor"],
        "train --list": ["train", "--list"],
        "train": ["train", "--dataset", reviews, "--output", tmp_path / "run"],
        "distill": ["distill", tiny_run, "--layers", "1", "--output", tmp_path / "student"],
        "evaluate": ["evaluate", *onnx, "--data", reviews],
        "export": ["export", tiny_run, "--output", tmp_path / "onnx"],
        "bench": ["bench", *onnx, "--against", tiny_run, "--output", tmp_path / "bench"],
    }


def test_a_closed_output_is_an_error_in_every_command(printing: dict[str, list[str | Path]], tmp_path: Path) -> None:
    assert {name.split()[0] for name in printing} >= set(ftx.commands) - {"serve"}  # which prints nothing
    for name, arguments in printing.items():
        status, _, said = end(*arguments, closed=1)
        assert status == 1, (name, said)
        line = one_line(said)
        assert "closed" in line or "Bad file descriptor" in line, name
    assert list(tmp_path.iterdir()) == []  # and no work was done for nothing


@pytest.mark.parametrize("name", ["--help", "--version", "predict", "predict to -", "inspect", "verify", "doctor"])
def test_an_output_on_a_full_disk_is_an_error(printing: dict[str, list[str | Path]], name: str) -> None:
    with Path("/dev/full").open("wb") as full:
        status, _, said = end(*printing[name], stdout=full)
    assert status == 1
    assert "No space left on device" in one_line(said)


def test_closed_input_and_error_streams(tiny_export: Path, tmp_path: Path) -> None:
    predict = ["predict", "--onnx", tiny_export]
    assert end(*predict, TEXT, closed=0)[:2] == end(*predict, TEXT)[:2]
    assert end(*predict, TEXT, closed=2)[:2] == end(*predict, TEXT)[:2]
    assert end("predict", "--onnx", tmp_path, TEXT, closed=2) == (1, "", "")
    for arguments in (predict, [*predict, "--input", "-", "--output", tmp_path / "out.csv"]):
        status, output, said = end(*arguments, closed=0)
        assert (status, output) == (1, "")
        assert "standard input" in one_line(said)
    assert not (tmp_path / "out.csv").exists()


def test_a_file_never_takes_the_place_of_a_closed_stream(tiny_export: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    (tmp_path / "in.txt").write_text(f"{TEXT}\n")
    arguments = ["predict", "--onnx", tiny_export, "--input", tmp_path / "in.txt", "--output", target]
    for closed in (1, 2):
        assert end(*arguments, "--overwrite", closed=closed)[0] == 0
        assert target.read_text().count("\n") == 2


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_text_that_the_terminal_cannot_show_is_shown_somehow(tiny_export: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [*FTX, "predict", "--onnx", str(tiny_export), "電影 was great! é", os.fsdecode(b"a\xff\xfe")],
        capture_output=True,
        env=environment,
        check=False,
        timeout=HANG_SEC,
    )
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 2), done.stderr
    assert done.stderr == b""
    assert b"was great!" in done.stdout


def test_a_working_directory_that_was_removed(tiny_export: Path, tmp_path: Path, reviews: Path) -> None:
    script = f"rmdir {tmp_path}/gone; exec {Path(sys.executable).parent}/ftx "
    job = f"predict --onnx {tiny_export} --input {reviews} --output "
    for arguments, expected in (
        (f"predict --onnx {tiny_export} text", 0),
        (f"{job} {tmp_path}/out.csv", 0),
        (f"{job} out.csv", 1),
        ("inspect --onnx model.onnx", 1),
        (f"evaluate --onnx {tiny_export} --data {reviews}", 1),
    ):
        (tmp_path / "gone").mkdir()
        command = ["sh", "-c", script + arguments]
        done = subprocess.run(
            command, cwd=tmp_path / "gone", capture_output=True, text=True, check=False, timeout=HANG_SEC
        )
        assert done.returncode == expected, done.stderr
        if expected:
            one_line(done.stderr)


def test_what_nothing_foresaw_is_one_line_and_status_70(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, said in (
        (TypeError("a\nb"), "unexpected TypeError: a b: please report it; FTX_TRACEBACK=1 shows where"),
        (EOFError("Ran out of input"), "unexpected EOFError: Ran out of input: please report"),  # click: Ctrl-C
    ):

        def fail(error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("ftx.doctor.diagnose", fail)
        result = CliRunner().invoke(ftx, ["doctor"])
        assert (result.exit_code, result.stdout) == (70, "")
        assert result.stderr.startswith(f"Error: {said}")
        assert result.stderr.count("\n") == 1
    result = CliRunner().invoke(ftx, ["doctor"], env={"FTX_TRACEBACK": "1"})
    assert result.exit_code == 70
    assert result.stderr.startswith("Traceback (most recent call last)")
    assert result.stderr.splitlines()[-1].startswith("Error: unexpected EOFError")


def test_a_broken_installation_is_one_line() -> None:
    code = "import sys; sys.modules['click'] = None; import ftx.__main__; ftx.__main__.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=HANG_SEC)
    assert done.returncode == 70
    assert done.stderr.startswith("Error: unexpected ModuleNotFoundError: ")
    assert done.stderr.count("\n") == 1


def os_error(number: int, name: str | None = "/a/b") -> OSError:
    return OSError(number, os.strerror(number), name) if name else OSError(number, os.strerror(number))


def deep() -> None:
    deep()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (os_error(errno.ENOSPC), "/a/b: No space left on device: free some space, or choose another place"),
        (os_error(errno.EDQUOT), "free some space"),
        (
            os_error(errno.EACCES),
            "/a/b: Permission denied: change the permissions (chmod, chown), or choose another place",
        ),
        (os_error(errno.EPERM), "change the permissions"),
        (os_error(errno.EROFS), "choose another place"),
        (os_error(errno.ENAMETOOLONG), "choose a shorter name"),
        (os_error(errno.ELOOP), "links form a loop"),
        (os_error(errno.EFBIG), "ulimit -f"),
        (os_error(errno.EMFILE), "ulimit -n"),
        (os_error(errno.ENOENT), "check the name"),
        (os_error(errno.ETIMEDOUT, None), "Connection timed out: check the connection, and try again"),
        (os_error(errno.ENOEXEC), "/a/b: Exec format error: check the place, and try again"),
        (OSError("Can't load the model\nfrom there"), "Error: Can't load the model from there\n"),
        (os_error(errno.ENOMEM), "Out of memory: use a smaller batch"),
        (MemoryError(), "Out of memory: use a smaller batch"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "Out of memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "not UTF-8 (byte 0): convert it"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), "can't be written"),
        (DataError("a.csv:3: 1 cells"), "Error: a.csv:3: 1 cells\n"),
    ],
    ids=repr,
)
def test_every_error_that_any_command_may_meet_is_explained(
    error: BaseException, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(error) == 1
    said = capsys.readouterr().err
    assert words in one_line(said)
    if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        assert "free some space" not in said


@pytest.mark.parametrize("arguments", [["predict", "--batch-size"], ["predict", "--engine"], ["inspect", "--onnx"]])
def test_a_value_without_end_is_not_told_whole(arguments: list[str]) -> None:
    done = CliRunner().invoke(ftx, [*arguments, "9" * 100_000])
    assert done.exit_code in (1, 2)
    assert max(map(len, done.stderr.splitlines())) < 1100
    assert "Error: " in done.stderr


def test_a_pipe_that_nobody_reads_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(BrokenPipeError(errno.EPIPE, "Broken pipe")) == 141
    assert capsys.readouterr().err == ""


def test_the_working_directory_is_named_only_if_it_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert advice(os_error(errno.ENOENT, None)) == "check the name"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert refused(os_error(errno.ENOENT, None)).endswith("the working directory was removed: change to another")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ELOOP])
def test_an_error_of_the_system_in_any_command_is_one_line(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail() -> None:
        raise os_error(number)

    monkeypatch.setattr("ftx.doctor.diagnose", fail)
    result = CliRunner().invoke(ftx, ["doctor"])
    assert result.exit_code == 1
    assert os.strerror(number) in one_line(result.stderr)


def test_the_command_line_writes_what_the_library_logs_and_a_library_user_hears_warnings_only() -> None:
    import logging

    log = logging.getLogger("ftx.anything")
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        with logged():
            log.info("100 % of it")
            log.warning("not all of it")
        log.info("nobody asked")
    assert said.getvalue() == "100 % of it\nnot all of it\n"
    assert not log.isEnabledFor(logging.INFO)
    assert logging.getLogger("ftx").handlers == []
