from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ftx.errors import DataError
from ftx.tables.formats import input_format

Read = Callable[..., list[tuple[str, str]]]


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path, read: Read) -> None:
    (tmp_path / "b.csv").write_text("text,label\nsecond,1\n")
    (tmp_path / "a.jsonl").write_text('{"text": "first", "label": 0}\n')
    (tmp_path / "README.md").write_text("not data")
    assert read(tmp_path) == [("first", "0"), ("second", "1")]


def test_an_empty_folder_is_said_so(tmp_path: Path, read: Read) -> None:
    with pytest.raises(DataError, match="holds no"):
        read(tmp_path)


def test_hidden_files_and_other_kinds_in_a_folder_are_not_read(tmp_path: Path, read: Read) -> None:
    for name in (".a.csv", "notes.md", "a.csv.zip", "_SHA256SUMS"):
        (tmp_path / name).write_text("not a table")
    (tmp_path / "B.CSV").write_text("text,label\na,1\n")
    assert read(tmp_path) == [("a", "1")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.csv", "csv"), ("a.TSV.gz", "tsv.gz"), ("a.json", "jsonl"), ("a.b.txt", "txt"), ("a.parquet", "parquet")],
)
def test_a_name_tells_the_format(name: str, kind: str) -> None:
    assert str(input_format(Path(name))) == kind
    assert str(input_format(Path("-"))) == "jsonl"
    for unknown in ("a", "a.gz", "a.parquet.gz", "a.csv.zip"):
        with pytest.raises(DataError, match=r"is of an unknown kind; .* --input-format"):
            input_format(Path(unknown))
