from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftx.tables.cells import LONGEST_TEXT, Number, label_of, listed, text_of

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("x", "x"),
        ("", ""),
        (Number("1.10"), "1.10"),
        (3, "3"),
        (2.5, "2.5"),
        (Decimal("1.10"), "1.10"),
        (date(2024, 2, 1), "2024-02-01"),
        ("x" * LONGEST_TEXT, "x" * LONGEST_TEXT),
    ],
)
def test_a_text_is_a_string_or_a_number_as_it_is_written(cell: Any, text: str) -> None:
    assert text_of(cell, "text") == text


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "the text is missing; expected a value in column 'text'"),
        (math.nan, "the text is missing"),
        (b"x", "the text is bytes; expected a string in column 'text'"),
        (True, "the text is true or false"),
        ({"a": "x"}, "the text is an object"),
        (["x"], "the text is a list"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "the text is not UTF-8"),
        ("x" * (LONGEST_TEXT + 1), "the text has 1,000,001 characters; expected 1,000,000 at most"),
    ],
)
def test_what_is_no_text_is_not_learnt_as_python_writes_it(cell: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        text_of(cell, "text", LONGEST_TEXT)


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        (" a ", "a"),
        (Number("-1"), "-1"),
        (1.0, "1"),
        (2.5, "2.5"),
        (1e300, "1e+300"),
        (True, "true"),
        (Decimal("1.50"), "1.50"),
        (date(2024, 2, 1), "2024-02-01"),
        (datetime(2024, 2, 1, 3, 4), "2024-02-01 03:04:00"),
        (["a", 1, False], ["a", "1", "false"]),
        (("a",), ["a"]),
        ([], []),
    ],
)
def test_a_label_is_one_value_or_a_list_of_them(cell: Any, label: str | list[str]) -> None:
    assert label_of(cell, "label", lists=False) == label


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "the label is missing; expected a value in column 'label'"),
        (math.nan, "the label is missing"),
        (Decimal("nan"), "the label is missing"),
        ("  ", "the label is missing"),
        (b"a", "the label is bytes; expected a name, a number or a list of them in column 'label'"),
        ({"a": 1}, "the label is an object"),
        ([["a"]], "the list of labels holds a list"),
        ([{"a": 1}], "the list of labels holds an object"),
        ([b"a"], "the list of labels holds bytes"),
        (["a", None], "the list of labels holds an empty place"),
        ([math.nan], "the list of labels holds an empty place"),
        ([""], "the label is missing"),
        (Number("9" * 5000), "the label has 5,000 characters; expected 1,000 at most"),
    ],
)
def test_what_is_no_label_is_refused(cell: Any, reason: str) -> None:
    for lists in (False, True):
        if cell == "  " and lists:
            continue  # no labels
        with pytest.raises(ValueError, match=reason):
            label_of(cell, "label", lists=lists)


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("a, b|c;d", ["a", "b", "c", "d"]),
        ("", []),
        ("[]", []),
        ("['a', 'b c']", ["a", "b c"]),
        ('["a", "b\\u00e9", "\\ud83d\\ude00"]', ["a", "bé", "😀"]),
        ("['it\\'s', \"it's\",]", ["it's", "it's"]),
        ("[1, 2.5, -3e-1, true, False]", ["1", "2.5", "-3e-1", "true", "false"]),
        (Number("1"), "1"),
    ],
)
def test_a_cell_of_several_labels(cell: str, labels: str | list[str]) -> None:
    assert label_of(cell, "label", lists=True) == labels


@pytest.mark.parametrize(
    "cell",
    [
        "[a]", "['a'", "['a' 'b']", "[['a']]", "[None]", "['a'], ['b']", "[1][0]", "[b'a']", "[" * 90_000, "[,]",
        "[{}]", "['a\\x']",
    ],
)  # fmt: skip
def test_a_list_that_is_written_otherwise_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match=r"is no list; expected one like \['a', 'b'\]"):
        label_of(cell, "label", lists=True)


def test_a_cell_of_very_many_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="the list of labels has 200,000 characters; expected 100,000 at most"):
        label_of("a," * 100_000, "label", lists=True)


@given(cell=ANYTHING, lists=st.booleans())
def test_any_cell_is_a_text_and_a_label_or_one_reason(cell: Any, lists: bool) -> None:
    for take in (lambda: text_of(cell, "c"), lambda: label_of(cell, "c", lists=lists)):
        try:
            take()
        except ValueError as error:
            assert str(error).startswith(("the text ", "the label ", "the list of labels ", "label "))
            continue
        parts = cell if isinstance(cell, list) else [cell]
        assert all(isinstance(part, (str, int, float, Decimal)) for part in parts)


def test_many_names_are_cut_for_a_message() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([]) == "none"
    assert listed([f"c{number}" for number in range(100_000)]).endswith("c19 and 99980 more")
    assert len(listed(["x" * 1000] * 1000)) < 2000
