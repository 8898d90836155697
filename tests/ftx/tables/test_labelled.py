from __future__ import annotations

import gzip
import os
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftx.errors import DataError
from ftx.tables import lines
from ftx.tables.bad_rows import BadRows
from ftx.tables.columns import Columns
from ftx.tables.labelled import read_tables


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
        ("a.csv", b"text,label\n\xff\xfe,1\n", "a.csv:2: not UTF-8; convert it"),
        ("a.csv", b"text,l\xe9bel\na,1\n", "a.csv:1: the header is not UTF-8"),
        ("a.csv", b'text,label\n"a"b,1\n', "a.csv:2: ',' expected after"),
        ("a.csv", b'text,label\na,1\n"x\n\n"y,1\n', r"a.csv:3: .*expected cells separated by ',' \(lines 3 to 5\)"),
        ("a.csv", b"text,label\ra,1\rb,2\r", "a.csv ends its lines with CR alone"),
        ("a.tsv", b"text\tlabel\ra\t1\r", "a.tsv ends its lines with CR alone"),
        ("a.csv", "text,label\na,1\n".encode("utf-16"), "a.csv is UTF-16"),
        ("a.csv", "text,label\na,1\n".encode("utf-16-le"), "it looks like UTF-16"),
        ("a.csv", b"\x1f\x8babc\n", "a.csv is gzip: name it .gz"),
        ("a.csv.gz", b"\x1f\x8babc", "a.csv.gz:1: the gzip data ends too early"),
        ("a.csv.gz", gzip.compress(b"text,label\ngood,\n"), "a.csv.gz:2: the label is missing"),
        ("a.csv", b"PK\x03\x04abc", "a.csv is a zip archive"),
        ("a.csv", b"PAR1abc", "a.csv is Parquet: name it .parquet"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": "\xff", "label": 1}\n', "a.jsonl:2: not UTF-8"),
        ("a.jsonl", b'{"text": "x", "text": "y", "label": 1}\n', "a.jsonl:1: the key 'text' stands twice"),
        ("a.jsonl", b'{"text": "x", "label": NaN}\n', "a.jsonl:1: the label is missing"),
        ("a.jsonl", b'{"text": NaN, "label": 1}\n', "a.jsonl:1: the text is missing"),
        ("a.jsonl", b'{"text": true, "label": 1}\n', "a.jsonl:1: the text is true or false; expected a string"),
        ("a.jsonl", b'{"text": ["x"], "label": 1}\n', "a.jsonl:1: the text is a list; expected a string"),
        ("a.jsonl", b'{"text": "x", "label": {"a": 1}}\n', "a.jsonl:1: the label is an object"),
        ("a.jsonl", b'{"text": "x", "label": [["a"]]}\n', "a.jsonl:1: the list of labels holds a list"),
        ("a.jsonl", b'{"text": "x", "label": ' + b"9" * 5000 + b"}\n", "a.jsonl:1: the label has 5,000 characters"),
        (
            "a.jsonl",
            b'{"text": "x", "label": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
            "a.jsonl:1: nested too deep",
        ),
        ("a.jsonl", b"1\n", "a.jsonl:1: a number, expected one JSON object"),
        ("a.csv", b"text,label\n" + b"x" * 1_000_001 + b",1\n", "a.csv:2: the text has 1,000,001 characters"),
        ("a.csv", b"review,label\ngood,1\n", "no column 'text'; the columns are review, label"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": ', "a.jsonl:2"),
        ("a.jsonl", b"[1, 2]\n", "a.jsonl:1: a list"),
        ("a.jsonl", b'{"text": null, "label": 1}\n', "a.jsonl:1: the text is missing"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": "y"}\n', "a.jsonl:2: the label is missing"),
        ("a.parquet", b"no parquet", "a.parquet can't be read as Parquet"),
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
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
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
def test_what_parquet_has_besides_text_is_a_bad_row(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    path = parquet(tmp_path / "a.parquet", **{name: [*cells, *cells] for name, cells in columns.items()})
    with pytest.raises(DataError, match=rf"a\.parquet:1: {reason}"):
        read(path)
    bad_rows = BadRows(limit=2)
    assert read(path, bad_rows=bad_rows) == []
    assert [row.where for row in bad_rows.rows] == [f"{path}:1", f"{path}:2"]


def test_parquet_strings_that_are_not_utf_8_are_bad_rows(tmp_path: Path) -> None:
    binary = pyarrow.array([b"good", b"\xff"], pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), 2, binary.buffers())
    path = parquet(tmp_path / "a.parquet", text=text, label=["a", "b"])
    bad_rows = BadRows(limit=1)
    assert read(path, bad_rows=bad_rows) == [("good", "a")]
    assert bad_rows.rows[0].where == f"{path}:2"
    assert bad_rows.rows[0].reason == "the text is not UTF-8"


def test_numbers_truth_values_and_decimals_are_labels(tmp_path: Path) -> None:
    for labels, names in (
        ([1.0, 0.0], ["1", "0"]),
        ([True, False], ["true", "false"]),
        ([Decimal("1.50"), Decimal("-2.00")], ["1.50", "-2.00"]),
    ):
        assert [label for _, label in read(parquet(tmp_path / "a.parquet", text=["x", "y"], label=labels))] == names
    (tmp_path / "a.jsonl").write_text('{"text": 1.10, "label": -1}\n{"text": "y", "label": true}\n')
    assert read(tmp_path / "a.jsonl") == [("1.10", "-1"), ("y", "true")]


def test_parquet_that_is_nested_very_deeply_is_one_line(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    with pytest.raises(DataError, match=r"a\.parquet can't be read as Parquet: .* too deeply nested"):
        read(parquet(tmp_path / "a.parquet", text=["x"], label=[deep]))
    with pytest.raises(DataError, match=r"a\.parquet:1: the list of labels holds a list"):
        read(parquet(tmp_path / "a.parquet", text=["x"], label=[[[[[["x"]]]]]]))


def test_spoilt_rows_and_broken_quotes_are_skipped_up_to_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,label\ngood,1\ncaf\xe9,1\n"a"b,1\n"two\nlines",0\n"\xff\n",0\nbad,0\n')
    bad_rows = BadRows(limit=3)
    assert read(path, bad_rows=bad_rows) == [("good", "1"), ("two\nlines", "0"), ("bad", "0")]
    assert [row.where for row in bad_rows.rows] == [f"{path}:3", f"{path}:4", f"{path}:7"]
    with pytest.raises(DataError, match=r"a\.csv:7: not UTF-8.* \(lines 7 to 8\) \(after 2 rows skipped"):
        read(path, bad_rows=BadRows(limit=2))


def test_a_quote_that_is_never_closed_is_an_error_however_many_rows_may_be_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\ngood,1\n"open,1\n' + "fine,0\n" * 100)
    with pytest.raises(DataError, match=r"a\.csv:3: a quote that is opened in this row is not closed"):
        read(path, bad_rows=BadRows(limit=1000))


def test_a_line_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE_BYTES", 1000)
    for name, content in (("a.csv", "text,label\n" + "x" * 1000 + ",1\n"), ("a.jsonl", "[" * 2000)):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=rf"{name}:\d: a line of more than"):
            read(tmp_path / name, bad_rows=BadRows(limit=9))


def test_what_is_no_file_is_refused_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.csv"))
    for name, reason in (
        ("pipe.csv", "is a named pipe; expected a file"),
        ("device.csv", "is a device; expected a file"),
        ("socket.csv", "is a socket; expected a file"),
        ("gone.csv", "can't be read: No such file"),
        ("loop.csv", "can't be read: Too many levels"),
        ("x" * 300 + ".csv", "can't be read: File name too long"),
        ("a\0b.csv", "can't be read: embedded null"),
    ):
        with pytest.raises(DataError, match=reason):
            read(tmp_path / name)
    for name in ("pipe.csv", "socket.csv", "folder.csv"):
        folder = tmp_path / f"in {name}"
        folder.mkdir()
        (folder / "a.csv").write_text("text,label\na,1\n")
        (tmp_path / name).rename(folder / name)
        with pytest.raises(DataError, match=rf"{name} is a .*; expected a file"):
            read(folder)


def test_gzip_is_read_alone_and_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"text;label\nb;0\n") + gzip.compress(b"c;1\n"))
    assert read(tmp_path / "b.txt.gz") == [("b", "0"), ("c", "1")]
    assert read(tmp_path) == [("a", "1"), ("b", "0"), ("c", "1")]


def test_a_header_of_very_many_columns_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    many = ",".join(f"c{number}" for number in range(100_000))
    path.write_text(f"{many}\n")
    with pytest.raises(DataError, match=r"no column 'text'; the columns are c0, .* and 99980 more") as caught:
        read(path)
    assert len(str(caught.value)) < 1000
    path.write_text(f"{many},c99999\n")
    with pytest.raises(DataError, match="the column name 'c99999' stands twice"):
        read(path)
    path.write_text(f"{many},text,label\n{many},a,b\n")
    assert read(path) == [("a", "b")]


@pytest.mark.parametrize("delimiter", ['"', "\n", "\0", ";;"])
def test_not_everything_is_a_delimiter(tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\n")
    with pytest.raises(DataError, match="expected one character, no quote or line break"):
        read(tmp_path / "a.csv", delimiter=delimiter)
