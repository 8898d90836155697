"""Kills, full disks, changed inputs, and what they leave."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from ftx.errors import DataError, OutputError
from ftx.runtime.stream import predict_file
from ftx.runtime.stream.writing import locked

ROWS = 6000
CHUNK_ROWS = 100
# Of each kind; what can go wrong does not hang on it.
KILLS = {"jsonl": 20, "csv.gz": 6, "parquet": 6}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    rows = [f'{number},"text {number}\nof two lines"' if number % 7 else f"{number}" for number in range(ROWS)]
    path.write_text("id,text\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return path


def start(fake_job: Path, source: Path, target: Path, model: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(fake_job), str(source), str(target), str(model), json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(job: subprocess.Popen[str]) -> tuple[int, str]:
    """Give a job's status and what it said on stderr."""
    said = job.communicate(timeout=60)[1]
    return job.returncode, said


class KilledError(BaseException):
    """Stands for a kill inside this process."""


def options_of(tmp_path: Path, name: str) -> dict[str, Any]:
    return {"chunk_rows": CHUNK_ROWS, "rejects": str(tmp_path / f"{name}.rejects")}


def assert_same(found: Path, expected: Path) -> None:
    if found.suffix == ".parquet":
        assert pyarrow.parquet.read_table(found).equals(pyarrow.parquet.read_table(expected))
    else:
        assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("kind", ["jsonl", "csv.gz", "parquet"])
def test_kills_lose_and_double_nothing(kind: str, tmp_path: Path, source: Path, model: Path, fake_job: Path) -> None:
    chance = random.Random(f"kills of {kind}")
    whole, target = tmp_path / f"whole.{kind}", tmp_path / f"out.{kind}"
    unbroken = start(fake_job, source, whole, model, **options_of(tmp_path, "whole"))
    assert finish(unbroken)[0] == 0
    kills = killed_at_work = 0
    options = {**options_of(tmp_path, "out"), "resume": True, "sleep_sec": 0.01}
    while not target.exists() or (tmp_path / f"out.{kind}.part.json").exists():
        job = start(fake_job, source, target, model, **options)
        journal = tmp_path / f"out.{kind}.part.json"
        if kills < KILLS[kind]:
            before = journal.stat().st_mtime_ns if journal.exists() else 0
            while job.poll() is None and not (journal.exists() and journal.stat().st_mtime_ns > before):
                time.sleep(0.002)
            time.sleep(chance.random() * 0.05)
            killed_at_work += job.poll() is None
            job.kill()
            kills += 1
        status, said = finish(job)
        assert status in (0, -9), said
    assert killed_at_work >= KILLS[kind] // 2
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
            patched.setattr("ftx.runtime.stream.job.Session._discard", lambda self: None)  # as a kill
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


def test_a_full_disk_keeps_what_is_done(tmp_path: Path, source: Path, model: Path, fake_job: Path) -> None:
    for kind in ("jsonl", "parquet"):
        whole, target = tmp_path / f"whole.{kind}", tmp_path / f"out.{kind}"
        options = {"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS}
        assert finish(start(fake_job, source, whole, model, **options))[0] == 0
        limit = whole.stat().st_size // 2
        status, said = finish(start(fake_job, source, target, model, **options, limit_bytes=limit))
        assert status == 1, said
        assert said.startswith(f"OutputError: {target} could not be written: File too large; ")
        assert "rows are kept: make room and go on with --resume" in said
        assert not target.exists()
        assert finish(start(fake_job, source, target, model, **options, resume=True))[0] == 0
        assert_same(target, whole)


def test_a_full_device(tmp_path: Path, source: Path, fake: Any) -> None:
    with pytest.raises(OutputError, match="/dev/full could not be written: No space left on device"):
        predict_file(fake, source, "/dev/full", output_format="csv", skip_bad_rows=ROWS)


def test_memory_does_not_grow_with_rows(tmp_path: Path, model: Path, fake_job: Path) -> None:
    peaks = []
    for rows in (10_000, 200_000):
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write("id,text\n")
            file.writelines(f"{number},some text of a usual length number {number}\n" for number in range(rows))
        job = start(fake_job, path, tmp_path / f"{rows}.jsonl", model, rss=1)
        peak, said = job.communicate(timeout=120)
        assert job.returncode == 0, said
        peaks.append(float(peak))
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
    with pytest.raises(OutputError, match=r"begun and not finished, 17\d rows are done: go on with --resume, or begin"):
        predict_file(fake, source, target, chunk_rows=CHUNK_ROWS)
    report = predict_file(fake, source, target, chunk_rows=CHUNK_ROWS, skip_bad_rows=ROWS, resume=True)
    assert report.rows + report.bad_rows == ROWS
    whole = tmp_path / "whole.csv"
    predict_file(fake, source, whole, chunk_rows=CHUNK_ROWS, skip_bad_rows=ROWS)
    assert_same(target, whole)
    with pytest.raises(OutputError, match="is there already, and there is no unfinished job to resume"):
        predict_file(fake, source, target, resume=True)


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


def test_an_input_that_changes_under_the_job(tmp_path: Path, source: Path, fake: Any) -> None:
    def grow(progress: Any) -> None:
        with source.open("a") as file:
            file.write("1,more\n")

    with pytest.raises(DataError, match="was changed while it was read"):
        predict_file(fake, source, tmp_path / "out.csv", skip_bad_rows=ROWS, chunk_rows=ROWS - 1, on_chunk=grow)


def test_damaged_leftovers(tmp_path: Path, source: Path, fake: Any) -> None:
    target = begun(tmp_path, source, fake)
    options: dict[str, Any] = {"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS}
    part, journal = tmp_path / "out.csv.part", tmp_path / "out.csv.part.json"
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    with pytest.raises(OutputError, match="shorter than its journal says"):
        predict_file(fake, source, target, **options, resume=True)
    said = journal.read_text()
    for text in ("nope", "{}", "[]", said.replace('"format_version": 1', '"format_version": 99')):
        journal.write_text(text)
        with pytest.raises(OutputError, match="is not the journal of an unfinished job"):
            predict_file(fake, source, target, **options, resume=True)
    journal.unlink()
    with pytest.raises(OutputError, match="is there, without the journal"):
        predict_file(fake, source, target, **options, resume=True)
    predict_file(fake, source, target, **options, overwrite=True)


def test_places_are_checked_before_any_work(tmp_path: Path, source: Path, fake: Any) -> None:
    def refused(words: str, source: Path, target: Path, **options: Any) -> None:
        with pytest.raises((OutputError, DataError), match=words):
            predict_file(None, source, target, **options)  # type: ignore[arg-type]

    (tmp_path / "there.csv").write_text("x")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(source)
    refused("is the file of --input too", source, source, overwrite=True)
    refused("is the file of --input too", source, tmp_path / "link.csv", overwrite=True)
    refused("is the file of --input too", source, tmp_path / "out.csv", rejects=source)
    refused("is the file of --output too", source, tmp_path / "out.csv", rejects=tmp_path / "out.csv")
    refused("is the file of --output too", source, tmp_path / "out.csv", rejects=tmp_path / "out.csv.part")
    refused("there is no folder", source, tmp_path / "none" / "out.csv")
    refused("not writable", source, Path("/proc/out.csv")) if not os.access("/proc", os.W_OK) else None
    refused("is a folder", source, tmp_path / "folder.csv")
    refused("is there already", source, tmp_path / "there.csv")
    refused("--rejects .* is there already", source, tmp_path / "out.csv", rejects=tmp_path / "there.csv")
    refused("is not there", tmp_path / "none.csv", tmp_path / "out.csv")
    refused("is a folder", tmp_path / "folder.csv", tmp_path / "out.csv")
    refused("unknown kind", source, tmp_path / "out.txt")
    refused("--resume: - is a stream", source, Path("-"), resume=True)
    assert not list(tmp_path.glob("*.part*"))
    with pytest.raises(ValueError, match="chunk_rows 0, expected at least 1"):
        predict_file(fake, source, tmp_path / "out.csv", chunk_rows=0)


def test_a_failure_before_the_first_rows_leaves_nothing(tmp_path: Path, source: Path, fake: Any) -> None:
    with pytest.raises(DataError, match="no column 'review'"):
        predict_file(fake, source, tmp_path / "out.csv", text_column="review", rejects=tmp_path / "rejects")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


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
