from __future__ import annotations

import os
from pathlib import Path

import pytest

from ftx.errors import OutputError
from ftx.output import beside, check_free, staged_folder


def write(target: Path, text: str, *, overwrite: bool = False) -> None:
    with staged_folder(target, overwrite=overwrite, owned={"result", "old_part"}, what="run") as staging:
        (staging / "result").write_text(text)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_new_folder_and_its_parents_appear_when_the_block_ends(tmp_path: Path) -> None:
    write(tmp_path / "a/b", "1")
    assert (tmp_path / "a/b/result").read_text() == "1"
    assert leftovers(tmp_path / "a") == []


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    with (
        pytest.raises(failure),
        staged_folder(tmp_path / "run", overwrite=False, owned=set(), what="run") as staging,
    ):
        (staging / "half").write_text("x")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_content_is_kept_without_overwrite(tmp_path: Path) -> None:
    write(tmp_path / "run", "1")
    with pytest.raises(OutputError, match="--overwrite"):
        write(tmp_path / "run", "2")
    assert (tmp_path / "run/result").read_text() == "1"


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", "1")
    assert (tmp_path / "run/result").read_text() == "1"


def test_overwrite_replaces_what_is_ours_and_keeps_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "run", "1")
    (tmp_path / "run/old_part").write_text("of an older run")
    (tmp_path / "run/notes.txt").write_text("mine")
    write(tmp_path / "run", "2", overwrite=True)
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == {
        "result": "2",
        "notes.txt": "mine",
    }
    assert leftovers(tmp_path) == []


def test_a_failed_overwrite_keeps_the_old(tmp_path: Path) -> None:
    write(tmp_path / "run", "1")
    with (
        pytest.raises(RuntimeError),
        staged_folder(tmp_path / "run", overwrite=True, owned={"result"}, what="run"),
    ):
        raise RuntimeError
    assert (tmp_path / "run/result").read_text() == "1"


def test_an_overwrite_killed_between_its_renames_is_undone(tmp_path: Path) -> None:
    write(tmp_path / "run", "1")
    (tmp_path / "run").rename(beside(tmp_path / "run", "old"))
    with pytest.raises(OutputError, match="--overwrite"):
        check_free(tmp_path / "run", overwrite=False, what="run")
    assert (tmp_path / "run/result").read_text() == "1"


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    left = beside(tmp_path / "run", "partial")
    left.mkdir()
    (left / "half").write_text("x")
    write(tmp_path / "run", "1")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        write(tmp_path / "run", "1", overwrite=True)


def test_the_folder_one_stands_in_is_not_pulled_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "run", "1")
    monkeypatch.chdir(tmp_path / "run")
    with pytest.raises(OutputError, match="stand in"):
        write(Path(), "2", overwrite=True)


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        place = Path("/proc/ftx/run")  # root may write anywhere else
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        place = tmp_path / "locked/run"
    with pytest.raises(OutputError, match="can't be written"):
        write(place, "1")


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with (
        pytest.raises(OutputError, match="No space left"),
        staged_folder(tmp_path / "run", overwrite=False, owned=set(), what="run"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x" * 100_000)
    assert list(tmp_path.iterdir()) == []
