from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftx.errors import DataError
from ftx.heldout import HeldOut, find_held_out, read_held_out, write_held_out

labels = st.one_of(st.text(max_size=5), st.lists(st.text(max_size=5), max_size=3), st.floats(-5, 5))


@given(rows=st.lists(st.tuples(st.text(), labels), min_size=1, max_size=10))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path: Path, rows: list[tuple[str, str | list[str] | float]]) -> None:
    write_held_out(tmp_path / "eval.jsonl", rows)
    held_out = read_held_out(tmp_path / "eval.jsonl")
    assert held_out == HeldOut(texts=[text for text, _ in rows], labels=[label for _, label in rows])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ('{"text": "a", "label": "x"}\nnot json\n', "eval.jsonl:2"),
        ('{"text": "a"}\n', "eval.jsonl:1"),
        ('{"text": 3, "label": "x"}\n', "eval.jsonl:1"),
        ('{"text": "a", "label": null}\n', "eval.jsonl:1"),
        ("[1]\n", "eval.jsonl:1"),
        ("text,label\na,b\n", "eval.jsonl:1"),
    ],
)
def test_what_is_no_held_out_text_names_the_line(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=reason):
        read_held_out(path)


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_held_out(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="--data"):
        find_held_out(tmp_path / "checkpoint")
