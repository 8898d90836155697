from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from ftx.errors import DataError
from ftx.tables.bad_rows import BadRows

Read = Callable[..., list[tuple[str, str]]]


def parquet(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": [b"The cast"], "label": [1]}, "the text is bytes; expected a string"),
        ({"text": [{"a": "x"}], "label": [1]}, "the text is an object"),
        ({"text": [["x"]], "label": [1]}, "the text is a list"),
        ({"text": [True], "label": [1]}, "the text is true or false"),
        ({"text": ["x"], "label": [b"a"]}, "the label is bytes; expected a name"),
        ({"text": ["x"], "label": [{"a": 1}]}, "the label is an object"),
        ({"text": ["x"], "label": [[["a"]]]}, "the list of labels holds a list"),
        ({"text": ["x"], "label": [["a", None]]}, "the list of labels holds an empty place"),
        ({"text": [None], "label": [1]}, "the text is missing"),
        ({"text": [float("nan")], "label": [1]}, "the text is missing"),
        ({"text": ["x" * 1_000_001], "label": [1]}, "the text has 1,000,001 characters"),
    ],
)
def test_what_parquet_has_besides_text_is_a_bad_row(
    tmp_path: Path, columns: dict[str, Any], reason: str, read: Read
) -> None:
    path = parquet(tmp_path / "a.parquet", **{name: [*cells, *cells] for name, cells in columns.items()})
    with pytest.raises(DataError, match=rf"a\.parquet:1: {reason}"):
        read(path)
    bad_rows = BadRows(limit=2)
    assert read(path, bad_rows=bad_rows) == []
    assert [row.where for row in bad_rows.rows] == [f"{path}:1", f"{path}:2"]


def test_parquet_strings_that_are_not_utf_8_are_bad_rows(tmp_path: Path, read: Read) -> None:
    binary = pyarrow.array([b"good", b"\xff"], pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), 2, binary.buffers())
    path = parquet(tmp_path / "a.parquet", text=text, label=["a", "b"])
    bad_rows = BadRows(limit=1)
    assert read(path, bad_rows=bad_rows) == [("good", "a")]
    assert bad_rows.rows[0].where == f"{path}:2"
    assert bad_rows.rows[0].reason == "the text is not UTF-8"


def test_numbers_truth_values_and_decimals_are_labels(tmp_path: Path, read: Read) -> None:
    for labels, names in (
        ([1.0, 0.0], ["1", "0"]),
        ([True, False], ["true", "false"]),
        ([Decimal("1.50"), Decimal("-2.00")], ["1.50", "-2.00"]),
    ):
        assert [label for _, label in read(parquet(tmp_path / "a.parquet", text=["x", "y"], label=labels))] == names
    (tmp_path / "a.jsonl").write_text('{"text": 1.10, "label": -1}\n{"text": "y", "label": true}\n')
    assert read(tmp_path / "a.jsonl") == [("1.10", "-1"), ("y", "true")]


def test_a_value_that_is_not_there_is_a_missing_label(tmp_path: Path, read: Read) -> None:
    table = pyarrow.table({"text": ["x"], "label": [float("nan")]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="the label is missing"):
        read(tmp_path / "a.parquet")


def test_parquet_that_is_nested_very_deeply_is_one_line(tmp_path: Path, read: Read) -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    # pyarrow 15 reads what later versions refuse.
    refused = r"a\.parquet(:1: the list of labels holds a list| can't be read as Parquet: .* too deeply nested)"
    with pytest.raises(DataError, match=refused):
        read(parquet(tmp_path / "a.parquet", text=["x"], label=[deep]))
    with pytest.raises(DataError, match=r"a\.parquet:1: the list of labels holds a list"):
        read(parquet(tmp_path / "a.parquet", text=["x"], label=[[[[[["x"]]]]]]))
