"""Tables that are not what they seem: read to predict, to evaluate and to learn from."""

from __future__ import annotations

import json
import math
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from ftx import Predictor
from ftx.errors import FtxError
from tests.faults.commands import Commands, Fault, check_ending
from tests.faults.ledger import Ledger, LostError
from tests.faults.tables import CASES, GOOD, PIPES, Table, lines, some, table

GIB = 2**30
LONGEST_MESSAGE = 2000


@pytest.fixture(scope="module")
def predictor(tiny_export: Path) -> Predictor:
    return Predictor(tiny_export)


@pytest.fixture(scope="module")
def learning(tiny_model: Callable[[str], Path]) -> Callable[[Table, Path], None]:
    """Read a table as training does, and check what would be learnt from it."""
    from ftx.finetune.data.labelled_text import load_labelled_text
    from ftx.finetune.recipe import Recipe

    def check(odd: Table, path: Path) -> None:
        data = load_labelled_text(
            Recipe(
                model=str(tiny_model("single_label_classification")),
                dataset=str(path),
                skip_bad_rows=odd.skip,
                **odd.columns,
            )
        )
        for name in data.head.labels:
            if name.startswith(("b'", "{", "[", "(")) and name.encode() not in odd.data:  # as Python would write it
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


def test_tables_to_learn_from(
    learning: Callable[[Table, Path], None], ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    def attempt(odd: Table) -> None:
        path = odd.write(new_folder())
        explained(lambda: learning(odd, path))

    ledger.try_each(CASES, attempt, workers=1)


def test_tables_to_evaluate_on(predictor: Predictor, ledger: Ledger, new_folder: Callable[[], Path]) -> None:
    from ftx.finetune import evaluate

    def attempt(odd: Table) -> None:
        path = odd.write(new_folder())
        names = {"text_column": "text", "text_pair_column": "text_pair"}
        columns = {names[name]: value for name, value in odd.columns.items()}
        explained(lambda: evaluate(predictor, path, columns=columns, skip_bad_rows=odd.skip))

    ledger.try_each(CASES, attempt, workers=1)


def test_tables_to_predict(
    light: Commands, tiny_export: Path, predictor: Predictor, ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    """No row is lost, and each gets the label that its text gets elsewhere."""

    def attempt(odd: Table) -> None:
        folder = new_folder()
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
    light: Commands,
    heavy: Commands,
    tiny_model: Callable[[str], Path],
    tiny_export: Path,
    ledger: Ledger,
    new_folder: Callable[[], Path],
) -> None:
    """What is read twice can't be a pipe, and is refused; a job waits for its writer, which ends it here."""
    model = tiny_model("single_label_classification")

    def attempt(case: tuple[Table, str]) -> None:
        odd, command = case
        folder = new_folder()
        path = odd.write(folder)
        if command == "train":
            outcome = heavy.run(
                "train", "--model", model, "--dataset", path, "--output", folder / "run", "--max-steps", "1"
            )
        elif command == "evaluate":
            outcome = heavy.run("evaluate", "--onnx", tiny_export, "--data", path)
        elif command == "model":
            outcome = light.run("predict", "--onnx", path, "text")
        else:
            opened = os.open(path, os.O_RDWR) if path.is_fifo() else None  # a writer that is there, and says nothing
            fault = Fault(kind="signal", value=signal.SIGINT, after_sec=2.0)
            outcome = light.run(
                "predict", "--onnx", tiny_export, "--input", path, "--output", folder / "out.csv", fault=fault
            )
            if opened is not None:
                os.close(opened)
        check_ending(outcome, usual=outcome)
        assert outcome.status in (1, 2, 130), outcome.stderr

    cases = [(odd, command) for odd in PIPES for command in ("train", "evaluate", "model", "predict")]
    ledger.try_each(cases, attempt)


def check_answers(path: Path, predictor: Predictor, column: str) -> None:
    """Compare the labels of an output with those of the library."""
    rows = [json.loads(line, parse_int=str, parse_float=str) for line in path.read_text(encoding="utf-8").splitlines()]
    asked = [row.get(column, next(iter(row.values()))) for row in rows]
    expected = [one.label for one in predictor([text if isinstance(text, str) else str(text) for text in asked])]
    found = [row["predicted_label"] for row in rows]
    if found != expected:
        raise LostError(f"answered {found[:9]} for {expected[:9]}")


def test_tables_that_train(
    heavy: Commands, tiny_model: Callable[[str], Path], ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    """Whole trainings: a run that is whole, with numbers in it, or a line that says why not."""
    chance = ledger.chance("tables that train")
    model = tiny_model("single_label_classification")
    chosen = chance.sample(CASES, min(len(CASES), ledger.count(4)))
    chosen.append(Table(name="a cell of 200 MB", file="a.csv", data=table(some("very " * 40 * 2**20, "text"))))

    def attempt(odd: Table) -> None:
        folder = new_folder()
        path = odd.write(folder)
        options = [f"--{name.replace('_', '-')}={value}" for name, value in odd.columns.items()]
        outcome = heavy.run(
            "train", "--model", model, "--dataset", path, "--output", folder / "run",
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
            [b"", b'"', b"\n", b"\r", b",", b"\t", b"\0", b"\xff", b"{", b"}", b"[", b"]", b":", b"\\", b"'", b"NaN",
             b"null", b"1e999", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"9" * 400, b"[" * 2000,
             data[start : start + 40]]
        )  # fmt: skip
        data = data[:start] + piece + data[end:]
    return data


def test_damaged_tables(
    predictor: Predictor, learning: Callable[[Table, Path], None], ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    """Random damage: an answer for each row that is left, or a line that says what is wrong."""
    from ftx.finetune import evaluate
    from ftx.runtime.stream import predict_file

    good = [case for case in CASES if case.name == "good"]

    def attempt(number: int) -> None:
        chance = ledger.chance(f"damaged table {number}")
        case = chance.choice(good)
        odd = Table(name=str(number), file=case.file, data=damaged(case.data, chance), skip=chance.choice([0, 1, 100]))
        folder = new_folder()
        path = odd.write(folder)
        explained(lambda: learning(odd, path))
        explained(lambda: evaluate(predictor, path, skip_bad_rows=odd.skip))
        explained(
            lambda: predict_file(predictor, path, folder / "out.jsonl", text_column="text", skip_bad_rows=odd.skip)
        )
        if (folder / "out.jsonl").exists():
            check_answers(folder / "out.jsonl", predictor, "text")

    ledger.try_each(range(ledger.count(100)), attempt, workers=1)


def test_any_values(
    predictor: Predictor, learning: Callable[[Table, Path], None], ledger: Ledger, new_folder: Callable[[], Path]
) -> None:
    """Rows of any JSON whatever."""
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
        | st.sampled_from(["positive", "negative", "nan", "inf", "-0", "1_000", "0x1", "١", "True"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )  # fmt: skip
    row = st.fixed_dictionaries({"text": value, "label": value}) | st.dictionaries(
        st.text(max_size=5), value, max_size=3
    )

    def attempt(rows: list[Any]) -> None:
        odd = Table(name="any", file="a.jsonl", data=lines([*GOOD, *rows]), skip=len(rows) // 2)
        path = odd.write(new_folder())
        explained(lambda: learning(odd, path))
        explained(lambda: evaluate(predictor, path, skip_bad_rows=len(rows)))

    from ftx.finetune import evaluate

    ledger.try_any(st.lists(row, max_size=12), attempt, usual=60)
