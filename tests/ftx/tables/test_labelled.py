from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftx.errors import DataError
from ftx.tables.bad_rows import BadRows
from ftx.tables.columns import Columns
from ftx.tables.labelled import read_tables


def rows_by(path: Path, content: str, **columns: Any) -> list[Any]:
    path.write_text(content)
    found = read_tables(path, Columns(**{"text": "text", "label": "label", **columns}), BadRows())
    return [(row.text, row.label) for row in found]


def test_indicator_columns_make_lists_of_labels(tmp_path: Path) -> None:
    content = "text;good;sad\na;1;0\nb;0;0\nc;true;1.0\n"
    columns = {"indicators": ("good", "sad")}
    assert rows_by(tmp_path / "a.csv", content, **columns) == [("a", ["good"]), ("b", []), ("c", ["good", "sad"])]
    json_lines = '{"text": "a", "good": true, "sad": 0}\n{"text": "b", "good": 0.0, "sad": 1}\n'
    assert rows_by(tmp_path / "a.jsonl", json_lines, **columns) == [("a", ["good"]), ("b", ["sad"])]
    with pytest.raises(DataError, match=r"a.csv:2: column 'sad' holds '2'; expected 1 .* else 0"):
        rows_by(tmp_path / "a.csv", "text,good,sad\na,1,2\n", **columns)
    with pytest.raises(DataError, match="there is no column 'sad'"):
        rows_by(tmp_path / "a.csv", "text,good\na,1\n", **columns)


def test_a_cell_may_hold_several_labels(tmp_path: Path) -> None:
    content = "text\tlabel\na\tx, y\nb\t['x', 'y z']\nc\t\nd\tx|y\ne\t[\"x\"]\nf\t[]\n"
    labels = [label for _, label in rows_by(tmp_path / "a.tsv", content, lists=True)]
    assert labels == [["x", "y"], ["x", "y z"], [], ["x", "y"], ["x"], []]
    with pytest.raises(DataError, match=r"a.tsv:2: label '\[x' is no list"):
        rows_by(tmp_path / "a.tsv", "text\tlabel\na\t[x\n", lists=True)
    assert rows_by(tmp_path / "a.jsonl", '{"text": "a", "label": ["x", 1]}\n') == [("a", ["x", "1"])]


def test_pairs_need_both_texts(tmp_path: Path) -> None:
    columns = {"text_pair": "other"}
    assert rows_by(tmp_path / "a.csv", "text,other,label\na,b,1\n", **columns) == [(("a", "b"), "1")]
    with pytest.raises(DataError, match=r"a.jsonl:1: the text is missing; expected a value in column 'other'"):
        rows_by(tmp_path / "a.jsonl", '{"text": "a", "other": null, "label": 1}\n', **columns)
