"""Break the writing of an output folder at every system call that renames, removes, makes or syncs, and look.

Started by test_output_faults.py as a process of its own, small enough to be forked some thousand times:
`python -m tests.ftx.publishing_faults SCENARIO FAULT FOLDER`. It prints how many calls there were to break.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ftx.errors import OutputError
from ftx.output import Kind, staged_folder, staging_of

EXPORT = Kind(what="export", owned=frozenset({"model", "README.md"}), mark="model")
RUN = Kind(
    what="run",
    owned=frozenset({"result", "checkpoint/*.bin", "only*"}),
    mark="result",
    scratch="trainer",
    inner={"onnx": EXPORT},
)
# What the audit hook hears of (`os.remove` is unlink, `os.rename` is replace too), besides opening for writing.
CALLS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "os.chmod"}
FAULTS: dict[str, int | None] = {
    "kill": None,
    "full": errno.ENOSPC,
    "denied": errno.EACCES,
    "broken for good": errno.EIO,
}
KILLED = 9
FAILED = 1


def unfinished(staging: Path) -> str:
    """As training tells it: a checkpoint that is complete."""
    return "7 steps" * (staging / "trainer/checkpoint-7/COMPLETE").is_file()


def write(run: Path, text: str, *, overwrite: bool = False, resume: bool = False) -> None:
    """Train, as far as files go: some are of this run only, and some are the same in every run."""
    with staged_folder(run, kind=RUN, overwrite=overwrite, resume=resume, resumable=unfinished) as staging:
        (staging / "trainer/checkpoint-7").mkdir(parents=True, exist_ok=True)
        (staging / "trainer/checkpoint-7/COMPLETE").write_text("weights")
        (staging / "checkpoint").mkdir(exist_ok=True)
        (staging / "result").write_text(text)
        (staging / "checkpoint/weights.bin").write_text(text)
        (staging / "checkpoint/vocabulary.bin").write_text("the same in both")
        (staging / f"only{text}").write_text(text)


def export(folder: Path, text: str) -> None:
    """Export, as far as files go."""
    with staged_folder(folder, kind=EXPORT, overwrite=True) as staging:
        (staging / "model").write_text(text)
        (staging / "README.md").write_text(text)


def written(text: str) -> dict[str, str]:
    """What `write` writes."""
    return {
        "result": text,
        "checkpoint/weights.bin": text,
        "checkpoint/vocabulary.bin": "the same in both",
        f"only{text}": text,
    }


MINE = {"notes.txt": "mine", "checkpoint/notes.txt": "mine", "bench/a/b.json": "mine", "onnx/notes.txt": "mine"}


def add_mine(run: Path) -> None:
    """Add a user's own files, folders and links."""
    for name, text in MINE.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(text)
    (run / "notes.txt").chmod(0o400)
    (run / "link").symlink_to("gone")
    (run / "empty").mkdir()
    run.chmod(0o700)


def check_mine(run: Path) -> None:
    """Check that all of them are there."""
    for name, text in MINE.items():
        assert (run / name).read_text() == text, f"{name} is lost"
    assert (run / "link").readlink() == Path("gone")
    assert (run / "empty").is_dir()
    assert stat.S_IMODE(run.stat().st_mode) == 0o700, oct(run.stat().st_mode)


def new(run: Path) -> None:
    """Nothing stands there."""


def empty(run: Path) -> None:
    """An empty folder stands there."""
    run.mkdir(mode=0o700)


def over(run: Path) -> None:
    """A run, and a user's own files in it."""
    write(run, "1")
    add_mine(run)


def exported(run: Path) -> None:
    """A run with an export, and a user's own files in both."""
    write(run, "1")
    export(run / "onnx", "1")
    add_mine(run)


def begun(run: Path) -> None:
    """An unfinished run beside a finished one with a user's own files."""
    over(run)
    with suppress(RuntimeError), staged_folder(run, kind=RUN, overwrite=True, resumable=unfinished) as staging:
        (staging / "trainer/checkpoint-7").mkdir(parents=True)
        (staging / "trainer/checkpoint-7/COMPLETE").write_text("weights")
        (staging / "checkpoint").mkdir()
        (staging / "checkpoint/weights.bin").write_text("half")
        raise RuntimeError


SCENARIOS: dict[str, tuple[Callable[[Path], None], dict[str, bool]]] = {
    "new": (new, {}),
    "empty": (empty, {}),
    "over": (over, {"overwrite": True}),
    "exported": (exported, {"overwrite": True}),
    "begun": (begun, {"overwrite": True, "resume": True}),
}


def break_at(number: int, fault: str, report: int) -> None:
    """Let the call of this number fail, and with "for good" all that follow, or the process die there."""
    seen, number_of_error = 0, FAULTS[fault]

    def strike(event: str, arguments: Any = ()) -> None:
        nonlocal seen
        writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event not in CALLS and not writing:
            return
        seen += 1
        if seen < number or (seen > number and not fault.endswith("for good")):
            return
        if seen == number:
            os.write(report, b"x")
        if number_of_error is None:
            os._exit(KILLED)
        raise OSError(number_of_error, os.strerror(number_of_error), *(str(one) for one in arguments[:1]))

    os.fsync = lambda descriptor: strike("os.rename")  # the hook does not hear of it
    sys.addaudithook(strike)


def attempt(run: Path, options: dict[str, bool], number: int, fault: str) -> tuple[int, bool]:
    """Write run 2 in a process that breaks; give its status, and whether the call was reached."""
    reading, report = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            break_at(number, fault, report)
            write(run, "2", **options)
        except OutputError as error:
            assert "\n" not in str(error)
            os._exit(FAILED)
        except BaseException as error:
            print(f"call {number}: {type(error).__name__}: {error}", flush=True)
            os._exit(70)
        os._exit(0)
    os.close(report)
    struck = bool(os.read(reading, 1))
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), struck


def contents(run: Path) -> dict[str, str]:
    """What is there, but for a user's own and the record."""
    return {
        name: path.read_text()
        for path in sorted(run.rglob("*"))
        if path.is_file() and (name := path.relative_to(run).as_posix()) not in MINE and path.name != "SHA256SUMS"
    }


def go_on(run: Path, *, overwrite: bool, older: bool) -> str:
    """Start again, and tell what was there then: the old or the new, whole."""
    try:
        with staged_folder(run, kind=RUN, overwrite=overwrite, resumable=unfinished):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert overwrite or not contents(run), "what is there was taken for a free place"
    except OutputError as error:
        assert "empty" in str(error) or "is unfinished" in str(error), str(error)
    found = contents(run) if run.is_dir() else {}
    found.pop(".onnx.lock", None)  # of a killed process
    older_export = {"onnx/model": "1", "onnx/README.md": "1"}
    for state, expected in {"new": written("2"), "old": written("1"), "nothing": {}}.items():
        if found in (expected, {**expected, **older_export} if state == "old" else None):
            break
    else:
        raise AssertionError(f"neither the old nor the new: {found}")
    assert older or state != "old"
    assert not older or state != "nothing"
    return state


def strays(folder: Path) -> list[str]:
    """Name what is hidden beside the run or in it."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*")]


def main(scenario: str, fault: str, folder: Path) -> None:
    """Break every call once."""
    os.fsync = lambda descriptor: (
        None
    )  # a process that is killed loses nothing that it wrote: no need to wait for disks
    prepare, options = SCENARIOS[scenario]
    struck, counts = True, {"struck": 0, "new": 0, "old": 0, "nothing": 0}
    number = 0
    while struck:
        number += 1
        home = folder / str(number)
        home.mkdir()
        run = home / "run"
        prepare(run)
        older = scenario not in ("new", "empty")
        status, struck = attempt(run, options, number, fault)
        where = f"{scenario}, {fault}, call {number}"
        assert status in ((0, FAILED) if FAULTS[fault] else (0, KILLED)), f"{where}: status {status}"
        assert struck or status == 0, where
        try:
            if older:
                check_mine(run)
            state = go_on(run, overwrite=older and number % 2 == 0, older=older)
            if status == 0:
                assert state == "new", f"said to be written, and {state} is there"
            if older:
                check_mine(run)
            if state != "new":
                write(run, "2", **{**options, "resume": bool(unfinished(staging_of(run)))})
            elif older:  # an overwrite after it has all it needs
                write(run, "3", overwrite=True)
                write(run, "2", overwrite=True)
            assert contents(run) == written("2"), contents(run)
            if older:
                check_mine(run)
            assert not strays(home), strays(home)
        except BaseException as error:
            raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
        counts["struck"] += struck
        counts[state] += 1
        shutil.rmtree(home)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
