from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ftx.errors import DataError
from ftx.tables.columns import Columns

Read = Callable[..., list[tuple[str, str]]]


@pytest.mark.parametrize("delimiter", ['"', "\n", "\0", ";;"])
def test_not_everything_is_a_delimiter(tmp_path: Path, delimiter: str, read: Read) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,1\n")
    with pytest.raises(DataError, match="expected one character, no quote or line break"):
        read(tmp_path / "a.csv", delimiter=delimiter)


def test_columns_are_found_or_named_in_an_error_with_their_option() -> None:
    assert Columns().find("a.csv", ["review"]) == ("review",)
    assert Columns().find("a.csv", ["id", "text"]) == ("text",)
    pairs = Columns(text_pair="other", pair_optional=True, label="stars")
    assert pairs.find("a.csv", ["stars", "other", "text"]) == ("text", "other", "stars")
    assert pairs.find("a.csv", ["stars", "text"]) == ("text", "stars")
    for columns, option in (
        (Columns(), "--text-column"),
        (Columns(text="id", text_pair="more"), "--text-pair-column"),
        (Columns(text="id", label="stars"), "--label-column"),
        (Columns(text="id", indicators=("x", "y")), "--label-columns"),
    ):
        with pytest.raises(DataError, match=rf"a.csv:1: there is no column '\w+'; .*id, b: name yours with {option}$"):
            columns.find("a.csv:1", ["id", "b"])
    with pytest.raises(DataError, match="is named for both texts"):
        Columns(text_pair="text")
