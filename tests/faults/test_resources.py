"""Full disks, read-only and vanishing folders, no memory, no descriptors, a clock that jumps: in every job."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.commands import Commands, Fault, check_ending
from tests.faults.jobs import Job, break_job, check_foreign, check_result, end_job, foreign_files, prove_nothing_lost
from tests.faults.ledger import Ledger, LostError

JOBS = ["csv", "jsonl.gz", "parquet", "csv over", "train", "train over", "export", "export over"]
# How many of each kind are tried on a job by default: what takes long is tried less often.
USUAL = {
    "csv": 4,
    "jsonl.gz": 2,
    "parquet": 3,
    "csv over": 2,
    "train": 2,
    "train over": 1,
    "export": 1,
    "export over": 1,
}
MIB, BLOCK = 2**20, 4096
# Of one step each; the disk stays as it is from the step on.
ERRORS = (
    ("error", errno.EIO, False), ("error", errno.EACCES, False), ("error", errno.EMFILE, False),
    ("full", errno.ENOSPC, True), ("full", errno.ENOSPC, False), ("frozen", errno.EROFS, True),
)  # fmt: skip


@pytest.fixture(params=JOBS)
def broken(request: pytest.FixtureRequest, job: Callable[[str], Job]) -> Job:
    """Each job in turn."""
    return job(request.param)


@pytest.fixture
def usual(broken: Job, ledger: Ledger) -> int:
    """How many faults of a kind are tried on it."""
    name = broken.name.removeprefix("predict to ").replace("--overwrite", "over").replace("predict", "csv")
    return ledger.count(USUAL[name])


def test_errors_of_the_file_system(
    broken: Job, usual: int, new_folder: Callable[[], Path], base: Path, ledger: Ledger
) -> None:
    chance = ledger.chance(f"errors in {broken}")
    faults = [
        Fault(kind=kind, value=number, lasting=lasting, step=chance.randint(1, broken.steps))
        for kind, number, lasting in ERRORS
        for _ in range(max(1, usual // 2))
    ]
    ledger.try_each(faults, lambda fault: prove_nothing_lost(broken, new_folder(), fault, base))


def test_files_that_may_not_grow(
    broken: Job, usual: int, new_folder: Callable[[], Path], base: Path, ledger: Ledger
) -> None:
    chance = ledger.chance(f"file sizes of {broken}")
    largest = max(path.stat().st_size for path in broken.kept.parent.rglob("*") if path.is_file())
    faults = [Fault(limits={"FSIZE": max(4096, round(largest * chance.random()))}) for _ in range(usual)]
    ledger.try_each(faults, lambda fault: prove_nothing_lost(broken, new_folder(), fault, base))


def blocks(path: Path) -> int:
    """Give the bytes that a file or a folder takes on a disk."""
    return sum(-(-one.lstat().st_size // BLOCK) * BLOCK for one in (path, *path.rglob("*")))


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Callable[[], None]]:
    """Mount a file system of some size, and give a way to make it larger. Needs root."""
    mount = ["mount", "-t", "tmpfs", "-o"]
    subprocess.run([*mount, f"size={size_bytes}", "none", folder], check=True, capture_output=True)
    try:
        yield (
            lambda: (
                subprocess.run([*mount, "remount,size=1g", "none", folder], check=True, capture_output=True) and None
            )
        )
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)


def test_full_disks(broken: Job, usual: int, new_folder: Callable[[], Path], base: Path, ledger: Ledger) -> None:
    try:
        with small_disk(new_folder(), 2**16):
            pass
    except (OSError, subprocess.CalledProcessError):
        # Not root: files that may not grow stand for it above.
        return
    chance = ledger.chance(f"disks of {broken}")
    before = blocks(broken.earlier) if broken.earlier else 0
    whole = blocks(broken.kept.parent)
    sizes = [2**16 + 2 * before + round(chance.uniform(0, 1.5) * whole) for _ in range(usual)]

    def attempt(size_bytes: int) -> None:
        with small_disk(disk := new_folder(), size_bytes) as enlarge:
            (disk / "job").mkdir()
            break_job(broken, disk / "job", Fault(), base)
            enlarge()
            end_job(broken, disk / "job", base)

    ledger.try_each(sizes, attempt)


def test_folders_that_are_moved_away(
    broken: Job, usual: int, new_folder: Callable[[], Path], base: Path, ledger: Ledger
) -> None:
    chance = ledger.chance(f"moved folders of {broken}")

    def attempt(step: int) -> None:
        folder = new_folder() / "job"
        folder.mkdir()
        foreign_files(folder)
        fault = Fault(kind="move", value=str(folder), step=step)
        outcome = broken.commands.run(*broken.begin(folder), fault=fault, under=base)
        places = [place for place in (folder, folder.with_name("job.moved")) if place.exists()]
        whole = any(check_result(broken, place) for place in places)
        check_ending(outcome, usual=broken.usual, over=whole)
        if outcome.status == 0 and not whole:
            raise LostError("success, and no result")
        check_foreign(places[-1])

    ledger.try_each([chance.randint(1, broken.steps) for _ in range(usual)], attempt)


def test_unfinished_results_that_vanish(
    broken: Job, usual: int, new_folder: Callable[[], Path], base: Path, ledger: Ledger
) -> None:
    """What is gone can't be gone on with: then it says so, and a new beginning ends as any."""
    chance = ledger.chance(f"vanishing staging of {broken}")
    name = f".{broken.result}.partial" if broken.kept.is_dir() else f"{broken.result}.part"

    def attempt(step: int) -> None:
        folder = new_folder()
        break_job(broken, folder, Fault(kind="vanish", value=str(folder / name), step=step), base)
        outcome = broken.commands.run(*broken.go_on(folder), under=base)
        check_ending(outcome, usual=broken.usual)
        if not check_result(broken, folder):
            assert outcome.status == 1, outcome.stderr
            outcome = broken.commands.run(*again(broken, folder), under=base)
            check_ending(outcome, usual=broken.usual)
            if not check_result(broken, folder):
                raise LostError(f"no result: {outcome.stderr}")
        check_foreign(folder)

    ledger.try_each([chance.randint(1, broken.steps) for _ in range(usual)], attempt)


def again(job: Job, folder: Path) -> list[str | Path]:
    """Give the command that begins a job anew."""
    return job.go_on(folder) if job.earlier else [*job.begin(folder), "--overwrite"]


def test_folders_that_may_not_be_written(
    broken: Job, usual: int, new_folder: Callable[[], Path], base: Path, ledger: Ledger
) -> None:
    chance = ledger.chance(f"read-only folders of {broken}")

    def attempt(step: int) -> None:
        folder = new_folder()
        fault = Fault(kind="read-only", value=str(folder), step=step, powerless=True)
        try:
            break_job(broken, folder, fault, base)
        finally:
            folder.chmod(0o755)
        end_job(broken, folder, base)

    ledger.try_each([1, *(chance.randint(1, broken.steps) for _ in range(usual - 1))], attempt)


def test_too_little_memory(broken: Job, usual: int, new_folder: Callable[[], Path], base: Path, ledger: Ledger) -> None:
    chance = ledger.chance(f"memory of {broken}")
    faults = [Fault(limits={"AS": round(2 ** chance.uniform(0, 9) * MIB)}) for _ in range(usual)]
    ledger.try_each(faults, lambda fault: prove_nothing_lost(broken, new_folder(), fault, base))


def test_few_descriptors(broken: Job, usual: int, new_folder: Callable[[], Path], base: Path, ledger: Ledger) -> None:
    faults = [Fault(limits={"NOFILE": free}) for free in range(usual)]
    ledger.try_each(faults, lambda fault: prove_nothing_lost(broken, new_folder(), fault, base))


def test_a_clock_that_jumps(
    broken: Job, usual: int, new_folder: Callable[[], Path], base: Path, ledger: Ledger
) -> None:
    def attempt(seed: int) -> None:
        folder = new_folder()
        outcome = break_job(broken, folder, Fault(kind="clock", seed=seed), base)
        assert outcome.status == 0, outcome.stderr
        if not check_result(broken, folder):
            raise LostError("no result")
        check_foreign(folder)
        shutil.rmtree(folder)

    ledger.try_each(range(max(1, usual // 3)), attempt)


@pytest.mark.parametrize("command", ["predict", "inspect", "verify", "doctor", "evaluate"])
def test_answers_with_too_little(
    command: str, light: Commands, heavy: Commands, tiny_export: Path, reviews: Path, base: Path, ledger: Ledger
) -> None:
    """Little memory and few descriptors: the usual answer or none, and a line that says why."""
    commands = heavy if command == "evaluate" else light
    arguments = [command, *([] if command == "doctor" else ["--onnx", str(tiny_export)])]
    arguments += {"predict": ["The movie was great!"], "evaluate": ["--data", str(reviews)]}.get(command, [])
    usual = commands.run(*arguments)
    assert usual.status == 0, usual.stderr
    chance = ledger.chance(f"too little for {command}")
    count = ledger.count(8)
    faults = [Fault(limits={"AS": round(2 ** chance.uniform(0, 8) * MIB)}) for _ in range(count)]
    faults += [Fault(limits={"NOFILE": free}) for free in range(min(count, 12))]
    watched = commands.run(*arguments, under=base)
    faults += [
        Fault(kind="error", value=chance.choice([errno.EIO, errno.EACCES, errno.EMFILE]), step=step + 1)
        for step in range(min(count, watched.steps))
    ]

    def attempt(fault: Fault) -> None:
        outcome = commands.run(*arguments, fault=fault, under=base)
        check_ending(outcome, usual=usual)
        if outcome.status == 0 and outcome.stdout != usual.stdout and command != "doctor":
            raise LostError(f"answered {outcome.stdout!r}")

    ledger.try_each(faults, attempt)


def test_a_working_directory_that_is_gone(tmp_path: Path, tiny_export: Path, ledger: Ledger) -> None:
    start = "import ftx.__main__; ftx.__main__.main()"

    def attempt(arguments: list[str]) -> None:
        folder = tmp_path / "gone"
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", f"import os; os.rmdir({str(folder)!r}); {start}", *arguments],
            cwd=folder, capture_output=True, check=False, text=True,
        )  # fmt: skip
        assert done.returncode in (0, 1, 2), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0 or "Error" in done.stderr, done.stderr

    model = str(tiny_export)
    ledger.try_each(
        [
            ["predict", "--onnx", model, "text"], ["predict", "--onnx", "model.onnx", "text"],
            ["inspect", "--onnx", "."], ["doctor"], ["--version"],
            ["predict", "--onnx", model, "--input", "x.csv", "--output", "y.csv"],
            ["predict", "--onnx", model, "--input", os.devnull, "--input-format", "txt", "--output", "y.csv"],
        ],
        attempt, workers=1,
    )  # fmt: skip
