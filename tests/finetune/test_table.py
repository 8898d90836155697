from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftx.errors import DataError
from ftx.finetune.bad_rows import BadRows
from ftx.finetune.table import Columns, read_tables


def read(
    path: Path, text: str = "text", label: str = "label", *, delimiter: str = "", bad_rows: BadRows | None = None
) -> list[tuple[str, str]]:
    columns = Columns(text=text, label=label, delimiter=delimiter)
    return [(row.text, row.label) for row in read_tables(path, columns, bad_rows or BadRows())]


def test_csv_with_quotes_and_line_breaks_in_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffid,text,label\r\n1,"good, ""really""\nyes",pos\r\n\r\n2,bad,neg\r\n'.encode())
    assert read(path) == [('good, "really"\nyes', "pos"), ("bad", "neg")]


def test_tsv_keeps_quotes_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('sentence\tlabel\n"a" film\t1\nunclosed "quote\t0\n')
    assert read(path, "sentence") == [('"a" film', "1"), ('unclosed "quote', "0")]


def test_json_lines_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": 1}\n\n{"label": "pos", "text": "y"}\n')
    assert read(tmp_path / "a.jsonl") == [("x", "1"), ("y", "pos")]
    table = pyarrow.table({"text": ["x", "y"], "label": [1.0, 0.0]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet") == [("x", "1"), ("y", "0")]


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("text,label\nsecond,1\n")
    (tmp_path / "a.jsonl").write_text('{"text": "first", "label": 0}\n')
    (tmp_path / "README.md").write_text("not data")
    assert read(tmp_path) == [("first", "0"), ("second", "1")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"text,label\ngood,1\nbad\n", "a.csv:3: 1 cells separated by ',', expected 2"),
        ("a.csv", b"text,text\na,b\n", "stands twice"),
        ("a.csv", b'text,label\n"open,1\n', "a.csv:2"),
        ("a.csv", b"text,label\ngood,\n", "a.csv:2: the label is missing"),
        ("a.csv", b"text,label\n\xff\xfe,1\n", "not UTF-8"),
        ("a.csv", b"review,label\ngood,1\n", "no column 'text'; the columns are review, label"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": ', "a.jsonl:2"),
        ("a.jsonl", b"[1, 2]\n", "a.jsonl:1: a list"),
        ("a.jsonl", b'{"text": null, "label": 1}\n', "a.jsonl:1: the text is missing"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": "y"}\n', "a.jsonl:2: the label is missing"),
        ("a.parquet", b"no parquet", "not Parquet"),
        ("a.xlsx", b"", "unknown kind"),
    ],
)
def test_bad_rows_name_file_line_and_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read(tmp_path / name)


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


def test_half_a_surrogate_pair_is_read_as_the_runtime_reads_it(tmp_path: Path) -> None:
    assert rows_by(tmp_path / "a.jsonl", '{"text": "a\\ud800", "label": "b\\udc00"}\n') == [("a\ufffd", "b\ufffd")]


def test_pairs_need_both_texts(tmp_path: Path) -> None:
    columns = {"text_pair": "other"}
    assert rows_by(tmp_path / "a.csv", "text,other,label\na,b,1\n", **columns) == [(("a", "b"), "1")]
    with pytest.raises(DataError, match=r"a.jsonl:1: the text is missing; expected a value in column 'other'"):
        rows_by(tmp_path / "a.jsonl", '{"text": "a", "other": null, "label": 1}\n', **columns)


def test_a_value_that_is_not_there_is_a_missing_label(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["x"], "label": [float("nan")]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="the label is missing"):
        read(tmp_path / "a.parquet")


def test_an_empty_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no"):
        read(tmp_path)


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_table_or_one_clear_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(b"text,label\n" + content if suffix == ".csv" else content)
    try:
        read(path)
    except DataError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(f"id{delimiter}text{delimiter}label\n1{delimiter}good. well{delimiter}pos\n")
    assert read(path) == [("good. well", "pos")]


def test_the_delimiter_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text~label\ngood, really~pos\n")
    assert read(tmp_path / "a.txt", delimiter="~") == [("good, really", "pos")]


def test_bad_rows_are_skipped_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\ngood,1\nragged\nno label,\nbad,0\n")
    bad_rows = BadRows(limit=2)
    assert read(path, bad_rows=bad_rows) == [("good", "1"), ("bad", "0")]
    assert [row.where for row in bad_rows.rows] == [f"{path}:3", f"{path}:4"]
    bad_rows.write(tmp_path / "bad.jsonl")
    assert (tmp_path / "bad.jsonl").read_text().count("\n") == 2
    with pytest.raises(DataError, match=r"a\.csv:4: the label is missing.*after 1 rows skipped"):
        read(path, bad_rows=BadRows(limit=1))


def test_the_semicolon_tables_of_the_emotion_data_are_read(shared_data: Path) -> None:
    rows = read(shared_data / "emotion/val.txt", "text", "label_name")
    assert len(rows) == 2000
    assert {label for _, label in rows} == {"sadness", "joy", "love", "anger", "fear", "surprise"}
