"""What an output folder takes, keeps, refuses and says."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ftx.errors import OutputError
from ftx.locking import locked_place
from ftx.output import FinishedError, Kind, staged_folder
from ftx.output.place import beside
from ftx.output.publishing import REPLACED, publish
from ftx.output.record import read_record, write_record

EXPORT = Kind(what="export", owned=frozenset({"model", "README.md", "mark"}), mark="mark")
KIND = Kind(
    what="run",
    owned=frozenset({"result", "checkpoint/*.bin"}),
    mark="result",
    scratch="trainer",
    inner={"onnx": EXPORT},
)


def write(target: Path, text: str, *, overwrite: bool = False, extra: str | None = None, resume: bool = False) -> None:
    """A run: `result`, `checkpoint/model.bin`, and perhaps one more file."""
    with staged_folder(
        target,
        kind=KIND,
        overwrite=overwrite,
        resume=resume,
        resumable=lambda path: "1 steps" * (path / "trainer").is_dir(),
    ) as staging:
        (staging / "result").write_text(text)
        (staging / "checkpoint").mkdir(exist_ok=True)
        (staging / "checkpoint/model.bin").write_text(text)
        if extra:
            (staging / extra).write_text(text)


def export(target: Path, text: str, *, overwrite: bool = False) -> None:
    with staged_folder(target, kind=EXPORT, overwrite=overwrite) as staging:
        for name in ("model", "README.md", "mark"):
            (staging / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    """What is in a folder and below it, but for records and links."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name != "SHA256SUMS"
    }


def run_of(text: str) -> dict[str, str]:
    return {"result": text, "checkpoint/model.bin": text}


def test_a_new_folder_and_its_parents_appear_when_the_block_ends(tmp_path: Path) -> None:
    write(tmp_path / "a/b", "1")
    assert contents(tmp_path / "a") == {f"b/{name}": text for name, text in run_of("1").items()}


def test_the_record_is_what_sha256sum_checks(tmp_path: Path) -> None:
    write(tmp_path / "run", "1")
    assert set(read_record(tmp_path / "run/SHA256SUMS")) == {"result", "checkpoint/model.bin"}
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "run", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), staged_folder(tmp_path / "run", kind=KIND, overwrite=False) as staging:
        (staging / "half").write_text("x")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_content_is_kept_without_overwrite(tmp_path: Path) -> None:
    write(tmp_path / "run", "1")
    with pytest.raises(OutputError, match="--overwrite"):
        write(tmp_path / "run", "2")
    assert contents(tmp_path / "run") == run_of("1")


def test_an_empty_folder_is_free_and_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    write(tmp_path / "run", "1")
    assert contents(tmp_path / "run") == run_of("1")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_overwrite_replaces_what_ftx_wrote_and_keeps_the_rest(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, "1", extra="older_part")
    run.chmod(0o700)
    (run / "checkpoint").chmod(0o750)
    mine = {"notes.txt": "mine", "checkpoint/notes.txt": "mine", "bench/bench.json": "mine", "a/b/c/d": "mine"}
    for name, text in mine.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(text)
        (run / name).chmod(0o400)
    (run / "a/b").chmod(0o500)
    (run / "nowhere").symlink_to("gone")
    (run / "data").symlink_to(tmp_path)
    (run / "empty").mkdir()
    os.mkfifo(run / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(run / "socket"))
        write(run, "2", overwrite=True)
    assert contents(run) == {**run_of("2"), **mine}
    assert ((run / "nowhere").readlink(), (run / "data").readlink()) == (Path("gone"), tmp_path)
    assert {path.name for path in run.iterdir()} >= {"nowhere", "data", "empty", "pipe", "socket"}
    assert [oct(path.stat().st_mode & 0o777) for path in (run, run / "checkpoint", run / "a/b", run / "notes.txt")] == [
        "0o700", "0o750", "0o500", "0o400",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("prepared", "named"),
    [
        (["result"], "result"),
        (["checkpoint/model.bin"], "checkpoint/model.bin"),
        (["checkpoint"], "checkpoint"),
        (["SHA256SUMS"], "SHA256SUMS"),
        (["result", "checkpoint/a.bin", "checkpoint/b.bin", "SHA256SUMS"], r"SHA256SUMS, .*, checkpoint/b.bin and 1 m"),
    ],
)
def test_overwriting_what_ftx_did_not_make_refuses_before_any_work_and_names_it(
    tmp_path: Path, prepared: list[str], named: str
) -> None:
    for name in prepared:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("mine")
    before = contents(tmp_path)
    words = rf"holds {named}.*changed since: move it away, or choose another --output"
    with pytest.raises(OutputError, match=words), staged_folder(tmp_path / "run", kind=KIND, overwrite=True):
        raise AssertionError("work was begun")
    assert contents(tmp_path) == before
    assert (tmp_path / "run/SHA256SUMS").exists() == ("SHA256SUMS" in prepared)


def test_a_folder_that_ftx_did_not_make_keeps_everything(tmp_path: Path) -> None:
    (tmp_path / "run/checkpoint").mkdir(parents=True)
    mine = {"notes.txt": "mine", "checkpoint/weights.pt": "mine"}
    for name, text in mine.items():
        (tmp_path / "run" / name).write_text(text)
    write(tmp_path / "run", "1", overwrite=True)
    assert contents(tmp_path / "run") == {**run_of("1"), **mine}
    write(tmp_path / "run", "2", overwrite=True)
    assert contents(tmp_path / "run") == {**run_of("2"), **mine}


@pytest.mark.parametrize("records", ["{digest}  result\n{digest}  data.csv\n", "{digest}  data.csv\n"])
def test_a_list_of_digests_that_is_somebody_elses_makes_nothing_ours(tmp_path: Path, records: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/data.csv").write_text("mine")
    listed = records.format(digest=hashlib.sha256(b"mine").hexdigest())
    if "result" in listed:  # made by `sha256sum * > SHA256SUMS` over a run and the user's own file
        (tmp_path / "run/result").write_text("mine")
        listed += f"{hashlib.sha256(b'').hexdigest()}  SHA256SUMS\n"
    (tmp_path / "run/SHA256SUMS").write_text(listed)
    with pytest.raises(OutputError, match="SHA256SUMS"):
        write(tmp_path / "run", "1", overwrite=True)
    assert (tmp_path / "run/data.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["../outside", "/{folder}/outside"])
def test_a_record_reaches_nothing_outside_its_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "run", "1")
    (tmp_path / "outside").write_text("mine")
    line = f"{hashlib.sha256(b'mine').hexdigest()}  {name.format(folder=tmp_path)}\n"
    with (tmp_path / "run/SHA256SUMS").open("a") as file:
        file.write(line)
    with pytest.raises(OutputError, match="changed since"):
        write(tmp_path / "run", "2", overwrite=True)
    assert (tmp_path / "outside").read_text() == "mine"


@pytest.mark.parametrize("name", ["result", "checkpoint/model.bin"])
def test_what_was_changed_since_is_the_users_own(tmp_path: Path, name: str) -> None:
    write(tmp_path / "run", "1")
    (tmp_path / "run" / name).write_text("changed")
    with pytest.raises(OutputError, match=f"holds {name}, which is not ftx's, or was changed since"):
        write(tmp_path / "run", "2", overwrite=True)
    assert contents(tmp_path / "run") == {**run_of("1"), name: "changed"}
    (tmp_path / "run" / name).rename(tmp_path / "saved")
    write(tmp_path / "run", "2", overwrite=True)
    assert contents(tmp_path / "run") == run_of("2")


def test_what_is_reached_by_a_link_is_the_users_own(tmp_path: Path) -> None:
    write(tmp_path / "run", "1")
    (tmp_path / "run/checkpoint").rename(tmp_path / "elsewhere")
    (tmp_path / "run/checkpoint").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="holds checkpoint"):
        write(tmp_path / "run", "2", overwrite=True)
    assert contents(tmp_path / "elsewhere") == {"model.bin": "1"}


def test_what_is_changed_while_the_work_goes_on_is_kept_and_so_is_the_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, staging = tmp_path / "run", beside(tmp_path / "run", "partial")
    write(run, "1")
    with (
        pytest.raises(OutputError, match=r"holds result, .*: move it away and run the command again; .*\.run\.partial"),
        staged_folder(run, kind=KIND, overwrite=True) as folder,
    ):
        (folder / "result").write_text("2")
        (run / "result").write_text("changed")
    assert contents(run) == {**run_of("1"), "result": "changed"}
    assert contents(staging)["result"] == "2"
    (run / "result").rename(tmp_path / "saved")
    with pytest.raises(OutputError, match="is not empty"):  # by now
        write(run, "3")
    assert contents(run) == {"result": "2"}
    assert "finished by an earlier command" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "saved"]


@pytest.mark.parametrize("found", ["a folder", "an empty folder"])
def test_a_place_that_was_free_and_is_taken_when_the_work_is_done(tmp_path: Path, found: str) -> None:
    run, staging = tmp_path / "run", beside(tmp_path / "run", "partial")

    def work() -> None:
        with staged_folder(run, kind=KIND, overwrite=False) as folder:
            (folder / "result").write_text("1")
            run.mkdir()
            if found == "a folder":
                (run / "mine").write_text("mine")

    if found == "an empty folder":
        work()
        assert contents(run) == {"result": "1"}
        return
    with pytest.raises(OutputError, match="is no longer empty"):
        work()
    assert contents(run) == {"mine": "mine"}
    assert contents(staging) == {"result": "1"}
    with pytest.raises(OutputError, match="is no longer empty"):
        write(run, "2")
    with pytest.raises(RuntimeError), staged_folder(run, kind=KIND, overwrite=True):
        raise RuntimeError  # what the earlier command had finished is put into its place first
    assert contents(run) == {"mine": "mine", "result": "1"}


def test_a_failed_overwrite_keeps_the_old(tmp_path: Path) -> None:
    write(tmp_path / "run", "1")
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "run", kind=KIND, overwrite=True):
        raise RuntimeError
    assert contents(tmp_path) == {f"run/{name}": text for name, text in run_of("1").items()}


class TestInnerFolders:
    """`ftx train --overwrite` on a run that was exported."""

    def test_an_export_of_an_older_checkpoint_goes_and_what_is_not_its_own_stays(self, tmp_path: Path) -> None:
        write(tmp_path / "run", "1")
        export(tmp_path / "run/onnx", "1")
        (tmp_path / "run/onnx/notes.txt").write_text("mine")
        write(tmp_path / "run", "2", overwrite=True)
        assert contents(tmp_path / "run") == {**run_of("2"), "onnx/notes.txt": "mine"}
        assert not (tmp_path / "run/onnx/SHA256SUMS").exists()
        (tmp_path / "run/onnx/notes.txt").unlink()
        export(tmp_path / "run/onnx", "2")
        write(tmp_path / "run", "3", overwrite=True)
        assert not (tmp_path / "run/onnx").exists()

    def test_a_changed_file_of_it_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "run", "1")
        export(tmp_path / "run/onnx", "1")
        (tmp_path / "run/onnx/README.md").write_text("changed")
        with pytest.raises(OutputError, match=r"holds onnx/README\.md, which"):
            write(tmp_path / "run", "2", overwrite=True)
        assert contents(tmp_path / "run/onnx")["README.md"] == "changed"

    def test_a_folder_of_that_name_which_is_no_export_stays(self, tmp_path: Path) -> None:
        write(tmp_path / "run", "1")
        (tmp_path / "run/onnx").mkdir()
        (tmp_path / "run/onnx/model").write_text("mine")
        write(tmp_path / "run", "2", overwrite=True)
        assert contents(tmp_path / "run") == {**run_of("2"), "onnx/model": "mine"}

    def test_a_link_to_an_export_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "run", "1")
        export(tmp_path / "elsewhere", "1")
        (tmp_path / "run/onnx").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OutputError, match="holds onnx/"):
            write(tmp_path / "run", "2", overwrite=True)
        assert len(contents(tmp_path / "elsewhere")) == 3

    def test_neither_begins_while_the_other_goes_on(self, tmp_path: Path) -> None:
        write(tmp_path / "run", "1")
        export(tmp_path / "run/onnx", "1")
        with (
            staged_folder(tmp_path / "run", kind=KIND, overwrite=True) as staging,
            pytest.raises(OutputError, match="onnx is being written by another process"),
        ):
            (staging / "result").write_text("2")
            export(tmp_path / "run/onnx", "2", overwrite=True)
        assert contents(tmp_path / "run") == {"result": "2"}
        with (
            staged_folder(tmp_path / "run/onnx", kind=EXPORT, overwrite=True) as staging,
            pytest.raises(OutputError, match="onnx is being written by another process"),
        ):
            (staging / "model").write_text("3")
            write(tmp_path / "run", "3", overwrite=True)
        assert contents(tmp_path / "run") == {"result": "2", "onnx/model": "3"}

    def test_what_a_killed_export_left_is_cleared(self, tmp_path: Path) -> None:
        write(tmp_path / "run", "1")
        (tmp_path / "run/.onnx.partial").mkdir()
        (tmp_path / "run/.onnx.lock").touch()
        write(tmp_path / "run", "2", overwrite=True)
        assert {path.name for path in (tmp_path / "run").iterdir()} == {"result", "checkpoint", "SHA256SUMS"}


class TestLocks:
    def test_a_second_process_gets_one_clear_line(self, tmp_path: Path) -> None:
        program = (
            "import sys\nfrom tests.ftx.test_output import *\n"
            f"with staged_folder(Path({str(tmp_path / 'run')!r}), kind=KIND, overwrite=False) as staging:\n"
            "    print('in', flush=True); sys.stdin.read(); (staging / 'result').write_text('first')\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as first:
            assert first.stdin and first.stdout
            assert first.stdout.readline() == "in\n"
            for options in ({}, {"overwrite": True}, {"resume": True}):
                with pytest.raises(
                    OutputError, match=rf"is being written by another process \(pid {first.pid}\): wait"
                ):
                    write(tmp_path / "run", "second", **options)
            first.stdin.close()
            assert first.wait(120) == 0
        assert contents(tmp_path) == {"run/result": "first"}

    def test_a_killed_holder_leaves_no_lock(self, tmp_path: Path) -> None:
        program = (
            "import os, signal\nfrom tests.ftx.test_output import *\n"
            f"with staged_folder(Path({str(tmp_path / 'run')!r}), kind=KIND, overwrite=False) as staging:\n"
            "    (staging / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], check=False, timeout=120)
        assert done.returncode == -9
        assert sorted(path.name for path in tmp_path.iterdir()) == [".run.lock", ".run.partial"]
        write(tmp_path / "run", "1")
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_a_file_of_that_name_which_is_no_lock_stays(self, tmp_path: Path) -> None:
        (tmp_path / ".run.lock").write_text("packages that are mine")
        with pytest.raises(OutputError, match=r"\.run\.lock exists and is not ftx's lock"):
            write(tmp_path / "run", "1")
        assert contents(tmp_path) == {".run.lock": "packages that are mine"}

    def test_a_lock_that_was_removed_meanwhile_is_taken_anew(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from ftx import locking

        plain, taken = locking.try_lock, []

        def late(descriptor: int) -> bool:
            if not taken:  # its holder ends between our opening and our locking
                (tmp_path / "lock").unlink()
            taken.append(descriptor)
            return plain(descriptor)

        monkeypatch.setattr(locking, "try_lock", late)
        with locked_place(tmp_path / "lock", tmp_path), pytest.raises(OutputError, match="another process"):
            assert len(taken) == 2
            with locked_place(tmp_path / "lock", tmp_path):
                raise AssertionError("locked twice")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("reason", [errno.ENOLCK, errno.ENOTSUP])
    def test_a_file_system_without_locks_is_written_to(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
    ) -> None:
        import fcntl

        def unable(*arguments: object) -> None:
            raise OSError(reason, os.strerror(reason))

        monkeypatch.setattr(fcntl, "flock", unable)
        write(tmp_path / "run", "1")
        assert contents(tmp_path / "run") == run_of("1")


class TestResuming:
    def test_steps_are_kept_until_told_otherwise(self, tmp_path: Path) -> None:
        def begun(**options: bool) -> None:
            with staged_folder(
                tmp_path / "run", kind=KIND, resumable=lambda path: "7 steps" * (path / "trainer").is_dir(), **options
            ) as staging:
                (staging / "trainer").mkdir()
                raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.raises(
            OutputError, match="No space left on device; free some space and continue with --resume: 7 steps are"
        ):
            begun(overwrite=False)
        with pytest.raises(OutputError, match="is unfinished, with"):
            write(tmp_path / "run", "1")
        write(tmp_path / "run", "1", resume=True)
        assert contents(tmp_path) == {f"run/{name}": text for name, text in run_of("1").items()}

    def test_what_is_finished_says_so(self, tmp_path: Path) -> None:
        write(tmp_path / "run", "1")
        with pytest.raises(FinishedError, match="is finished"):
            write(tmp_path / "run", "2", resume=True)
        write(tmp_path / "run", "2", resume=True, overwrite=True)
        assert contents(tmp_path / "run") == run_of("2")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/notes.txt").write_text("mine")
        with pytest.raises(OutputError, match="is not empty"):
            write(tmp_path / "mine", "2", resume=True)


class TestPlaces:
    """A place that can't be written is found out before any work, in one line."""

    def refused(self, target: Path, words: str) -> None:
        with pytest.raises(OutputError, match=words) as caught, staged_folder(target, kind=KIND, overwrite=True):
            raise AssertionError("work was begun")
        assert "\n" not in str(caught.value)

    def test_no_place_for_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "file.link").symlink_to(tmp_path / "file")
        (tmp_path / "one").symlink_to(tmp_path / "two")
        (tmp_path / "two").symlink_to(tmp_path / "one")
        (tmp_path / "dangling").symlink_to(tmp_path / "not/mounted/run")
        os.mkfifo(tmp_path / "pipe")
        self.refused(Path("/"), "is the root of a file system; expected the name of a folder for the run")
        self.refused(tmp_path / "file", "is a file; expected a folder")
        self.refused(tmp_path / "file.link", "is a file; expected a folder")
        self.refused(tmp_path / "pipe", "is a file; expected a folder")
        self.refused(tmp_path / "file/run", "Not a directory; check the folders of its path")
        self.refused(tmp_path / "one", "Too many levels of symbolic links")
        self.refused(tmp_path / "one/run", "Too many levels of symbolic links")
        self.refused(tmp_path / ("x" * 300), "File name too long; choose a shorter name")
        self.refused(tmp_path / ("x" * 250), "File name too long; choose a shorter name")
        self.refused(tmp_path / "dangling", "is a link to .*/not/mounted/run, and there is no folder")
        self.refused(tmp_path / ".run.partial", "a name that ftx uses itself")
        (tmp_path / "stand").mkdir()
        monkeypatch.chdir(tmp_path / "stand")
        for stood_in in (Path(), tmp_path, tmp_path / "stand"):
            self.refused(stood_in, "is or contains the working directory")
        (tmp_path / "stand").rmdir()
        self.refused(Path("run"), "can't be written: No such file or directory")
        write(tmp_path / "run", "1")  # by its whole path
        assert contents(tmp_path / "run") == run_of("1")

    @pytest.mark.skipif(sys.platform != "linux", reason="/proc is a mount point of Linux")
    def test_a_mount_point(self) -> None:
        self.refused(Path("/proc"), "is a mount point.*: choose a folder in it, such as /proc/run")

    def test_a_folder_that_is_mounted_once_more(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from ftx.output import place

        (tmp_path / "a b").mkdir()
        escaped = str(tmp_path / "a b").replace(" ", "\\040")
        (tmp_path / "mountinfo").write_text(f"36 35 98:0 /mnt1 {escaped} rw - ext3 /dev/root rw\n")
        monkeypatch.setattr(place, "MOUNTS", tmp_path / "mountinfo")
        self.refused(tmp_path / "a b", "is a mount point")

    def test_a_place_that_may_not_be_written(self, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            place = Path("/proc/ftx/run")  # root may write anywhere else
        else:
            (tmp_path / "locked").mkdir(mode=0o500)
            place = tmp_path / "locked/run"
        self.refused(place, "can't be written: .*; (make .* writable|check the folders)")

    def test_a_folder_of_the_run_in_which_nothing_can_be_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path / "run", "1")
        allowed = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "checkpoint" and allowed(path, mode))
        self.refused(tmp_path / "run", "checkpoint is not writable, so that nothing in it can be replaced")
        assert contents(tmp_path / "run") == run_of("1")


class TestLinks:
    @pytest.mark.parametrize("there", ["a run", "nothing", "an empty folder"])
    def test_a_link_stays_a_link(self, tmp_path: Path, there: str) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "home").mkdir()
        link, real = tmp_path / "home/run", tmp_path / "disk/run"
        link.symlink_to(real)
        if there == "a run":
            write(real, "1")
        elif there == "an empty folder":
            real.mkdir()
        with staged_folder(link, kind=KIND, overwrite=True) as staging:
            assert staging.parent == real.parent
            (staging / "result").write_text("2")
            with pytest.raises(OutputError, match="another process"):
                write(real, "3", overwrite=True)  # one place, one lock
        assert link.readlink() == real
        assert contents(real) == {"result": "2"}
        assert [path.name for path in (*(tmp_path / "disk").iterdir(), *(tmp_path / "home").iterdir())] == [
            "run",
            "run",
        ]

    def test_a_link_to_a_folder_on_another_disk(self, tmp_path: Path) -> None:
        shared = Path("/dev/shm")
        if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system here")
        with tempfile.TemporaryDirectory(dir=shared) as disk:
            for name, prepare in (("there", True), ("missing", False)):
                if prepare:
                    (Path(disk) / name).mkdir()
                (tmp_path / name).symlink_to(Path(disk) / name)
                write(tmp_path / name, "1")
                write(tmp_path / name, "2", overwrite=True)
                assert (tmp_path / name).is_symlink()
                assert contents(Path(disk) / name) == run_of("2")
            assert sorted(path.name for path in Path(disk).iterdir()) == ["missing", "there"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["missing", "there"]


def test_an_overwrite_that_an_earlier_version_was_killed_in_is_undone(tmp_path: Path) -> None:
    write(tmp_path / "run", "1")
    (tmp_path / "run").rename(beside(tmp_path / "run", "old"))
    with pytest.raises(OutputError, match="--overwrite"):
        write(tmp_path / "run", "2")
    assert contents(tmp_path / "run") == run_of("1")


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    left = beside(tmp_path / "run", "partial")
    left.mkdir()
    (left / "half").write_text("x")
    write(tmp_path / "run", "1")
    assert contents(tmp_path) == {f"run/{name}": text for name, text in run_of("1").items()}


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with (
        pytest.raises(OutputError, match="No space left on device; free some space, or choose another --output"),
        staged_folder(tmp_path / "run", kind=KIND, overwrite=False),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x" * 100_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        Exception("No space left on device (os error 28)"),  # tokenizers
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        RuntimeError("[enforce fail at inline_container.cc:783] . unexpected pos 384 vs 290"),
        RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Save model failed: system error number 28"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
    ],
    ids=str,
)
def test_a_full_disk_is_one_however_a_library_says_it(tmp_path: Path, error: Exception) -> None:
    words = "can't be written: .*; (free some space|raise the limit on the size of files)"
    with pytest.raises(OutputError, match=words), staged_folder(tmp_path / "run", kind=KIND, overwrite=False):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_other_failures_of_the_work_stay_what_they_are(tmp_path: Path) -> None:
    for error in (
        FileNotFoundError(2, "No such file", "/data.csv"),
        ConnectionError("hub"),
        ValueError("No space left"),
    ):
        with pytest.raises(type(error)), staged_folder(tmp_path / "run", kind=KIND, overwrite=False):
            raise error
    with (
        pytest.raises(OutputError, match="No such file"),
        staged_folder(tmp_path / "run", kind=KIND, overwrite=False) as staging,
    ):
        staging.rmdir()
        (staging / "result").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_staging_folder_that_another_took_the_place_of_is_not_published(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with (
        pytest.raises(OutputError, match="was removed by another program: start over with --overwrite"),
        staged_folder(target, kind=KIND, overwrite=False) as staging,
    ):
        (staging / "checkpoint").mkdir()
        (staging / "checkpoint/model.bin").write_text("first half")
        shutil.rmtree(staging)
        staging.mkdir()  # as libraries do that write into it
        (staging / "result").write_text("second half")
    assert not target.exists()
    write(target, "whole")
    assert contents(target) == run_of("whole")


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_staging_folder_that_vanishes_leaves_nothing_without_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    staging, target = tmp_path / ".out.partial", tmp_path / "out"
    staging.mkdir()
    target.mkdir()
    (target / "mine").write_text("mine")
    for name in ("a", "b"):
        (staging / name).write_text(name)
    write_record(staging, "SHA256SUMS")
    (staging / REPLACED).write_text("")
    rename = Path.rename
    done: list[Path] = []

    def vanish(path: Path, to: Path) -> Path:
        if len(done) == moved:
            shutil.rmtree(staging)
        done.append(path)
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", vanish)
    with pytest.raises(FileNotFoundError):
        publish(staging, target)
    assert [path.name for path in target.iterdir()] == ["mine"]
