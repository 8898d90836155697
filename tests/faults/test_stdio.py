"""Standard streams that are closed, full, or whose reader has left; encodings that lack a letter."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ftx import Predictor
from tests.faults.ledger import Ledger, LostError

FTX = f"{shlex.quote(sys.executable)} -m ftx"
LIMIT_SEC = 300
LINES = 3000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, tiny_export: Path) -> Path:
    """A folder with a model and texts."""
    folder = tmp_path_factory.mktemp("stdio")
    (folder / "model.onnx").symlink_to(tiny_export / "model_quantized.onnx")
    (folder / "stdout").symlink_to("/proc/self/fd/1")  # as /dev/stdout, which must not come to harm here
    (folder / "few.txt").write_text("The movie was great!\nThe film was dull\n")
    (folder / "many.txt").write_text("The movie was great!\n" * LINES)
    (folder / "many.jsonl").write_text('{"text": "The movie was great!"}\n' * LINES)
    return folder


COMMANDS = {
    "texts": 'predict --onnx model.onnx "The movie was great!"',
    "lines": "predict --onnx model.onnx < few.txt",
    "json": "predict --onnx model.onnx --json < few.txt",
    "stream": "predict --onnx model.onnx --input - < many.jsonl",
    "file to stream": "predict --onnx model.onnx --input many.txt --output - --output-format csv",
    "file to device": "predict --onnx model.onnx --input many.txt --output stdout --output-format csv",
    "inspect": "inspect --onnx model.onnx",
    "verify": "verify --onnx model.onnx --json",
    "doctor": "doctor",
    "help": "predict --help",
    "version": "--version",
}


def run(words: str, files: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line in a shell that tells of the first command's end."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", words],
        cwd=files, capture_output=True, check=False, timeout=LIMIT_SEC, env={**os.environ, **env},
    )  # fmt: skip


def check(done: subprocess.CompletedProcess[bytes], *allowed: int) -> None:
    """Check how it ended."""
    said = f"status {done.returncode}, said {done.stderr[-800:]!r}"
    assert done.returncode in allowed, said
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr, said
    assert b"please report" not in done.stderr, said
    assert len(done.stderr.splitlines()) <= 4, said


@pytest.fixture(scope="module")
def usual(files: Path) -> dict[str, bytes]:
    """What each command answers."""
    answers = {}
    for name, words in COMMANDS.items():
        done = run(f"{FTX} {words}", files)
        assert done.returncode == 0, done.stderr
        answers[name] = done.stdout
    return answers


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full"])
def test_streams_that_take_nothing(closed: str, files: Path, usual: dict[str, bytes], ledger: Ledger) -> None:
    def attempt(name: str) -> None:
        words = COMMANDS[name]
        done = run(f"{FTX} {words} {closed}", files)
        assert (files / "stdout").is_symlink(), "the link to standard output was replaced"
        answers_lost = ">&-" in closed.replace("2>&-", "") or "full" in closed
        reads_nothing = "<&-" in closed and "<" in words
        if answers_lost or reads_nothing:
            # An answer that can't be given is a failure. The shell's redirection comes last, so nothing was read.
            check(done, 1)
            if "2>&-" not in closed:
                assert done.stderr.startswith(b"Error: "), done.stderr
        else:
            check(done, 0)
            if done.stdout != usual[name] and name != "doctor":
                raise LostError(f"answered {done.stdout[:200]!r} for {usual[name][:200]!r}")

    ledger.try_each(COMMANDS, attempt)


def test_readers_that_leave(files: Path, ledger: Ledger) -> None:
    """As other tools do: no word, and the status of a broken pipe, or success where all was written before."""

    def attempt(words: str) -> None:
        check(run(words, files), 0, 141)

    ledger.try_each(
        [f"{FTX} {COMMANDS[name]} | {reader}" for name in COMMANDS for reader in ("head -c 1", "true")], attempt
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-16"])
def test_encodings_that_lack_a_letter(encoding: str, files: Path, tiny_export: Path, ledger: Ledger) -> None:
    texts = ["電影很好", "naïve café", "🎬🎬", "a\u2028b", "\ufeffgreat", "e\u0301", "\u202egreat"]
    labels = dict(zip(texts, (one.label for one in Predictor(tiny_export)(texts)), strict=True))

    def attempt(text: str) -> None:
        done = run(f"{FTX} predict --onnx model.onnx {shlex.quote(text)}", files, PYTHONIOENCODING=encoding)
        check(done, 0)
        if not done.stdout.decode(encoding, "replace").lstrip("\ufeff").startswith(f"{labels[text]}\t"):
            raise LostError(f"answered {done.stdout!r}, not {labels[text]}")

    ledger.try_each(texts, attempt)
    ledger.try_each(
        [f"predict --onnx missing-{shlex.quote(text)}.onnx x" for text in texts[:3]],
        lambda words: check(run(f"{FTX} {words}", files, PYTHONIOENCODING=encoding), 1),
    )


def test_locales(files: Path, ledger: Ledger) -> None:
    def attempt(env: dict[str, str]) -> None:
        done = run(f"{FTX} predict --onnx model.onnx '電影 was great'", files, **env)
        check(done, 0)

    ledger.try_each(
        [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "xx_XX"},
         {"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict"}, {"COLUMNS": "1"}, {"COLUMNS": "x"}, {"TERM": ""},
         {"HOME": "/nonexistent"}, {"HOME": ""}, {"TMPDIR": "/nonexistent"}, {"PYTHONUNBUFFERED": "1"},
         {"FTX_HOME": "/dev/null"}, {"OMP_NUM_THREADS": "x"}, {"PYTHONWARNINGS": "error"}],
        attempt,
    )  # fmt: skip


def test_what_comes_in(files: Path, ledger: Ledger) -> None:
    """Bytes on standard input that are no lines of text: an answer for each line, or an error, and none lost."""

    def attempt(data: bytes) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "ftx", "predict", "--onnx", "model.onnx"],
            cwd=files, input=data, capture_output=True, check=False, timeout=LIMIT_SEC,
        )  # fmt: skip
        check(done, 0, 1)
        lines = data.split(b"\n")
        expected = len(lines) - (not lines[-1])
        answers = done.stdout.count(b"\n")
        if done.returncode == 0 and answers != expected:
            raise LostError(f"{answers} answers for {expected} lines")

    ledger.try_each(
        [b"", b"\n", b"\n\n\n", b"a", b"a\r\nb", b"a\rb\n", b"\xff\n", b"a\n\xff\nb\n", b"\0\n", b"\xef\xbb\xbfa\n",
         b"\xfe\xff\0a", b"a\x85b\n", "a\u2028b\n".encode(), b"a" * 10**6, b"\n" * 5000, b"a\n" * 5000,
         b"\x1b[31mgreat\n", b"-\n", b"--help\n", "\ud800".encode("utf-8", "surrogatepass")],
        attempt,
    )  # fmt: skip
