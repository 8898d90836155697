from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ftx.errors import DataError
from ftx.tables.bad_rows import BadRows

Read = Callable[..., list[tuple[str, str]]]


def test_bad_rows_are_skipped_up_to_a_bound(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\ngood,1\nragged\nno label,\nbad,0\n")
    bad_rows = BadRows(limit=2)
    assert read(path, bad_rows=bad_rows) == [("good", "1"), ("bad", "0")]
    assert [row.where for row in bad_rows.rows] == [f"{path}:3", f"{path}:4"]
    bad_rows.write(tmp_path / "bad.jsonl")
    assert (tmp_path / "bad.jsonl").read_text().count("\n") == 2
    with pytest.raises(DataError, match=r"a\.csv:4: the label is missing.*after 1 rows skipped"):
        read(path, bad_rows=BadRows(limit=1))


def test_rows_that_are_too_many_are_counted_with_the_first_places(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\ngood,1\n" + ",1\nno label,\n" * 50 + "bad,0\n")
    with pytest.raises(DataError) as caught:
        read(path)
    said = str(caught.value)
    assert said.startswith(
        f"{path}:3: the text is empty; expected one in column 'text'; 100 rows can't be used, the next"
    )
    assert f"{path}:4, {path}:5, {path}:6: " in said
    assert said.endswith("--skip-bad-rows 100")
    assert read(path, bad_rows=BadRows(limit=100)) == [("good", "1"), ("bad", "0")]
    path.write_text("text,label\ngood,1\n   ,1\n")
    with pytest.raises(DataError, match=r"a.csv:3: the text is empty; .*; correct it, or add --skip-bad-rows 1$"):
        read(path)
