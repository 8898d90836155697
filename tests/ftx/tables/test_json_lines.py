from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ftx.tables.bad_rows import BadRows

Read = Callable[..., list[tuple[str, str]]]


def test_half_a_surrogate_pair_is_read_as_the_runtime_reads_it(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800", "label": "b\\udc00"}\n')
    assert read(tmp_path / "a.jsonl") == [("a\ufffd", "b\ufffd")]


def test_an_object_that_lacks_a_named_column_is_a_bad_row(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"review": "a"}\n{"text": "b", "label": 1.10}\n{"label": 1}\n{"text": "c", "label": "x"}\n')
    bad_rows = BadRows(limit=2)
    assert read(path, bad_rows=bad_rows) == [("b", "1.10"), ("c", "x")]
    assert [(row.where, row.reason) for row in bad_rows.rows] == [
        (f"{path}:1", "there is no column 'text'; the columns are review: name yours with --text-column"),
        (f"{path}:3", "the text is missing; expected a value in column 'text'"),
    ]
