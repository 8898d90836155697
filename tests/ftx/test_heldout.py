from __future__ import annotations

import gzip
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftx import heldout
from ftx.errors import DataError
from ftx.heldout import HeldOut, data_columns, find_held_out, read_held_out, write_held_out

labels = st.one_of(st.text(max_size=5), st.lists(st.text(max_size=5), max_size=3), st.floats(-5, 5))


@given(rows=st.lists(st.tuples(st.text(), labels), min_size=1, max_size=10))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path: Path, rows: list[tuple[str, str | list[str] | float]]) -> None:
    write_held_out(tmp_path / "eval.jsonl", rows)
    held_out = read_held_out(tmp_path / "eval.jsonl")
    assert held_out == HeldOut(texts=[text for text, _ in rows], labels=[label for _, label in rows])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"id,text,label\n1,good,x\n2,1.50,y\n"),
        ("a.txt.gz", gzip.compress(b"text|label\ngood|x\n1.50|y\n", mtime=0)),
        ("a.json", b'{"text": "good", "label": "x"}\n{"text": 1.50, "label": "y"}\n'),
    ],
)
def test_any_table_of_labelled_text_is_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    expected = HeldOut(texts=["good", "1.50"], labels=["x", "y"])
    assert read_held_out(tmp_path / name) == read_held_out(tmp_path) == expected


def test_a_second_text_may_be_null_or_missing(tmp_path: Path) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_text('{"text": "a", "text_pair": null, "label": 1}\n{"text": "b", "label": ["x", 2]}\n')
    assert read_held_out(path) == HeldOut(texts=["a", "b"], labels=[1.0, ["x", "2"]])
    (tmp_path / "a.csv").write_text("label,text_pair,text\nx,b,a\n")
    assert read_held_out(tmp_path / "a.csv").texts == [("a", "b")]


def test_lists_of_labels_are_read_from_a_cell_and_from_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label,sad,long\na,"sad, long",1,1\nb,,0,0\nc,["sad"],1,0\n')
    expected = [["sad", "long"], [], ["sad"]]
    assert read_held_out(path, replace(data_columns(), lists=True)).labels == expected
    assert read_held_out(path, data_columns(indicators=("sad", "long"))).labels == expected
    path.write_text("text~sad\na~yes\n")
    with pytest.raises(DataError, match=r"a.csv:2: column 'sad' holds 'yes'; expected 1"):
        read_held_out(path, data_columns(indicators=("sad",), delimiter="~"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ('{"text": "a", "label": "x"}\nnot json\n', "eval.jsonl:2"),
        ('{"text": "a"}\n', "eval.jsonl:1"),
        ('{"text": true, "label": "x"}\n', "eval.jsonl:1"),
        ('{"text": "a", "label": null}\n', "eval.jsonl:1"),
        ("[1]\n", "eval.jsonl:1"),
        ("text,label\na,b\n", "eval.jsonl:1"),
        ('{"text": "a", "label": "x"}\n' + "[" * 100_000 + "\n", "eval.jsonl:2: nested too deep"),
        ('{"text": "a", "label": ' + "[" * 100_000 + "]" * 100_000 + "}\n", "eval.jsonl:1: nested too deep"),
        (b'{"text": "a", "label": "x"}\n{"text": "caf\xe9", "label": "x"}\n', "eval.jsonl:2: not UTF-8"),
        ('{"text": "a", "label": NaN}\n', "label is NaN, expected a number"),
        ('{"text": "a", "label": -Infinity}\n', "label is -Infinity"),
        ('{"text": "a", "label": true}\n', "label is true"),
        ('{"text": "a", "label": ' + "9" * 5000 + "}\n", "eval.jsonl:1: label is 999"),
        ('{"text": "a", "label": ' + "9" * 400 + "}\n", "label is 999"),
        ('{"text": "a", "label": [["x"]]}\n', "one of the labels is a list"),
        ('{"text": "a", "label": ["x", null]}\n', "one of the labels is null"),
        ('{"text": "a", "label": {"x": 1}}\n', "label is an object"),
        ('{"text": ["a", "b"], "label": "x"}\n', "text is a list"),
        (
            '{"text": "a", "text_pair": [1], "label": "x"}\n',
            "the text is a list; .*'text_pair'",
        ),
        ('{"text": "a", "label": "x"}\n{"text": "a", "text_pair": "b", "label": "x"}\n', "eval.jsonl:2: a pair"),
    ],
)
def test_what_is_no_held_out_text_names_the_line(tmp_path: Path, content: str | bytes, reason: str) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=reason) as caught:
        read_held_out(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_line_without_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "eval.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n' + '{"text": "' + "a" * 1000 + '", "label": "x"}\n')
    assert len(read_held_out(path)) == 2
    monkeypatch.setattr(heldout, "MAX_LINE_BYTES", 1000)
    with pytest.raises(DataError, match=r"eval.jsonl:2: a line of more than 0 MiB"):
        read_held_out(path)


def test_200_megabytes_in_a_line_are_refused_in_little_memory(tmp_path: Path) -> None:
    """A process of its own, which may not have as much memory as the line has bytes."""
    path = tmp_path / "eval.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "')
        file.truncate(200 * 2**20)
    program = f"""
import resource
from pathlib import Path
from ftx import heldout
from ftx.errors import DataError
from ftx.heldout import read_held_out
resource.setrlimit(resource.RLIMIT_DATA, (150 * 2**20,) * 2)
try:
    read_held_out(Path({str(path)!r}))
except DataError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "eval.jsonl:1: a line of more than 16 MiB" in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_held_out(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="--data"):
        find_held_out(tmp_path / "checkpoint")
