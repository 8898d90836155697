"""Tables that are not what they seem: read to predict, to evaluate and to learn from."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import math
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import strategies as st

from ftx import Predictor
from ftx.errors import FtxError
from tests.conftest import review_rows
from tests.faults.commands import Commands, Fault, check_ending
from tests.faults.ledger import Ledger, LostError

# Enough rows that a part is held out, few enough that a training takes no time.
GOOD = [{"text": text, "label": label} for text, label in review_rows()[::4]]
DEEP = "[" * 100_000 + "]" * 100_000
DIGITS = "9" * 5000
GIB = 2**30
LONGEST_MESSAGE = 2000


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
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode("utf-8", "surrogatepass")


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
    half = len(GOOD) // 2
    made = []
    # Values of another kind than text, as labels and as texts.
    values: dict[str, Any] = {
        "null": None, "true": True, "zero": 0, "whole": 3, "broken": 1.5, "minus": -1, "huge": 10**400, "list": ["positive"],
        "empty list": [], "list of lists": [["positive"], [["negative"]]], "object": {"a": 1}, "empty": "", "blank": "   ",
        "long": "x" * 100_000, "break": "posi\ntive", "tab": "posi\ttive", "nul": "posi\0tive", "bar": "a|b", "comma": "a, b",
        "list in text": "['positive'", "call": "__import__('os')", "surrogate": "\ud800", "mark": "\ufeffpositive",
        "joined": "e\u0301", "not given": "n/a", "infinite": "inf", "nan": "nan", "digits": DIGITS, "bytes": "b'positive'",
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
    for name, numbers in {
        "whole": [-1, 0, 1], "two": [0, 1], "gap": [0, 7], "large": [2**63, -(2**63)], "broken": [0.5, 1.5, 2.5],
        "mixed": [0, 1.5, "n/a"], "infinite": [0.5, math.inf], "nan": [0.5, math.nan], "same": [1.5, 1.5], "words": [1, "one"],
        "truth": [True, False], "float": [1.0, 0.0], "huge": [1e308, -1e308], "many": list(range(1500)),
    }.items():  # fmt: skip
        rows = [{"text": f"{GOOD[n % len(GOOD)]['text']} {n}", "label": numbers[n % len(numbers)]} for n in range(max(24, 2 * len(numbers)))]
        made += [
            Table(name=f"numbers {name}", file="a.jsonl", data=lines(rows)),
            Table(name=f"numbers {name}", file="a.csv", data=table(rows), skip=5),
        ]
    # Parquet's kinds of columns.
    kinds: dict[str, Any] = {
        "bytes": [label.encode() for label in labels], "struct": [{"name": label} for label in labels],
        "list": [[label] for label in labels], "dictionary": pyarrow.array(labels).dictionary_encode(),
        "decimal": [decimal.Decimal(n % 2) for n in range(len(labels))], "date": [datetime.date(2020, 1, 1 + n % 2) for n in range(len(labels))],
        "null": pyarrow.nulls(len(labels)), "time": [datetime.datetime(2020, 1, 1 + n % 2) for n in range(len(labels))],
        "float16": pyarrow.array([float(n % 2) for n in range(len(labels))], pyarrow.float64()), "large": pyarrow.array(labels, pyarrow.large_string()),
        "map": pyarrow.array([[(label, 1)] for label in labels], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        "truth": [n % 2 == 0 for n in range(len(labels))], "nan": [math.nan if n == 3 else float(n % 2) for n in range(len(labels))],
    }  # fmt: skip
    for name, column in kinds.items():
        made += [
            Table(name=f"Parquet {name} as label", file="a.parquet", data=parquet(text=texts, label=column)),
            Table(name=f"Parquet {name} as text", file="a.parquet", data=parquet(text=column, label=labels)),
        ]
    # What is around the rows.
    good = {"a.csv": table(GOOD), "a.tsv": table(GOOD, "\t"), "a.jsonl": lines(GOOD), "a.parquet": parquet(text=texts, label=labels)}
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
        Table(name="single and pair", file="a.jsonl", data=lines(some("second", "text_pair", every=2)), columns={"text_pair_column": "text_pair"}),
        Table(name="a list of rows", file="a.json", data=json.dumps(GOOD).encode()),
        Table(name="no rows but lists", file="a.jsonl", data=lines([["a", "positive"]] * 30)),
        Table(name="a cell of many letters", file="a.csv", data=table(some("very " * 2**20, "text"))),
        Table(name="deep in a cell", file="a.csv", data=table(some(DEEP)), columns={}),
        Table(name="no such kind", file="a.xlsx", data=b"PK\x03\x04"),
        Table(name="not there", file="a.csv", make=lambda path: None),
        Table(name="an empty folder", file="folder", make=lambda path: path.mkdir()),
        Table(name="a folder of that name", file="a.csv", make=lambda path: path.mkdir()),
        Table(name="a pipe", file="a.csv", make=lambda path: os.mkfifo(path)),
        Table(name="a loop of links", file="a.csv", make=lambda path: path.symlink_to(path.name)),
        Table(name="a link to nothing", file="a.csv", make=lambda path: path.symlink_to("gone.csv")),
        Table(name="a folder with a pipe", file="folder", make=lambda path: in_folder(path, lambda inner: os.mkfifo(inner))),
        Table(name="a folder with a folder", file="folder", make=lambda path: in_folder(path, lambda inner: inner.mkdir())),
        Table(name="a folder with a loop", file="folder", make=lambda path: in_folder(path, lambda inner: inner.symlink_to("x.csv"))),
    ]  # fmt: skip
    return made


def in_folder(path: Path, make: Callable[[Path], None]) -> None:
    """Put something beside a good table in a folder."""
    path.mkdir()
    (path / "a.jsonl").write_bytes(lines(GOOD))
    make(path / "x.csv")


CASES = [case for case in cases() if "pipe" not in case.name]
PIPES = [case for case in cases() if "pipe" in case.name]


@pytest.fixture(scope="module")
def predictor(tiny_export: Path) -> Predictor:
    return Predictor(tiny_export)


@pytest.fixture(scope="module")
def learning(tiny_model: Callable[[str], Path]) -> Callable[[Table, Path], None]:
    """Read a table as training does, and check what would be learnt from it."""
    from ftx.finetune.labelled_text import load_labelled_text
    from ftx.finetune.recipe import Recipe

    def check(odd: Table, path: Path) -> None:
        data = load_labelled_text(
            Recipe(model=str(tiny_model("single_label_classification")), dataset=str(path), skip_bad_rows=odd.skip, **odd.columns)
        )
        for name in data.head.labels:
            if name.startswith(("b'", "{", "[", "(")) and "b'positive'" not in str(odd):
                raise LostError(f"it would learn the label {name!r}")
        for _, target in data.train + data.held_out:
            numbers = target if isinstance(target, list) else [target]
            if not all(math.isfinite(number) for number in numbers):
                raise LostError(f"it would learn {target}")

    return check


def explained(call: Callable[[], Any]) -> None:
    """Check that a call does what it is for, or says in one line why not."""
    try:
        call()
    except FtxError as error:
        assert len(str(error).splitlines()) == 1, str(error)
        assert len(str(error)) <= LONGEST_MESSAGE, f"{len(str(error))} letters: {error!s:.200}"


def test_tables_to_learn_from(learning: Callable[[Table, Path], None], ledger: Ledger, tmp_path: Path) -> None:
    def attempt(odd: Table) -> None:
        path = odd.write(fresh(tmp_path))
        explained(lambda: learning(odd, path))

    ledger.try_each(CASES, attempt, workers=1)


def test_tables_to_evaluate_on(predictor: Predictor, ledger: Ledger, tmp_path: Path) -> None:
    from ftx.finetune import evaluate

    def attempt(odd: Table) -> None:
        path = odd.write(fresh(tmp_path))
        names = {"text_column": "text", "text_pair_column": "text_pair"}
        columns = {names[name]: value for name, value in odd.columns.items()}
        explained(lambda: evaluate(predictor, path, columns=columns, skip_bad_rows=odd.skip))

    ledger.try_each(CASES, attempt, workers=1)


def test_tables_to_predict(light: Commands, tiny_export: Path, predictor: Predictor, ledger: Ledger, tmp_path: Path) -> None:
    """No row is lost, and each gets the label that its text gets elsewhere."""

    def attempt(odd: Table) -> None:
        folder = fresh(tmp_path)
        path = odd.write(folder)
        options = [f"--{name.replace('_', '-')}={value}" for name, value in odd.columns.items()]
        outcome = light.run(
            "predict", "--onnx", tiny_export, "--input", path, "--output", folder / "out.jsonl", *options,
            "--skip-bad-rows", str(odd.skip), fault=Fault(limits={"AS": 8 * GIB}),
        )  # fmt: skip
        check_ending(outcome)
        assert (outcome.status == 0) == (folder / "out.jsonl").exists(), outcome.stderr
        if outcome.status == 0:
            check_answers(folder / "out.jsonl", predictor, odd.columns.get("text_column", "text"))

    ledger.try_each(CASES, attempt)


def test_pipes_that_nobody_writes(
    light: Commands, heavy: Commands, tiny_model: Callable[[str], Path], tiny_export: Path, ledger: Ledger, tmp_path: Path
) -> None:
    """What is read twice can't be a pipe, and is refused; a job waits for its writer, which ends it here."""
    model = tiny_model("single_label_classification")

    def attempt(case: tuple[Table, str]) -> None:
        odd, command = case
        folder = fresh(tmp_path)
        path = odd.write(folder)
        if command == "train":
            outcome = heavy.run("train", "--model", model, "--dataset", path, "--output", folder / "run", "--max-steps", "1")
        elif command == "evaluate":
            outcome = heavy.run("evaluate", "--onnx", tiny_export, "--data", path)
        elif command == "model":
            outcome = light.run("predict", "--onnx", path, "text")
        else:
            opened = os.open(path, os.O_RDWR) if path.is_fifo() else None  # a writer that is there, and says nothing
            fault = Fault(kind="signal", value=signal.SIGINT, after_sec=2.0)
            outcome = light.run("predict", "--onnx", tiny_export, "--input", path, "--output", folder / "out.csv", fault=fault)
            if opened is not None:
                os.close(opened)
        check_ending(outcome, usual=outcome)
        assert outcome.status in (1, 130), outcome.stderr

    cases = [(odd, command) for odd in PIPES for command in ("train", "evaluate", "model", "predict")]
    ledger.try_each(cases, attempt)


def fresh(tmp_path: Path) -> Path:
    """Make a new folder."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            folder = folder.with_name(str(int(folder.name) + 1))


def check_answers(path: Path, predictor: Predictor, column: str) -> None:
    """Compare the labels of an output with those of the library."""
    rows = [json.loads(line, parse_int=str, parse_float=str) for line in path.read_text(encoding="utf-8").splitlines()]
    asked = [row.get(column, next(iter(row.values()))) for row in rows]
    expected = [one.label for one in predictor([text if isinstance(text, str) else str(text) for text in asked])]
    found = [row["predicted_label"] for row in rows]
    if found != expected:
        raise LostError(f"answered {found[:9]} for {expected[:9]}")


def test_tables_that_train(
    heavy: Commands, tiny_model: Callable[[str], Path], ledger: Ledger, tmp_path: Path
) -> None:
    """Whole trainings: a run that is whole, with numbers in it, or a line that says why not."""
    chance = ledger.chance("tables that train")
    chosen = chance.sample(CASES, min(len(CASES), ledger.count(16)))
    chosen.append(Table(name="a cell of 200 MB", file="a.csv", data=table(some("very " * 40 * 2**20, "text"))))

    def attempt(odd: Table) -> None:
        folder = fresh(tmp_path)
        path = odd.write(folder)
        options = [f"--{name.replace('_', '-')}={value}" for name, value in odd.columns.items()]
        outcome = heavy.run(
            "train", "--model", tiny_model("single_label_classification"), "--dataset", path, "--output", folder / "run",
            "--max-steps", "1", "--max-length", "16", "--precision", "fp32", "--skip-bad-rows", str(odd.skip), *options,
            fault=Fault(limits={"AS": 8 * GIB}),
        )  # fmt: skip
        check_ending(outcome, usual=outcome)
        assert (outcome.status == 0) == (folder / "run" / "metrics.json").exists()
        if outcome.status == 0:
            check_metrics(folder / "run" / "metrics.json")

    ledger.try_each(chosen, attempt)


def check_metrics(path: Path) -> None:
    """Check that metrics are JSON with finite numbers."""

    def refuse(word: str) -> None:
        raise LostError(f"{path.name} holds {word}, which is no JSON")

    json.loads(path.read_text(), parse_constant=refuse)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Damage a table in some places."""
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice([0, 0, 1, 3, 50]))
        piece = chance.choice(
            [b"", b'"', b"\n", b"\r", b",", b"\t", b"\0", b"\xff", b"{", b"}", b"[", b"]", b":", b"\\", b"'", b"NaN", b"null",
             b"1e999", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"9" * 400, b"[" * 2000, data[start : start + 40]]
        )  # fmt: skip
        data = data[:start] + piece + data[end:]
    return data


def test_damaged_tables(
    predictor: Predictor, learning: Callable[[Table, Path], None], ledger: Ledger, tmp_path: Path
) -> None:
    """Random damage: an answer for each row that is left, or a line that says what is wrong."""
    from ftx.finetune import evaluate
    from ftx.runtime.stream import predict_file

    good = [case for case in CASES if case.name == "good"]

    def attempt(number: int) -> None:
        chance = ledger.chance(f"damaged table {number}")
        case = chance.choice(good)
        odd = Table(name=str(number), file=case.file, data=damaged(case.data, chance), skip=chance.choice([0, 1, 100]))
        folder = fresh(tmp_path)
        path = odd.write(folder)
        explained(lambda: learning(odd, path))
        explained(lambda: evaluate(predictor, path, skip_bad_rows=odd.skip))
        explained(lambda: predict_file(predictor, path, folder / "out.jsonl", text_column="text", skip_bad_rows=odd.skip))
        if (folder / "out.jsonl").exists():
            check_answers(folder / "out.jsonl", predictor, "text")

    ledger.try_each(range(ledger.count(150)), attempt, workers=1)


def test_any_values(predictor: Predictor, learning: Callable[[Table, Path], None], ledger: Ledger, tmp_path: Path) -> None:
    """Rows of any JSON whatever."""
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
        | st.sampled_from(["positive", "negative", "nan", "inf", "-0", "1_000", "0x1", "١", "True"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )  # fmt: skip
    row = st.fixed_dictionaries({"text": value, "label": value}) | st.dictionaries(st.text(max_size=5), value, max_size=3)

    def attempt(rows: list[Any]) -> None:
        odd = Table(name="any", file="a.jsonl", data=lines([*GOOD, *rows]), skip=len(rows) // 2)
        path = odd.write(fresh(tmp_path))
        explained(lambda: learning(odd, path))
        explained(lambda: evaluate(predictor, path, skip_bad_rows=len(rows)))

    from ftx.finetune import evaluate

    ledger.try_any(st.lists(row, max_size=12), attempt, usual=100)
