"""Tables that are not what they seem."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from tests.conftest import review_rows

__all__ = ["CASES", "GOOD", "PIPES", "Table", "lines", "some", "table"]

# Enough rows that a part is held out, few enough that a training takes no time.
GOOD = [{"text": text, "label": label} for text, label in review_rows()[::4]]
DEEP = "[" * 100_000 + "]" * 100_000
DIGITS = "9" * 5000


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        name: What is odd about it.
        file: Its name; "" stands for a folder or a device that `make` makes.
        data: What it holds.
        make: Makes it, where it is no ordinary file.
        columns: Options that go with it.
        skip: Bad rows that may be skipped.
    """

    name: str
    file: str
    data: bytes = b""
    make: Callable[[Path], None] | None = None
    columns: dict[str, str] = field(default_factory=dict)
    skip: int = 0

    def __str__(self) -> str:
        return f"{self.name} ({self.file})"

    def write(self, folder: Path) -> Path:
        """Put it into a folder."""
        path = folder / self.file
        if self.make:
            self.make(path)
        else:
            path.write_bytes(self.data)
        return path


def lines(rows: list[Any]) -> bytes:
    """Write rows as JSON lines; a string stands for itself."""
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode(
        "utf-8", "surrogatepass"
    )


def table(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    """Write rows as delimited text."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def parquet(**columns: Any) -> bytes:
    """Write columns as Parquet."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def some(value: Any, column: str = "label", *, every: int = 0) -> list[Any]:
    """Give the good rows with another value in one of them, or in every so many."""
    return [
        {**row, column: value} if (number % every == 0 if every else number == 5) else row
        for number, row in enumerate(GOOD)
    ]


def cases() -> list[Table]:
    """Give what the issues that were ever found name, and their neighbours."""
    texts, labels = [row["text"] for row in GOOD], [row["label"] for row in GOOD]
    made = []
    # Values of another kind than text, as labels and as texts.
    values: dict[str, Any] = {
        "null": None, "true": True, "zero": 0, "whole": 3, "broken": 1.5, "minus": -1, "huge": 10**400,
        "list": ["positive"], "empty list": [], "list of lists": [["positive"], [["negative"]]], "object": {"a": 1},
        "empty": "", "blank": "   ", "long": "x" * 100_000, "break": "posi\ntive", "tab": "posi\ttive",
        "nul": "posi\0tive", "bar": "a|b", "comma": "a, b",
        "list in text": "['positive'", "call": "__import__('os')", "surrogate": "\ud800", "mark": "\ufeffpositive",
        "joined": "e\u0301", "not given": "n/a", "infinite": "inf", "nan": "nan", "digits": DIGITS,
        "bytes": "b'positive'",
    }  # fmt: skip
    for name, value in values.items():
        made += [
            Table(name=f"label {name}", file="a.jsonl", data=lines(some(value))),
            Table(name=f"labels {name}", file="a.jsonl", data=lines(some(value, every=2)), skip=3),
            Table(name=f"text {name}", file="a.jsonl", data=lines(some(value, "text"))),
            Table(name=f"another column {name}", file="a.jsonl", data=lines(some(value, "other"))),
        ]
        if isinstance(value, str) and "\ud800" not in value:
            made.append(Table(name=f"cell {name}", file="a.csv", data=table(some(value)), skip=1))
    for name, raw in {
        "deep": DEEP, "many digits": DIGITS, "infinite": "1e400", "nan": "NaN", "minus infinite": "-Infinity",
    }.items():  # fmt: skip
        for column in ("label", "text", "other"):
            line = f'{{"text": "a", "label": "positive", "{column}": {raw}}}'
            made.append(Table(name=f"{column} {name}", file="a.jsonl", data=lines([*GOOD, line])))
    # Numbers as labels.
    for name, labels_given in {
        "whole": [-1, 0, 1], "two": [0, 1], "gap": [0, 7], "large": [2**63, -(2**63)], "broken": [0.5, 1.5, 2.5],
        "mixed": [0, 1.5, "n/a"], "infinite": [0.5, math.inf], "nan": [0.5, math.nan], "same": [1.5, 1.5],
        "words": [1, "one"],
        "truth": [True, False], "float": [1.0, 0.0], "huge": [1e308, -1e308], "many": list(range(1500)),
    }.items():  # fmt: skip
        rows = [
            {"text": f"{GOOD[n % len(GOOD)]['text']} {n}", "label": labels_given[n % len(labels_given)]}
            for n in range(max(24, 2 * len(labels_given)))
        ]
        made += [
            Table(name=f"numbers {name}", file="a.jsonl", data=lines(rows)),
            Table(name=f"numbers {name}", file="a.csv", data=table(rows), skip=5),
        ]
    # Parquet's kinds of columns.
    numbers = [place % 2 for place in range(len(labels))]
    kinds: dict[str, Any] = {
        "bytes": [label.encode() for label in labels], "struct": [{"name": label} for label in labels],
        "list": [[label] for label in labels], "dictionary": pyarrow.array(labels).dictionary_encode(),
        "decimal": [decimal.Decimal(number) for number in numbers], "truth": [number == 0 for number in numbers],
        "date": [datetime.date(2020, 1, 1 + number) for number in numbers],
        "time": [datetime.datetime(2020, 1, 1 + number) for number in numbers],
        "float": [float(number) for number in numbers], "large": pyarrow.array(labels, pyarrow.large_string()),
        "null": pyarrow.nulls(len(labels)), "nan": [math.nan, *map(float, numbers[1:])],
        "map": pyarrow.array([[(label, 1)] for label in labels], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
    }  # fmt: skip
    for name, column in kinds.items():
        made += [
            Table(name=f"Parquet {name} as label", file="a.parquet", data=parquet(text=texts, label=column)),
            Table(name=f"Parquet {name} as text", file="a.parquet", data=parquet(text=column, label=labels)),
        ]
    # What is around the rows.
    good = {
        "a.csv": table(GOOD),
        "a.tsv": table(GOOD, "\t"),
        "a.jsonl": lines(GOOD),
        "a.parquet": parquet(text=texts, label=labels),
    }
    for file, data in good.items():
        made += [
            Table(name="good", file=file, data=data),
            Table(name="nothing", file=file),
            Table(name="cut", file=file, data=data[: len(data) // 2]),
            Table(name="twice", file=file, data=data + data),
            Table(name="another kind", file=file, data=b"PK\x03\x04" + data),
            Table(name="packed", file=file, data=gzip.compress(data)),
            Table(name="packed", file=f"{file}.gz", data=gzip.compress(data)),
            Table(name="UTF-16", file=file, data=data.decode("latin-1").encode("utf-16")),
            Table(name="not UTF-8", file=file, data=data.replace(b"movie", b"m\xe9vie", 2), skip=1),
            Table(name="NUL", file=file, data=data.replace(b"movie", b"m\0vie", 1), skip=1),
            Table(name="quote", file=file, data=data.replace(b"movie", b'"movie', 1), skip=1),
            Table(name="CR", file=file, data=data.replace(b"\n", b"\r")),
            Table(name="zeros", file=file, data=bytes(10_000)),
            Table(name="one class", file=file, data=data.replace(b"negative", b"positive")),
            Table(name="two rows", file=file, data=b"\n".join(data.split(b"\n")[:3])),
            Table(name="no such column", file=file, data=data, columns={"text_column": "review"}),
            Table(name="column of no name", file=file, data=data, columns={"text_column": ""}),
            Table(name="one column for all", file=file, data=data, columns={"text_column": "label"}),
            Table(name="pairs of one", file=file, data=data, columns={"text_pair_column": "text"}),
        ]
    quote = b'id,text,label\n1,a,positive\n2,"b,negative\n'
    made += [
        Table(name="open quote", file="a.csv", data=quote + table(GOOD), skip=3),
        Table(name="header twice", file="a.csv", data=b"text,text,label\na,b,positive\n"),
        Table(name="header of nothing", file="a.csv", data=b",,\n1,2,3\n"),
        Table(name="header alone", file="a.csv", data=b"text,label\n"),
        Table(name="many columns", file="a.csv", data=b"text,label" + b",x" * 5000 + b"\n"),
        Table(name="rows too short", file="a.csv", data=table(GOOD) + b"a\n" * 10, skip=3),
        Table(
            name="single and pair", file="a.jsonl", data=lines(some("second", "text_pair", every=2)),
            columns={"text_pair_column": "text_pair"},
        ),
        Table(name="a list of rows", file="a.json", data=json.dumps(GOOD).encode()),
        Table(name="no rows but lists", file="a.jsonl", data=lines([["a", "positive"]] * 30)),
        Table(name="a cell of many letters", file="a.csv", data=table(some("very " * 2**20, "text"))),
        Table(name="deep in a cell", file="a.csv", data=table(some(DEEP)), ),
        Table(name="no such kind", file="a.xlsx", data=b"PK\x03\x04"),
        Table(name="not there", file="a.csv", make=lambda path: None),
        Table(name="an empty folder", file="folder", make=lambda path: path.mkdir()),
        Table(name="a folder of that name", file="a.csv", make=lambda path: path.mkdir()),
        Table(name="a pipe", file="a.csv", make=lambda path: os.mkfifo(path)),
        Table(name="a loop of links", file="a.csv", make=lambda path: path.symlink_to(path.name)),
        Table(name="a link to nothing", file="a.csv", make=lambda path: path.symlink_to("gone.csv")),
        Table(name="a folder with a pipe", file="folder", make=in_folder(os.mkfifo)),
        Table(name="a folder with a folder", file="folder", make=in_folder(Path.mkdir)),
        Table(name="a folder with a loop", file="folder", make=in_folder(lambda path: path.symlink_to("x.csv"))),
    ]  # fmt: skip
    return made


def in_folder(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Put something beside a good table in a folder."""

    def make_folder(path: Path) -> None:
        path.mkdir()
        (path / "a.jsonl").write_bytes(lines(GOOD))
        make(path / "x.csv")

    return make_folder


CASES = [case for case in cases() if "pipe" not in case.name]
PIPES = [case for case in cases() if "pipe" in case.name]
