from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ftx.errors import DataError
from ftx.tables.bad_rows import BadRows
from ftx.tables.columns import Columns
from ftx.tables.formats import input_format
from ftx.tables.reading import open_table, read_files

Read = Callable[..., list[tuple[str, str]]]


def test_csv_with_quotes_and_line_breaks_in_cells(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffid,text,label\r\n1,"good, ""really""\nyes",pos\r\n\r\n2,bad,neg\r\n'.encode())
    assert read(path) == [('good, "really"\nyes', "pos"), ("bad", "neg")]


def test_tsv_keeps_quotes_as_they_stand(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('sentence\tlabel\n"a" film\t1\nunclosed "quote\t0\n')
    assert read(path, "sentence") == [('"a" film', "1"), ('unclosed "quote', "0")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str, suffix: str, read: Read) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(f"id{delimiter}text{delimiter}label\n1{delimiter}good. well{delimiter}pos\n")
    assert read(path) == [("good. well", "pos")]


def test_the_delimiter_can_be_given(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.txt").write_text("text~label\ngood, really~pos\n")
    assert read(tmp_path / "a.txt", delimiter="~") == [("good, really", "pos")]


def test_the_semicolon_tables_of_the_emotion_data_are_read(shared_data: Path, read: Read) -> None:
    rows = read(shared_data / "emotion/val.txt", "text", "label_name")
    assert len(rows) == 2000
    assert {label for _, label in rows} == {"sadness", "joy", "love", "anger", "fear", "surprise"}


def test_spoilt_rows_and_broken_quotes_are_skipped_up_to_the_bound(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,label\ngood,1\ncaf\xe9,1\n"a"b,1\n"two\nlines",0\n"\xff\n",0\nbad,0\n')
    bad_rows = BadRows(limit=3)
    assert read(path, bad_rows=bad_rows) == [("good", "1"), ("two\nlines", "0"), ("bad", "0")]
    assert [row.where for row in bad_rows.rows] == [f"{path}:3", f"{path}:4", f"{path}:7"]
    with pytest.raises(DataError, match=r"a\.csv:7: not UTF-8.* \(lines 7 to 8\) \(after 2 rows skipped"):
        read(path, bad_rows=BadRows(limit=2))


def test_a_quote_that_is_never_closed_is_an_error_however_many_rows_may_be_skipped(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\ngood,1\n"open,1\n' + "fine,0\n" * 100)
    with pytest.raises(DataError, match=r"a\.csv:3: a quote that is opened in this row is not closed"):
        read(path, bad_rows=BadRows(limit=1000))


def test_a_header_of_very_many_columns_is_one_line(tmp_path: Path, read: Read) -> None:
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


def test_a_tab_is_the_delimiter_of_tsv_whatever_else_is_in_the_header(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.tsv").write_text("a,b,c\ttext\tlabel\n1,2\tgood\t1\n")
    assert read(tmp_path / "a.tsv") == [("good", "1")]
    (tmp_path / "b.tsv").write_text('text;label\n"a;b";1\n')
    with pytest.raises(DataError, match=r"b.tsv:1: there is no column 'text'; the columns are text;label"):
        read(tmp_path / "b.tsv")
    assert read(tmp_path / "b.tsv", delimiter=";") == [("a;b", "1")]


def test_between_tabs_quotes_enclose_cells_in_csv_alone(tmp_path: Path, read: Read) -> None:
    for name, text in (("a.csv", "a\tb"), ("a.txt", '"a')):
        (tmp_path / name).write_text('text\tlabel\n"a\tb"\t1\n' if name == "a.csv" else 'text\tlabel\n"a\t1\n')
        assert read(tmp_path / name) == [(text, "1")]


@pytest.mark.parametrize(
    ("content", "columns", "texts"),
    [
        ("id;text\n1;a\n", Columns(), ["a"]),
        ("id;review\n1;a\n", Columns(text="review"), ["a"]),
        ("id;review\n1;a\n", Columns(), ["id;review", "1;a"]),
        ("text\na\n", Columns(), ["text", "a"]),
        ("text,text_pair\na,b\n", Columns(text_pair="text_pair"), ["a"]),
        ("", Columns(), []),
    ],
)
def test_plain_text_is_a_table_where_a_column_is_named_or_its_header_has_one(
    tmp_path: Path, content: str, columns: Columns, texts: list[str]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content)
    with open_table(path, input_format(path), columns) as table:
        assert [record.cells[0] for record in table.records] == texts
        assert bool(table.notice) == (columns.text is None)


def test_a_file_without_a_header_is_noticed(tmp_path: Path, read: Read, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.csv"
    path.write_text("The film was good.,pos\nThe film was bad.,neg\n")
    with pytest.raises(DataError, match=r"looks like a row, add a header line above it, such as text,label$"):
        read(path)
    path.write_text("id,review\n1,good\n")
    with pytest.raises(DataError, match=r"--text-column$"):
        read(path)
    caplog.set_level("INFO", "ftx")
    for first, noticed in (("The film was good.", True), ("Review", False)):
        caplog.clear()
        path.write_text(f"{first}\nThe film was bad.\n")
        assert len(list(read_files(path, Columns()))) == 1
        assert ("name the file .txt" in caplog.text) == noticed
