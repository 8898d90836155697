"""Full disks, limits, folders that vanish, damaged leftovers: one line each, what to do, and what is kept."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from ftx.errors import DataError, OutputError
from ftx.runtime.stream import predict_file, rejects, writing

ROWS = 6000
CHUNK_ROWS = 100


def assert_same(found: Path, expected: Path) -> None:
    if found.suffix == ".parquet":
        assert pyarrow.parquet.read_table(found).equals(pyarrow.parquet.read_table(expected))
    else:
        assert found.read_bytes() == expected.read_bytes()


def test_a_full_disk_keeps_what_is_done(tmp_path: Path, source: Path, run_job: Callable[..., Any]) -> None:
    for kind in ("jsonl", "parquet"):
        whole, target = tmp_path / f"whole.{kind}", tmp_path / f"out.{kind}"
        options = {"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS}
        assert run_job(source, whole, **options).returncode == 0
        job = run_job(source, target, **options, limit_bytes=whole.stat().st_size // 2)
        said = job.stderr
        assert job.returncode == 1, said
        assert said.startswith(f"OutputError: {target} could not be written: File too large; ")
        assert "rows are kept: raise the limit on the size of a file (ulimit -f), then continue with --resume" in said
        assert not target.exists()
        assert run_job(source, target, **options, resume=True).returncode == 0
        assert_same(target, whole)


def test_a_full_device(tmp_path: Path, source: Path, fake: Any) -> None:
    with pytest.raises(OutputError, match="/dev/full could not be written: No space left on device"):
        predict_file(fake, source, "/dev/full", output_format="csv", skip_bad_rows=ROWS)


REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "change the permissions",
    errno.EROFS: "mount it for writing",
    errno.EMFILE: "ulimit -n",
    errno.EFBIG: "ulimit -f",
    errno.EIO: "check it, and try again",
}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("number", REMEDIES)
def test_each_failure_to_write_has_its_own_remedy(
    number: int, kind: str, tmp_path: Path, source: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, whole = tmp_path / f"out.{kind}", tmp_path / f"whole.{kind}"
    options: dict[str, Any] = {"chunk_rows": CHUNK_ROWS, "rejects": tmp_path / "rejects"}
    predict_file(fake, source, whole, chunk_rows=CHUNK_ROWS, skip_bad_rows=ROWS)
    write_whole, left = writing.write_whole, [0]

    def failing(file: Any, data: bytes) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(number, os.strerror(number))
        write_whole(file, data)

    monkeypatch.setattr(writing, "write_whole", failing)
    monkeypatch.setattr(rejects, "write_whole", failing)
    for steps, named in ((5, target), (2, tmp_path / "rejects")):  # the third chunk's rows; the first bad ones
        left[0] = steps
        with pytest.raises(OutputError) as caught:
            predict_file(fake, source, target, **options, overwrite=True)
        said = str(caught.value)
        assert re.match(rf"{named}( could not be written)?: {os.strerror(number)}; ", said)
        assert REMEDIES[number] in said
        assert ("free some space" in said) == (number in (errno.ENOSPC, errno.EDQUOT))
        assert ("rows are kept" in said and "--resume" in said) == (steps == 5)
        assert (tmp_path / f"out.{kind}.part").exists() == (steps == 5)
        if steps == 5:
            left[0] = 0
            predict_file(fake, source, target, **options, resume=True)
            assert_same(target, whole)


@pytest.mark.parametrize("kind", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def test_few_descriptors(kind: str, tmp_path: Path, source: Path, run_job: Callable[..., Any]) -> None:
    refused = 0
    target, whole = tmp_path / f"out.{kind}", tmp_path / f"whole.{kind}"
    options: dict[str, Any] = {"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS}
    assert run_job(source, whole, **options).returncode == 0
    for files in range(1, 8):
        job = run_job(source, target, **options, resume=True, limit_files=files)
        said = job.stderr
        assert job.returncode in (0, 1), said
        if job.returncode:
            refused += 1
            assert said.count("\n") == 1, said
            assert "raise the limit on open files (ulimit -n)" in said, said
    assert run_job(source, target, **options, resume=True).returncode == 0
    assert_same(target, whole)
    assert refused > 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_folder_that_vanishes(kind: str, tmp_path: Path, source: Path, fake: Any) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"there/out.*: No such file or directory; check the name") as caught:
        predict_file(
            fake, source, folder / f"out.{kind}", chunk_rows=CHUNK_ROWS, skip_bad_rows=ROWS,
            on_chunk=lambda progress: shutil.rmtree(folder, ignore_errors=True),
        )  # fmt: skip
    assert "kept" not in str(caught.value)


def test_a_failure_to_clear_up_does_not_hide_why(
    tmp_path: Path, source: Path, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("ftx.runtime.stream.running.remove", refuse)
    with pytest.raises(DataError, match="no column 'review'"):
        predict_file(fake, source, tmp_path / "out.csv", text_column="review")


def test_parts_that_were_damaged(tmp_path: Path, source: Path, fake: Any) -> None:
    target, options = tmp_path / "out.parquet", {"chunk_rows": CHUNK_ROWS, "skip_bad_rows": ROWS}

    def damage(progress: Any) -> None:
        (tmp_path / "out.parquet.part" / "00000000.parquet").write_bytes(b"PAR1 no more")

    with pytest.raises(OutputError, match=r"out.parquet.part holds damaged rows \(.*\): start over with --overwrite"):
        predict_file(fake, source, target, **options, on_chunk=damage)
    assert not target.exists()


def test_an_input_that_changes_under_the_job(tmp_path: Path, source: Path, fake: Any) -> None:
    def grow(progress: Any) -> None:
        with source.open("a") as file:
            file.write("1,more\n")

    for change in (grow, lambda progress: source.unlink(missing_ok=True)):
        with pytest.raises(DataError, match="was changed while it was read"):
            predict_file(
                fake, source, tmp_path / "out.csv", skip_bad_rows=ROWS, chunk_rows=ROWS - 1, on_chunk=change,
                overwrite=True,
            )  # fmt: skip


def test_a_failure_before_the_first_rows_leaves_nothing(tmp_path: Path, source: Path, fake: Any) -> None:
    with pytest.raises(DataError, match="no column 'review'"):
        predict_file(fake, source, tmp_path / "out.csv", text_column="review", rejects=tmp_path / "rejects")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
