"""Every format to every other: rows stay whole, in order and as they were."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftx import Predictor
from ftx.errors import DataError, FtxError, OutputError
from ftx.runtime.stream import predict_file, predicted_columns

ADDED = 7  # columns of a single label prediction with two labels
FORMATS = ["csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz", "parquet"]


def write_rows(path: Path, rows: list[dict[str, str]], names: list[str]) -> None:
    kind = path.name.partition(".")[2]
    if kind == "parquet":
        table = pyarrow.table({name: pyarrow.array([row[name] for row in rows], pyarrow.string()) for name in names})
        pyarrow.parquet.write_table(table, path, row_group_size=3)
        return
    if kind.startswith("jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    elif kind.startswith("csv"):
        file = io.StringIO()
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([names, *([row[name] for name in names] for row in rows)])
        text = file.getvalue()
    else:
        text = "".join("\t".join(row) + "\n" for row in [names, *([row[name] for name in names] for row in rows)])
    data = text.encode()
    path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)


def read_rows(path: Path) -> list[dict[str, Any]]:
    kind = path.name.partition(".")[2]
    if kind == "parquet":
        return list(pyarrow.parquet.read_table(path).to_pylist())
    data = path.read_bytes()
    text = (gzip.decompress(data) if kind.endswith(".gz") else data).decode()
    if kind.startswith("jsonl"):
        return [json.loads(line) for line in text.split("\n")[:-1]]
    if kind.startswith("csv"):
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    names, *rows = [line.split("\t") for line in text.split("\n")[:-1]]
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_every_format_to_every_other(source: str, target: str, tmp_path: Path, fake: Any) -> None:
    rows = [{"id": str(number), "text": f"text {number} é, 'x'", "": "-"} for number in range(10)]
    write_rows(tmp_path / f"in.{source}", rows, ["id", "text", ""])
    report = predict_file(fake, tmp_path / f"in.{source}", tmp_path / f"out.{target}", chunk_rows=4)
    assert (report.rows, report.bad_rows, report.truncated) == (10, 0, 10 * (len(rows[0]["text"]) > 16))
    written = read_rows(tmp_path / f"out.{target}")
    assert [{name: row[name] for name in ("id", "text", "")} for row in written] == rows
    for row, prediction in zip(written, fake([row["text"] for row in rows]), strict=True):
        assert row["predicted_label"] == prediction.label
        assert float(row["predicted_score"]) == prediction.score
        scores = row.get("predicted_scores") or {n: float(row[f"predicted_score_{n}"]) for n in prediction.scores}
        assert scores == prediction.scores
        assert str(row["predicted_truncated"]).lower() == str(prediction.truncated).lower()
        assert list(row)[:3] == ["id", "text", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"in.{source}", f"out.{target}"])


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
table_rows = st.lists(st.fixed_dictionaries({"id": anything, "text": anything}), max_size=12)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=table_rows, chunk_rows=st.integers(1, 5), data=st.data())
def test_any_strings_round_trip(
    rows: list[dict[str, str]], chunk_rows: int, data: st.DataObject, tmp_path: Path, fake: Any
) -> None:
    source = data.draw(st.sampled_from(FORMATS))
    target = data.draw(st.sampled_from(FORMATS))
    if "tsv" in source or "tsv" in target:
        table = str.maketrans("\t\n\r", "   ")
        rows = [{name: value.translate(table) for name, value in row.items()} for row in rows]
    write_rows(tmp_path / f"in.{source}", rows, ["id", "text"])
    report = predict_file(
        fake, tmp_path / f"in.{source}", tmp_path / f"out.{target}", chunk_rows=chunk_rows, overwrite=True
    )
    written = read_rows(tmp_path / f"out.{target}")
    assert report.rows == len(rows)
    assert [{name: row[name] for name in ("id", "text")} for row in written] == rows
    assert [row["predicted_label"] for row in written] == [one.label for one in fake([row["text"] for row in rows])]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), kind=st.sampled_from(["csv", "tsv", "txt", "jsonl", "csv.gz", "parquet"]))
def test_any_bytes_give_an_answer_or_one_line(data: bytes, kind: str, tmp_path: Path, fake: Any) -> None:
    (tmp_path / f"in.{kind}").write_bytes(data)
    try:
        predict_file(fake, tmp_path / f"in.{kind}", tmp_path / "out.csv", overwrite=True, rejects=tmp_path / "r")
    except FtxError as error:
        assert len(str(error).splitlines()) == 1 or "\n" not in str(error)


def test_heads(tmp_path: Path, make_fake: Callable[..., Any]) -> None:
    (tmp_path / "in.txt").write_text("a\nb\n")
    many, value = make_fake("multi_label_classification"), make_fake("regression")
    for kind in ("csv", "jsonl", "parquet"):
        predict_file(many, tmp_path / "in.txt", tmp_path / f"many.{kind}", prefix="p_")
        predict_file(value, tmp_path / "in.txt", tmp_path / f"value.{kind}")
        expected = many(["a"])[0]
        row = read_rows(tmp_path / f"many.{kind}")[0]
        assert row["p_labels"] == ("|".join(expected.labels) if kind == "csv" else expected.labels)
        scores = row["p_scores"] if kind == "jsonl" else {n: float(row[f"p_score_{n}"]) for n in expected.scores}
        assert scores == expected.scores
        row = read_rows(tmp_path / f"value.{kind}")[0]
        assert list(row) == ["text", "predicted_value", "predicted_truncated", "predicted_windows"]
        assert float(row["predicted_value"]) == value(["a"])[0].value
    assert pyarrow.parquet.read_schema(tmp_path / "many.parquet").field("p_labels").type == pyarrow.list_(
        pyarrow.string()
    )


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\rb"])
def test_names_that_tsv_cannot_hold_are_refused_before_any_row(
    name: str, tmp_path: Path, fake: Any, make_fake: Callable[..., Any]
) -> None:
    (tmp_path / "in.txt").write_text("a\nb\n")

    class Never:
        path = fake.path
        manifest = make_fake(labels=["fine", name]).manifest

        def __call__(self, texts: Any) -> Any:
            raise AssertionError("rows were read")

    for kind in ("tsv", "tsv.gz"):
        with pytest.raises(OutputError, match="holds a tab or line break, which TSV can't: write CSV or JSON lines"):
            predict_file(Never(), tmp_path / "in.txt", tmp_path / f"out.{kind}")
        with pytest.raises(OutputError, match="made of --prefix and a label"):
            predict_file(fake, tmp_path / "in.txt", tmp_path / f"out.{kind}", prefix=name)
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]
    for kind in ("csv", "jsonl", "parquet"):
        predict_file(make_fake(labels=["fine", name]), tmp_path / "in.txt", tmp_path / f"out.{kind}", prefix=name)
        row = read_rows(tmp_path / f"out.{kind}")[0]
        assert row[f"{name}label"] in ("fine", name)


def test_labels_with_the_sign_that_stands_between_labels(tmp_path: Path, make_fake: Callable[..., Any]) -> None:
    (tmp_path / "in.txt").write_text("a\nb\n")
    labels = ["a|b", "a", "b"]
    many = make_fake("multi_label_classification", labels=labels)
    for kind in ("csv", "csv.gz", "tsv"):
        with pytest.raises(OutputError, match=r"the label 'a\|b' holds a \|"):
            predict_file(many, tmp_path / "in.txt", tmp_path / f"out.{kind}")
    for kind in ("jsonl", "parquet"):
        predict_file(many, tmp_path / "in.txt", tmp_path / f"out.{kind}")
        assert read_rows(tmp_path / f"out.{kind}")[0]["predicted_labels"] == many(["a"])[0].labels
    predict_file(make_fake(labels=["a|b", "c"]), tmp_path / "in.txt", tmp_path / "one.csv")
    assert read_rows(tmp_path / "one.csv")[0]["predicted_label"] in ("a|b", "c")


def test_columns_of_predictions(fake: Any) -> None:
    names = ["predicted_label", "predicted_score", "predicted_score_negative", "predicted_score_positive"]
    names += ["predicted_truncated", "predicted_windows", "predicted_margin"]
    assert list(predicted_columns([], fake.manifest)) == names
    measured = replace(fake.manifest, parity={"margin_error": 0.1})
    assert list(predicted_columns([], measured)) == [*names, "predicted_near_boundary"]
    nested = predicted_columns(fake(["a", "a much longer text"]), fake.manifest, prefix="", nested=True)
    assert list(nested) == ["label", "score", "scores", "truncated", "windows", "margin"]
    assert nested["truncated"] == [False, True]
    assert nested["windows"] == [1, 1]


def test_pairs(tmp_path: Path, make_fake: Callable[..., Any]) -> None:
    predictor = make_fake(text_pair=True)
    (tmp_path / "in.csv").write_text("text,text_pair,other\na,b,c\n")
    predict_file(predictor, tmp_path / "in.csv", tmp_path / "out.csv")
    assert read_rows(tmp_path / "out.csv")[0]["predicted_score"] == str(predictor([("a", "b")])[0].score)
    options = {"text_column": "text", "text_pair_column": "other"}
    for kind in ("jsonl", "parquet"):
        write_rows(tmp_path / f"in.{kind}", [{"text": "a", "other": "c"}], ["text", "other"])
        predict_file(predictor, tmp_path / f"in.{kind}", tmp_path / f"out.{kind}", **options)
        assert read_rows(tmp_path / f"out.{kind}")[0]["predicted_score"] == predictor([("a", "c")])[0].score
    (tmp_path / "one.csv").write_text("text\na\n")
    with pytest.raises(
        DataError,
        match=r"one.csv:1: there is no column 'text_pair'; .* --text-pair-column",
    ):
        predict_file(predictor, tmp_path / "one.csv", tmp_path / "x.csv")
    with pytest.raises(DataError, match="reads one text at a time"):
        predict_file(make_fake(text_pair=False), tmp_path / "in.csv", tmp_path / "x.csv", **options)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_date_is_asked_as_it_is_written(kind: str, tmp_path: Path, fake: Any) -> None:
    dates = pyarrow.array([datetime.datetime(2020, 1, 2, 3, 4), datetime.datetime(2020, 1, 2)], pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table({"text": dates}), tmp_path / "in.parquet")
    predict_file(fake, tmp_path / "in.parquet", tmp_path / f"out.{kind}")
    for row in read_rows(tmp_path / f"out.{kind}"):
        assert float(row["predicted_score"]) == fake([row["text"]])[0].score


def test_parquet_keeps_types(tmp_path: Path, fake: Any) -> None:
    utc = datetime.UTC
    table = pyarrow.table(
        {
            "text": pyarrow.array(["a", "b", "a"], pyarrow.string()).dictionary_encode(),
            "n": pyarrow.array([1, None, 3], pyarrow.int8()),
            "when": pyarrow.array([datetime.datetime(2020, 1, 2, tzinfo=utc)] * 3, pyarrow.timestamp("ns", tz="UTC")),
            "price": pyarrow.array([decimal.Decimal("1.10")] * 3, pyarrow.decimal128(5, 2)),
            "raw": pyarrow.array([b"\xff\x00"] * 3),
            "list": [[1, 2], [], None],
            "struct": [{"x": 1}, {"x": None}, None],
            "wait": pyarrow.array([datetime.timedelta(seconds=1)] * 3),
        }
    ).replace_schema_metadata({"made": "by a test"})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    predict_file(fake, tmp_path / "in.parquet", tmp_path / "out.parquet", chunk_rows=1)
    out = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert out.select(table.column_names).equals(table)
    assert out.schema.metadata == table.schema.metadata
    assert out.num_columns == table.num_columns + ADDED
    predict_file(fake, tmp_path / "in.parquet", tmp_path / "out.csv")
    row = read_rows(tmp_path / "out.csv")[0]
    assert (row["n"], row["price"], row["list"], row["struct"]) == ("1", "1.10", "[1, 2]", '{"x": 1}')
    assert row["when"].startswith("2020-01-02 00:00:00")
    predict_file(fake, tmp_path / "in.parquet", tmp_path / "out.jsonl")
    row = read_rows(tmp_path / "out.jsonl")[1]
    assert (row["n"], row["list"], row["struct"]) == (None, [], {"x": None})


def parquet_bytes(table: Any, **values: Any) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink, **values)
    return sink.getvalue()


WHOLE = parquet_bytes(pyarrow.table({"text": [f"text {number}" for number in range(5000)]}), row_group_size=1000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", r"in.parquet can't be read as Parquet"),
        (b"no Parquet at all", r"in.parquet can't be read as Parquet"),
        (WHOLE[:100], r"in.parquet can't be read as Parquet"),
        (WHOLE[:-1], r"in.parquet can't be read as Parquet"),
        (WHOLE[:4] + b"\xff" * 3000 + WHOLE[3004:], r"in.parquet can't be read as Parquet"),
        (parquet_bytes(pyarrow.table({"a": ["x"], "b": ["y"]})), "the columns are a, b"),
        (parquet_bytes(pyarrow.table({"text": ["x"], "predicted_label": ["y"]})), "--prefix"),
        (parquet_bytes(pyarrow.table([["x"], ["y"]], names=["text", "text"])), "stands twice"),
        (parquet_bytes(pyarrow.table({"text": ["x", None]})), r"in.parquet:2: the text is missing"),
        (parquet_bytes(pyarrow.table({"text": [["x"]]})), r"in.parquet:1: the text is a list"),
        (parquet_bytes(pyarrow.table({"text": [1.5, float("nan")]})), r"in.parquet:2: the text is missing"),
        (parquet_bytes(pyarrow.table({"text": [b"x"]})), r"in.parquet:1: the text is bytes"),
        (parquet_bytes(pyarrow.table({"text": [True]})), r"in.parquet:1: the text is true or false"),
    ],
)
def test_odd_parquet(data: bytes, words: str, tmp_path: Path, fake: Any) -> None:
    (tmp_path / "in.parquet").write_bytes(data)
    for target in ("out.parquet", "out.csv", "out.jsonl"):
        with pytest.raises(DataError, match=words) as caught:
            predict_file(fake, tmp_path / "in.parquet", tmp_path / target)
        assert len(str(caught.value).splitlines()) == 1


def test_parquet_rows_that_can_be_used(tmp_path: Path, fake: Any) -> None:
    table = pyarrow.table({"text": [1, None, 3], "b": ["x", "y", "z"]})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    for kind in ("parquet", "csv", "jsonl", "tsv"):
        report = predict_file(fake, tmp_path / "in.parquet", tmp_path / f"out.{kind}", skip_bad_rows=1)
        assert (report.rows, report.bad_rows) == (2, 1)
        assert [(str(row["text"]), row["b"]) for row in read_rows(tmp_path / f"out.{kind}")] == [("1", "x"), ("3", "z")]
    pyarrow.parquet.write_table(table.slice(0, 0), tmp_path / "none.parquet")
    predict_file(fake, tmp_path / "none.parquet", tmp_path / "none-out.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "none-out.parquet").shape == (0, 2 + ADDED)
    bad = pyarrow.StringArray.from_buffers(
        2, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"a\xff")
    )
    pyarrow.parquet.write_table(pyarrow.table({"text": bad}), tmp_path / "bad.parquet")
    assert predict_file(fake, tmp_path / "bad.parquet", tmp_path / "bad.csv", skip_bad_rows=1).rows == 1
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b\tc"], "n": [1, 2]}), tmp_path / "tab.parquet")
    with pytest.raises(DataError, match=r"tab.parquet:2: .*TSV can't"):
        predict_file(fake, tmp_path / "tab.parquet", tmp_path / "tab.tsv")


def test_chunks_end_by_bytes(tmp_path: Path, fake: Any) -> None:
    (tmp_path / "in.txt").write_text(("x" * 99 + "\n") * 100)
    sizes: list[int] = []

    class Counting:
        manifest, path, sha256, settings = fake.manifest, fake.path, fake.sha256, fake.settings

        def __call__(self, texts: Any) -> Any:
            sizes.append(len(texts))
            return fake(texts)

    predict_file(Counting(), tmp_path / "in.txt", tmp_path / "out.csv", chunk_bytes=1000)
    assert sizes == [10] * 10


def test_a_pipe_as_input(tmp_path: Path, fake: Any) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("id,text\n1,a\n",))
    writer.start()  # and waits for the reader
    report = predict_file(fake, pipe, tmp_path / "out.csv", input_format="csv")
    writer.join()
    assert report.rows == 1
    with pytest.raises(OutputError, match=r"--resume: .*pipe is a stream"):
        predict_file(fake, pipe, tmp_path / "more.csv", input_format="csv", resume=True)
    with pytest.raises(DataError, match="Parquet is read from its end"):
        predict_file(fake, pipe, tmp_path / "more.csv", input_format="parquet")


def test_standard_input_and_output(
    tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a"}\n{"text": "b"}\n')))
    assert predict_file(fake, "-", "-").rows == 2
    assert [json.loads(line)["text"] for line in capfdbinary.readouterr().out.splitlines()] == ["a", "b"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nope\n")))
    with pytest.raises(DataError, match="standard input:1: "):
        predict_file(fake, "-", tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())  # of a stream nothing is left that nobody can go on from
    with pytest.raises(OutputError, match="to which Parquet is not written"):
        predict_file(fake, "-", "-", output_format="parquet")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input is closed"):
        predict_file(fake, "-", "-")


def test_a_real_model_answers_as_in_memory(tmp_path: Path, tiny_export: Path) -> None:
    predictor = Predictor(tiny_export)
    texts = [f"The movie was {word}! " * repeats for word in ("great", "dull", "") for repeats in range(12)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    report = predict_file(predictor, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    expected = predictor(texts)
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row["predicted_scores"] for row in rows] == [prediction.scores for prediction in expected]
    assert report.truncated == sum(prediction.truncated for prediction in expected) > 0
    predict_file(predictor, tmp_path / "in.jsonl", tmp_path / "small.csv", chunk_rows=5)
    assert [row["predicted_label"] for row in read_rows(tmp_path / "small.csv")] == [one.label for one in expected]
