from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from ftx.errors import DataError
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head, find_head, strata
from ftx.finetune.scoring.thresholds import tune_thresholds
from ftx.tables.labelled import Row


def rows_of(*labels: str | list[str]) -> list[Row]:
    return [Row(where=f"data:{number}", text="t", label=label) for number, label in enumerate(labels, 1)]


@pytest.mark.parametrize(
    ("asked", "labels", "problem_type", "names"),
    [
        ("auto", ["b", "a"], SINGLE_LABEL, ["a", "b"]),
        ("auto", ["1", "0"], SINGLE_LABEL, ["0", "1"]),
        ("auto", [["b"], [], ["a", "b"]], MULTI_LABEL, ["a", "b"]),
        ("auto", ["1", "2.5", "-3e-1"], REGRESSION, ["stars"]),
        ("auto", ["1", "2.5", "x"], REGRESSION, ["stars"]),
        ("auto", ["1.5", "2.5", "inf", "nan"], SINGLE_LABEL, None),
        ("auto", ["1.5", "2.5", "0.5", "inf", "1_000"], REGRESSION, ["stars"]),
        ("auto", ["1.5", "x"], SINGLE_LABEL, None),
        ("auto", ["1", "2", "x"], SINGLE_LABEL, None),
        ("auto", ["1", "-1", "0", "10", "9"], SINGLE_LABEL, ["-1", "0", "1", "9", "10"]),
        ("auto", ["1.0", "0.0", "2.0", "1", "+2"], SINGLE_LABEL, ["0", "1", "2"]),
        ("auto", ["007", "7.0", "-0.0", "1e1"], SINGLE_LABEL, ["0", "007", "7", "10"]),
        ("auto", ["9" * 1000, "1", "1" + "0" * 40], SINGLE_LABEL, ["1", "1" + "0" * 40, "9" * 1000]),
        ("auto", [["1.0", "-1"], ["2"]], MULTI_LABEL, ["-1", "1", "2"]),
        (REGRESSION, ["1", "2"], REGRESSION, ["stars"]),
        (MULTI_LABEL, ["b", "a"], MULTI_LABEL, ["a", "b"]),
        (SINGLE_LABEL, ["0.5", "1.5"], SINGLE_LABEL, ["0.5", "1.5"]),
        (SINGLE_LABEL, ["10.5", "1.0", "n/a", "9", "1"], SINGLE_LABEL, ["1", "9", "10.5", "n/a"]),
        (SINGLE_LABEL, ["2.0", "2.5"], SINGLE_LABEL, ["2.0", "2.5"]),
    ],
)
def test_the_head_is_determined_from_the_labels(
    asked: str, labels: list[str | list[str]], problem_type: str, names: list[str] | None
) -> None:
    if names is None:
        with pytest.raises(DataError, match="some labels are numbers and some are words"):
            find_head(asked, [], rows_of(*labels), "stars")
        return
    head = find_head(asked, [], rows_of(*labels), "stars")
    assert (head.problem_type, head.labels) == (problem_type, names)


@pytest.mark.parametrize(
    ("asked", "labels", "reason"),
    [
        ("auto", [["a"], ["b"], "c"], "data:3: label 'c': expected a list of labels in every row"),
        ("auto", ["a", "b", ["c"]], r"data:3: label \['c'\]: expected one label in every row"),
        (REGRESSION, ["1", ["2"]], r"data:2: label \['2'\]: expected one label"),
    ],
)
def test_labels_of_different_kinds_are_refused(asked: str, labels: list[str | list[str]], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        find_head(asked, [], rows_of(*labels), "label")


def test_labels_and_targets_round_trip() -> None:
    single, multi, value = (
        Head(problem_type=kind, labels=["a", "b"]) for kind in (SINGLE_LABEL, MULTI_LABEL, REGRESSION)
    )
    assert (single.target("b"), single.label(1)) == (1, "b")
    assert (multi.target(["b"]), multi.target([]), multi.label([1.0, 1.0])) == ([0.0, 1.0], [0.0, 0.0], ["a", "b"])
    assert (value.target(" -1.5"), value.label(-1.5)) == (-1.5, -1.5)
    for head, label, reason in (
        (single, "c", "label 'c' is not in the list; expected a, b"),
        (single, ["a"], "a list of labels"),
        (multi, ["a", "c"], "label 'c' is not in the list"),
        (value, "many", "'many' is not a number"),
        (value, "nan", "'nan' is not a number"),
        (value, "inf", "'inf' is not a number"),
        (value, "1_000", "'1_000' is not a number"),
        (value, "1e30", "'1e30' is too large a number; expected one up to 1e\\+18"),
        (value, "9" * 1000, "is too large a number"),
    ):
        with pytest.raises(ValueError, match=reason):
            head.target(label)


def test_an_integer_is_the_same_label_however_it_is_written() -> None:
    whole = Head(problem_type=SINGLE_LABEL, labels=["-1", "0", "1"])
    assert [whole.target(label) for label in ("-1", "-1.0", "0.0", "-0.0", "+1", "1.")] == [0, 0, 1, 1, 2, 2]
    floats = Head(problem_type=SINGLE_LABEL, labels=["1.0", "1.5"])
    assert [floats.target(label) for label in ("1.0", "1", "1.5")] == [0, 0, 1]
    named = Head(problem_type=SINGLE_LABEL, labels=["no", "yes"])
    assert [named.target(label) for label in ("1.0", "0", "yes")] == [1, 0, 1]


@pytest.mark.parametrize("labels", [["-1", "-2"], ["0.5", "1.5"], ["1.0", "low"]])
def test_numbers_are_names_and_not_ids_where_a_name_is_a_number(labels: list[str]) -> None:
    with pytest.raises(ValueError, match=r"label '0' is not in the list; expected [^;]*$") as caught:
        Head(problem_type=SINGLE_LABEL, labels=labels).target("0")
    assert "a number from" not in str(caught.value)


def test_a_message_does_not_list_thousands_of_labels() -> None:
    head = Head(problem_type=SINGLE_LABEL, labels=[f"label {number}" for number in range(100_000)])
    with pytest.raises(ValueError, match="label 19 and 99980 more, or a number from 0 to 99999"):
        head.target("x" * 1_000_000)


def test_rare_labels_are_a_stratum_of_their_own() -> None:
    head = Head(problem_type=MULTI_LABEL, labels=["common", "rare"])
    assert strata([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], head) == ["common", "common", "rare", ""]


def test_values_are_stratified_by_decile() -> None:
    found = strata([float(value) for value in range(100)], Head(problem_type=REGRESSION, labels=["v"]))
    assert [found.count(str(tenth)) for tenth in range(10)] == [10] * 10


@given(
    st.lists(st.tuples(st.floats(0, 1, width=16), st.booleans()), min_size=1, max_size=40),
)
def test_no_threshold_is_better_than_the_tuned_one(rows: list[tuple[float, bool]]) -> None:
    probabilities, truth = np.array([[p] for p, _ in rows]), np.array([[float(has)] for _, has in rows])
    tuned = tune_thresholds(probabilities, truth, ["a"])["a"]

    def f1(threshold: float) -> float:
        return float(sklearn.metrics.f1_score(truth[:, 0], probabilities[:, 0] >= threshold, zero_division=0))

    assert 0 <= tuned <= 1
    if 0 < truth.sum() < len(rows):
        assert f1(tuned) >= max(f1(p) for p, _ in rows) - 1e-9
    else:
        assert tuned == 0.5
