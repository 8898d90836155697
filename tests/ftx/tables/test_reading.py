from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftx.errors import DataError

Read = Callable[..., list[tuple[str, str]]]


def test_json_lines_and_parquet(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": 1}\n\n{"label": "pos", "text": "y"}\n')
    assert read(tmp_path / "a.jsonl") == [("x", "1"), ("y", "pos")]
    table = pyarrow.table({"text": ["x", "y"], "label": [1.0, 0.0]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet") == [("x", "1"), ("y", "0")]


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
        ("a.csv.gz", gzip.compress(b"text,label\ngood,\n", mtime=0), "a.csv.gz:2: the label is missing"),
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
        ("a.xlsx", b"", "is a spreadsheet: save it as CSV"),
        ("a.docx", b"", "unknown kind"),
    ],
)
def test_bad_rows_name_file_line_and_reason(tmp_path: Path, name: str, content: bytes, reason: str, read: Read) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read(tmp_path / name)


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_bytes_are_a_table_or_one_clear_error(tmp_path: Path, content: bytes, suffix: str, read: Read) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(b"text,label\n" + content if suffix == ".csv" else content)
    try:
        read(path)
    except DataError as error:
        assert str(path) in str(error)
