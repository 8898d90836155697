"""Kills, full disks, changed inputs, and what they leave."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from ftx.errors import DataError, OutputError
from ftx.runtime.stream import predict_file
from ftx.runtime.stream.writing import FilePlace, PartsPlace, locked, remove

ROWS = 6000
CHUNK_ROWS = 100
# Of each kind; what can go wrong does not hang on it.
KILLS = {"jsonl": 12, "csv.gz": 6, "parquet": 6}
STEPS = (5, 30)  # between two kills: a chunk takes some 7 writes, syncs and renamings


class KilledError(BaseException):
    """Stands for a kill inside this process."""


def options_of(tmp_path: Path, name: str) -> dict[str, Any]:
    return {"chunk_rows": CHUNK_ROWS, "rejects": str(tmp_path / f"{name}.rejects")}


def assert_same(found: Path, expected: Path) -> None:
    if found.suffix == ".parquet":
        assert pyarrow.parquet.read_table(found).equals(pyarrow.parquet.read_table(expected))
    else:
        assert found.read_bytes() == expected.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "csv.gz", "parquet"])
def test_kills_lose_and_double_nothing(kind: str, tmp_path: Path, source: Path, run_job: Callable[..., Any]) -> None:
    chance = random.Random(f"kills of {kind}")
    whole, target = tmp_path / f"whole.{kind}", tmp_path / f"out.{kind}"
    assert run_job(source, whole, **options_of(tmp_path, "whole")).returncode == 0
    options = {**options_of(tmp_path, "out"), "resume": True}
    for _ in range(KILLS[kind]):
        job = run_job(source, target, **options, kill_at=chance.randint(*STEPS))
        assert job.returncode == -9, job.stderr
    job = run_job(source, target, **options)
    assert job.returncode == 0, job.stderr
    assert_same(target, whole)
    assert (tmp_path / "out.rejects").read_bytes() == (tmp_path / "whole.rejects").read_bytes()
    assert not list(tmp_path.glob("out.*part*"))


@pytest.mark.parametrize("kind", ["jsonl", "tsv.gz", "parquet"])
def test_a_break_between_any_two_steps(
    kind: str, tmp_path: Path, make_fake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks before each write, sync, renaming and removal in turn; then goes on as after a kill."""
    fake = make_fake()
    source = tmp_path / "in.csv"
    source.write_text("id,text\n" + "".join(f"{n},t{n}\n" if n % 3 else f"{n}\n" for n in range(9)))
    options: dict[str, Any] = {"chunk_rows": 4}
    whole = tmp_path / f"whole.{kind}"
    predict_file(fake, source, whole, **options, rejects=tmp_path / "whole.rejects")
    countdown = [0]

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **values: Any) -> Any:
            countdown[0] -= 1
            if countdown[0] == 0:
                raise KilledError
            return step(*args, **values)

        return stepped

    steps = 0
    while True:
        steps += 1
        target, rejects = tmp_path / f"out{steps}.{kind}", tmp_path / f"{steps}.rejects"
        with monkeypatch.context() as patched:
            patched.setattr("ftx.runtime.stream.running.JobRun._discard", lambda self: None)  # as a kill
            patched.setattr(os, "fsync", counted(os.fsync))
            for name in ("replace", "unlink", "mkdir", "touch"):
                patched.setattr(Path, name, counted(getattr(Path, name)))
            patched.setattr("shutil.rmtree", counted(__import__("shutil").rmtree))
            for module in ("writing", "journal", "rejects"):
                patched.setattr(
                    f"ftx.runtime.stream.{module}.write_whole",
                    counted(__import__("ftx.runtime.stream.writing", fromlist=["x"]).write_whole),
                )
            countdown[0] = steps
            try:
                predict_file(fake, source, target, **options, rejects=rejects)
            except KilledError:
                pass
            else:
                break
        journal = tmp_path / f"out{steps}.{kind}.part.json"
        if journal.exists() or not target.exists():
            report = predict_file(fake, source, target, **options, rejects=rejects, resume=True)
            assert (report.rows, report.bad_rows) == (6, 3)
        assert_same(target, whole)
        assert rejects.read_bytes() == (tmp_path / "whole.rejects").read_bytes()
        assert not list(tmp_path.glob(f"out{steps}.*part*")), steps
    assert steps > 20


@pytest.mark.slow
def test_memory_does_not_grow_with_rows(tmp_path: Path, run_job: Callable[..., Any]) -> None:
    peaks = []
    for rows in (10_000, 200_000):
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write("id,text\n")
            file.writelines(f"{number},some text of a usual length number {number}\n" for number in range(rows))
        job = run_job(path, tmp_path / f"{rows}.jsonl", rss=1)
        assert job.returncode == 0, job.stderr
        peaks.append(float(job.stdout))
    assert peaks[1] - peaks[0] < 64


def begun(tmp_path: Path, source: Path, fake: Any, **options: Any) -> Path:
    """Leave an unfinished job of two chunks."""
    target = tmp_path / "out.csv"
    chunks = []

    def stop(progress: Any) -> None:
        chunks.append(progress)
        if len(chunks) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(
            fake, source, target, **{"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS, "on_chunk": stop, **options}
        )
    assert chunks[0].rows < chunks[1].rows
    assert 0 < chunks[1].done <= 1
    return target


def test_an_interrupted_job_goes_on(tmp_path: Path, source: Path, fake: Any) -> None:
    target = begun(tmp_path, source, fake)
    with pytest.raises(OutputError, match=r"unfinished, with 17\d rows done: continue with --resume, or start over"):
        predict_file(fake, source, target, chunk_rows=CHUNK_ROWS)
    report = predict_file(fake, source, target, chunk_rows=CHUNK_ROWS, skip_bad_rows=ROWS, resume=True)
    assert report.rows + report.bad_rows == ROWS
    whole = tmp_path / "whole.csv"
    predict_file(fake, source, whole, chunk_rows=CHUNK_ROWS, skip_bad_rows=ROWS)
    assert_same(target, whole)


def test_a_job_that_had_finished_when_it_is_to_go_on(tmp_path: Path, source: Path, fake: Any) -> None:
    target, options = tmp_path / "out.csv", {"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS}
    predict_file(fake, source, target, **options)
    before = target.stat()
    report = predict_file(fake, source, target, **options, resume=True)
    assert report.finished_before
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    with pytest.raises(OutputError, match="already exists: choose another"):
        predict_file(fake, source, target, **options)
    assert not predict_file(fake, source, target, **options, resume=True, overwrite=True).finished_before
    # What is older than the input can't be its result, and what has something unfinished beside it isn't whole.
    (tmp_path / "out.csv.part").touch()
    with pytest.raises(OutputError, match="there is no unfinished job to resume"):
        predict_file(fake, source, target, **options, resume=True)
    (tmp_path / "out.csv.part").unlink()
    later = target.stat().st_mtime_ns + 1
    for newer in (source, fake.path):
        held = newer.stat().st_mtime_ns
        os.utime(newer, ns=(later, later))
        with pytest.raises(OutputError, match=f"{newer} is newer: choose another --output, or start over"):
            predict_file(fake, source, target, **options, resume=True)
        os.utime(newer, ns=(held, held))
    assert predict_file(fake, source, target, **options, resume=True).finished_before


def test_the_speed_is_that_of_the_session(
    tmp_path: Path, source: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    class Slow:
        """Takes a second a chunk, by a clock of its own."""

        manifest, path, settings = fake.manifest, fake.path, fake.settings
        sha256 = getattr(fake, "sha256", "")

        def __call__(self, texts: Any) -> Any:
            now[0] += 1.0
            return fake(texts)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    options: dict[str, Any] = {"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS}
    target = begun(tmp_path, source, Slow())
    done = json.loads((tmp_path / "out.csv.part.json").read_text())["rows"]
    speeds: list[float] = []
    report = predict_file(
        Slow(), source, target, **options, resume=True, on_chunk=lambda progress: speeds.append(progress.rows_per_sec)
    )
    assert report.rows_before == done > 0
    assert report.sec == ROWS / CHUNK_ROWS - 2
    assert speeds[0] <= CHUNK_ROWS
    # Killed after its last chunk: nothing is left to be measured.
    other = tmp_path / "other.csv"

    def stop(progress: Any) -> None:
        if progress.done == 1.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(Slow(), source, other, **options, on_chunk=stop)
    report = predict_file(Slow(), source, other, **options, resume=True)
    assert (report.rows_before, report.sec) == (report.rows, 0.0)


def test_an_unfinished_job_is_begun_anew(tmp_path: Path, source: Path, fake: Any) -> None:
    target = begun(tmp_path, source, fake)
    report = predict_file(fake, source, target, skip_bad_rows=ROWS, overwrite=True)
    assert report.rows + report.bad_rows == ROWS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_another_format_takes_the_place_of_an_unfinished_job(tmp_path: Path, source: Path, fake: Any) -> None:
    target = begun(tmp_path, source, fake, output_format="parquet")
    predict_file(fake, source, target, skip_bad_rows=ROWS, overwrite=True)
    assert target.read_text().startswith("id,text,predicted_label")


def test_a_row_that_stopped_a_job_may_be_skipped_later(tmp_path: Path, fake: Any) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,text\n" + "".join(f"{number},t\n" if number != 150 else "150\n" for number in range(300)))
    with pytest.raises(DataError, match=r"in\.csv:152: 1 cells"):
        predict_file(fake, source, target, chunk_rows=CHUNK_ROWS)
    report = predict_file(fake, source, target, chunk_rows=CHUNK_ROWS, resume=True, skip_bad_rows=1)
    assert (report.rows, report.bad_rows) == (299, 1)


@pytest.mark.parametrize("changed", ["input", "touched", "model", "batch_size", "prefix", "text_column", "rejects"])
def test_a_job_goes_on_only_as_it_was_begun(
    changed: str, tmp_path: Path, source: Path, model: Path, make_fake: Callable[..., Any]
) -> None:
    fake = make_fake(model=model)
    target = begun(tmp_path, source, fake)
    options: dict[str, Any] = {"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS}
    words = changed
    if changed == "input":
        source.write_text(source.read_text() + "1,more\n")
        words = "another input: size_bytes was"
    elif changed == "touched":
        os.utime(source, ns=(1, 1))
        words = "another input: mtime_ns was"
    elif changed == "model":
        model.write_bytes(b"another model")
        fake = make_fake(model=model)
        words = "another model: sha256 was"
    elif changed == "batch_size":
        fake = make_fake(model=model, batch_size=1)
        words = "another model: batch_size was 32, is 1"
    elif changed == "prefix":
        options["prefix"] = "p_"
        words = "another option: prefix was 'predicted_', is 'p_'"
    elif changed == "text_column":
        options["text_column"] = "id"
        words = "another option: text_column was None, is 'id'"
    else:
        options["rejects"] = tmp_path / "rejects"
        words = "--rejects"
    with pytest.raises(OutputError, match=words):
        predict_file(fake, source, target, **options, resume=True)
    assert (tmp_path / "out.csv.part.json").exists()


def test_damaged_leftovers(tmp_path: Path, source: Path, fake: Any) -> None:
    target = begun(tmp_path, source, fake)
    options: dict[str, Any] = {"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS}
    part, journal = tmp_path / "out.csv.part", tmp_path / "out.csv.part.json"
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    with pytest.raises(OutputError, match="shorter than its journal says"):
        predict_file(fake, source, target, **options, resume=True)
    said = journal.read_text()
    version = json.loads(said)["format_version"]
    other = said.replace(f'"format_version": {version}', '"format_version": 99')
    for text in ("nope", "{}", "[]", other, "[" * 100_000):
        journal.write_text(text)
        with pytest.raises(OutputError, match="is not the journal of an unfinished job"):
            predict_file(fake, source, target, **options, resume=True)
    journal.unlink()
    journal.mkdir()
    with pytest.raises(
        OutputError, match=r"part.json, a job's journal, can't be read: Is a directory: expected a file"
    ):
        predict_file(fake, source, target, **options, resume=True)
    journal.rmdir()
    with pytest.raises(OutputError, match="exists without the journal"):
        predict_file(fake, source, target, **options, resume=True)
    predict_file(fake, source, target, **options, overwrite=True)


@pytest.mark.parametrize("number", range(4))
def test_a_kill_while_a_job_that_failed_is_cleared_away(
    number: int, tmp_path: Path, source: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"rejects": tmp_path / "rejects.jsonl"}
    target, removed = tmp_path / "out.csv", []

    def fail(predictor: Any, texts: Any) -> Any:
        raise MemoryError

    def removing(path: Path) -> None:
        if len(removed) == number:
            raise KilledError
        removed.append(path)
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr("ftx.runtime.stream.running.remove", removing)
        patch.setattr(type(fake), "__call__", fail)
        with pytest.raises(KilledError):
            predict_file(fake, source, target, **options)
    predict_file(fake, source, target, **options, resume=True)
    assert target.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.csv", "rejects.jsonl"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_output_that_was_removed_before_it_was_put_in_place(
    kind: str, tmp_path: Path, source: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, part = tmp_path / f"out.{kind}", tmp_path / f"out.{kind}.part"
    target.write_text("old")

    def killed(place: Any, committed: int) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        for place in (FilePlace, PartsPlace):
            patch.setattr(place, "publish", killed)
        with pytest.raises(KilledError):
            predict_file(fake, source, target, skip_bad_rows=ROWS, overwrite=True)
    remove(part)
    with pytest.raises(OutputError, match="is missing, though it is in the journal: start over with --overwrite"):
        predict_file(fake, source, target, skip_bad_rows=ROWS, resume=True)
    assert target.read_text() == "old"
    predict_file(fake, source, target, skip_bad_rows=ROWS, overwrite=True)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_output_that_is_a_link_stays_one(kind: str, tmp_path: Path, source: Path, fake: Any) -> None:
    (tmp_path / "elsewhere").mkdir()
    place, link, plain = tmp_path / "elsewhere" / f"real.{kind}", tmp_path / f"link.{kind}", tmp_path / f"plain.{kind}"
    place.write_text("old")
    link.symlink_to(place)
    for output in (link, plain):
        predict_file(fake, source, output, skip_bad_rows=ROWS, overwrite=True)
    assert link.is_symlink()
    assert place.read_bytes() == plain.read_bytes()
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_places_are_checked_before_any_work(tmp_path: Path, source: Path, fake: Any) -> None:
    def refused(words: str, source: Path, target: Path, **options: Any) -> None:
        with pytest.raises((OutputError, DataError), match=words):
            predict_file(None, source, target, **options)  # type: ignore[arg-type]

    (tmp_path / "there.csv").write_text("x")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(source)
    refused("is also the file of --input", source, source, overwrite=True)
    refused("is also the file of --input", source, tmp_path / "link.csv", overwrite=True)
    refused("is also the file of --input", source, tmp_path / "out.csv", rejects=source)
    refused("is also the file of --output", source, tmp_path / "out.csv", rejects=tmp_path / "out.csv")
    refused("is also the file of --output", source, tmp_path / "out.csv", rejects=tmp_path / "out.csv.part")
    os.mkfifo(tmp_path / "pipe")
    for special in (Path("/dev/null"), tmp_path / "pipe"):
        refused("--rejects .* is a pipe or a device", source, tmp_path / "out.csv", rejects=special)
    (tmp_path / "hard").hardlink_to(source)
    refused("is also the file of --input", source, tmp_path / "out.csv", rejects=tmp_path / "hard")
    (tmp_path / "out.csv.part").hardlink_to(source)
    refused("is also the file of --input", source, tmp_path / "out.csv", overwrite=True)
    (tmp_path / "out.csv.part").unlink()
    refused("there is no folder", source, tmp_path / "none" / "out.csv")
    refused("not writable", source, Path("/proc/out.csv")) if not os.access("/proc", os.W_OK) else None
    refused("is a folder", source, tmp_path / "folder.csv")
    refused("already exists", source, tmp_path / "there.csv")
    refused("--rejects .* already exists", source, tmp_path / "out.csv", rejects=tmp_path / "there.csv")
    refused("does not exist", tmp_path / "none.csv", tmp_path / "out.csv")
    refused("is a folder", tmp_path / "folder.csv", tmp_path / "out.csv")
    refused("unknown kind", source, tmp_path / "out.txt")
    refused("--resume: - is a stream", source, Path("-"), resume=True)
    assert not list(tmp_path.glob("*.part*"))
    with pytest.raises(ValueError, match="chunk_rows 0, expected at least 1"):
        predict_file(fake, source, tmp_path / "out.csv", chunk_rows=0)


def test_an_output_that_is_a_hard_link_to_the_input(tmp_path: Path, source: Path, fake: Any) -> None:
    before, target = source.read_bytes(), tmp_path / "out.csv"
    target.hardlink_to(source)
    predict_file(fake, source, target, skip_bad_rows=ROWS, overwrite=True)
    assert source.read_bytes() == before
    assert target.read_text().startswith("id,text,predicted_label")


def test_two_processes_do_not_write_one_output(tmp_path: Path, source: Path, fake: Any) -> None:
    target = begun(tmp_path, source, fake)
    for options in ({"resume": True}, {"overwrite": True}):
        with locked(tmp_path / "out.csv.part"), pytest.raises(OutputError, match="written by another process"):
            predict_file(fake, source, target, chunk_rows=CHUNK_ROWS, skip_bad_rows=ROWS, **options)
    predict_file(fake, source, target, chunk_rows=CHUNK_ROWS, skip_bad_rows=ROWS, resume=True)


def test_an_existing_output_stays_until_the_new_one_is_whole(tmp_path: Path, source: Path, fake: Any) -> None:
    (tmp_path / "out.csv").write_text("old")
    target = begun(tmp_path, source, fake, overwrite=True)
    assert target.read_text() == "old"
    predict_file(fake, source, target, chunk_rows=CHUNK_ROWS, skip_bad_rows=ROWS, resume=True)
    assert target.read_text().startswith("id,text")
