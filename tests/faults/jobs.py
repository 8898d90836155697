"""The jobs that faults are tried on, what each makes when nothing happens to it, and what must hold after a fault."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet

from tests.faults.commands import Commands, Fault, Outcome, check_ending
from tests.faults.ledger import LostError

__all__ = ["Job", "break_job", "export_job", "file_job", "overwriting", "prove_nothing_lost", "train_job"]

# What ends after an export or a training is the same whenever it ran; the rest tells of times.
SAME = {".onnx", ".safetensors", ".txt", "tokenizer.json", "config.json", "tokenizer_config.json", "eval.jsonl"}
# What lies beside a result: nobody's business but the user's.
FOREIGN = {"notes/todo.txt": "keep this", ".hidden": "and this"}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command that makes something in a folder.

    Attributes:
        name: What it is.
        commands: What runs it.
        begin: Gives the command, by folder.
        go_on: Gives the command that ends it after a fault, by folder.
        result: The name of what it makes.
        contents: Gives what must be the same whatever happened in between, by the result's path.
        lenient: Whether the second command may refuse where the result is whole already.
        earlier: What stands at the result's place before.
        usual: How it ends without a fault.
        whole: What it makes then.
        left: What lies in the folder then, by name.
        kept: Where that stands.
    """

    name: str
    commands: Commands
    begin: Callable[[Path], list[str | Path]]
    go_on: Callable[[Path], list[str | Path]]
    result: str
    contents: Callable[[Path], Any]
    lenient: bool = False
    earlier: Path | None = None
    usual: Outcome | None = None
    whole: Any = None
    left: tuple[str, ...] = ()
    kept: Path = Path()

    def __str__(self) -> str:
        return self.name

    def measured(self, folder: Path, under: Path) -> Job:
        """Do it once without a fault, and remember how it went."""
        folder.mkdir()
        foreign_files(folder)
        outcome = self.commands.run(*self.begin(folder), under=under)
        assert outcome.status == 0, outcome.stderr
        whole, left = self.contents(folder / self.result), tuple(sorted(path.name for path in folder.iterdir()))
        return replace(self, usual=outcome, whole=whole, left=left, kept=folder / self.result)

    @property
    def steps(self) -> int:
        """Steps on files that it makes without a fault."""
        assert self.usual is not None
        return self.usual.steps


def file_job(commands: Commands, model: Path, source: Path, kind: str) -> Job:
    """Predict the rows of a file into a file of some kind."""

    def begin(folder: Path, *more: str) -> list[str | Path]:
        rejects = folder / "rejects.jsonl"
        return [
            "predict", "--onnx", model, "--input", source, "--output", folder / f"out.{kind}", "--rejects", rejects,
            "--threads", "1", *more,
        ]  # fmt: skip

    def contents(result: Path) -> Any:
        rejects = (result.parent / "rejects.jsonl").read_bytes()
        if kind == "parquet":
            return pyarrow.parquet.read_table(result).to_pydict(), rejects
        return result.read_bytes(), rejects

    return Job(
        name=f"predict to {kind}",
        commands=commands,
        begin=begin,
        go_on=lambda folder: begin(folder, "--resume"),
        result=f"out.{kind}",
        contents=contents,
    )


def train_job(commands: Commands, recipe: Path) -> Job:
    """Train a tiny model, with a checkpoint every few steps."""

    def begin(folder: Path, *more: str) -> list[str | Path]:
        return ["train", "--recipe", recipe, "--output", folder / "run", *more]

    def contents(result: Path) -> Any:
        steps = [json.loads(line)["step"] for line in (result / "history.jsonl").read_text().splitlines()]
        return digests(result), steps

    return Job(
        name="train",
        commands=commands,
        begin=begin,
        go_on=lambda folder: begin(folder, "--resume"),
        result="run",
        contents=contents,
        lenient=True,
    )


def export_job(commands: Commands, run: Path) -> Job:
    """Export a tiny run."""

    def begin(folder: Path) -> list[str | Path]:
        return ["export", run, "--quantize", "fast", "--output", folder / "onnx"]

    return Job(
        name="export",
        commands=commands,
        begin=begin,
        go_on=begin,
        result="onnx",
        contents=digests,
        lenient=True,
    )


def overwriting(job: Job, earlier: Path) -> Job:
    """Do a job over an earlier result, which holds a file of the user's own where it is a folder."""

    def begin(folder: Path) -> list[str | Path]:
        return [*job.begin(folder), "--overwrite"]

    def begin_anew(folder: Path) -> list[str | Path]:
        copy(earlier, folder / job.result)
        return begin(folder)

    return replace(job, name=f"{job.name} --overwrite", begin=begin_anew, go_on=begin, earlier=earlier)


def copy(earlier: Path, result: Path) -> None:
    """Put an earlier result at its place."""
    if earlier.is_dir():
        shutil.copytree(earlier, result)
        (result / "mine.txt").write_text("mine")
    else:
        shutil.copyfile(earlier, result)


def digests(folder: Path) -> dict[str, str]:
    """Give every file of a folder, with a digest where it does not tell of times."""
    return {
        str(path.relative_to(folder)): digest(path) if SAME & {path.suffix, path.name} else ""
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def digest(path: Path) -> str:
    """Give a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def foreign_files(folder: Path) -> None:
    """Put into a folder what is nobody's business but the user's."""
    (folder / "notes").mkdir()
    for name, content in FOREIGN.items():
        (folder / name).write_text(content)
    (folder / "link").symlink_to("notes/todo.txt")


def check_foreign(folder: Path) -> None:
    """Check that what is the user's own is as it was."""
    for name, content in FOREIGN.items():
        path = folder / name
        if not path.is_file() or path.read_text() != content:
            raise LostError(f"the user's own {name} was lost or changed")
    if str((folder / "link").readlink()) != "notes/todo.txt":
        raise LostError("the user's own link was changed")


def check_result(job: Job, folder: Path) -> bool:
    """Check that what stands at the place of a result is whole, and tell whether it is the new one."""
    result = folder / job.result
    if not result.exists():
        return False
    if job.earlier is not None and (is_copy(job.earlier, result) or (result.is_dir() and not is_recorded(result))):
        return False  # the former one, or one that is being replaced, of which it says so
    try:
        found = job.contents(result)
    except Exception as error:
        raise LostError(f"half of a result at its place: {error!r}") from error
    if found != job.whole:
        raise LostError(f"another result than without the fault: {difference(found, job.whole)}")
    return True


def is_recorded(folder: Path) -> bool:
    """Tell whether a folder's list of digests is there and true: it is the last to come where files are replaced."""
    record = folder / "SHA256SUMS"
    lines = [line.split("  ", 1) for line in record.read_text().splitlines()] if record.is_file() else []
    return bool(lines) and all((folder / name).is_file() and digest(folder / name) == sha for sha, name in lines)


def is_copy(earlier: Path, result: Path) -> bool:
    """Tell whether the earlier result still stands at its place, untouched."""
    if not earlier.is_dir():
        return digest(earlier) == digest(result)
    names = {path.relative_to(earlier) for path in earlier.rglob("*") if path.is_file()}
    return all((result / name).is_file() and digest(earlier / name) == digest(result / name) for name in names)


def difference(found: Any, whole: Any) -> str:
    """Say in a few words how two contents differ."""
    if isinstance(found, tuple):
        return "; ".join(difference(one, other) for one, other in zip(found, whole, strict=True) if one != other)
    if isinstance(found, dict):
        names = sorted(name for name in {**found, **whole} if found.get(name) != whole.get(name))
        return f"{', '.join(map(str, names))[:300]} differ"
    if isinstance(found, bytes):
        return f"{len(found)} bytes for {len(whole)}"
    return f"{found} for {whole}"


def break_job(job: Job, folder: Path, fault: Fault, under: Path) -> Outcome:
    """Do a job with a fault in it, and check how it ended and that no half of a result stands there."""
    foreign_files(folder)
    outcome = job.commands.run(*job.begin(folder), fault=fault, under=under)
    whole = check_result(job, folder)
    check_ending(outcome, usual=job.usual, over=whole)
    if outcome.status == 0 and not whole:
        raise LostError("success, and no result")
    return outcome


def end_job(job: Job, folder: Path, under: Path) -> None:
    """Do what is left of a job, and check that it comes out as if nothing had happened."""
    outcome = job.commands.run(*job.go_on(folder), under=under)
    check_ending(outcome, usual=job.usual)
    whole = check_result(job, folder)
    check_foreign(folder)
    if outcome.status != 0:
        assert job.lenient and whole, f"can't be gone on with: status {outcome.status}, said {outcome.stderr!r}"
    if not whole:
        raise LostError("success, and no result")
    left = sorted({path.name for path in folder.iterdir()} - set(job.left))
    assert not left, f"left behind: {', '.join(left)}"


def prove_nothing_lost(job: Job, folder: Path, fault: Fault, under: Path) -> None:
    """Break a job, go on with it, and check that all is as if nothing had happened."""
    break_job(job, folder, fault, under)
    end_job(job, folder, under)
    shutil.rmtree(folder)
