from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftx import hub
from ftx.errors import DataError
from ftx.hub import is_data_set_id, one_split
from ftx.tables.columns import Columns


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("imdb", True),
        ("org/reviews", True),
        ("org/reviews@v2:en:test", True),
        ("glue:sst2:validation", True),
        ("glue::test", True),
        ("absent.csv", False),
        ("org/absent.jsonl.gz", False),
        ("absent.xlsx", False),
        ("here/absent", False),
        ("here", False),
        ("./absent", False),
        ("/absent", False),
        ("../absent", False),
        ("a/b/c", False),
        ("with space", False),
        ("", False),
    ],
)
def test_a_data_set_is_told_from_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: bool
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert is_data_set_id(name) == expected


@pytest.mark.parametrize(
    ("name", "asked", "text"),
    [
        ("org/x", "org/x", "held out"),
        ("org/x:train", "org/x", "learnt"),
        ("org/x:en", "org/x:en", "held out"),
        ("org/x:test:train", "org/x:test", "learnt"),
        ("org/x::train", "org/x", "learnt"),
    ],
)
def test_configuration_and_split_are_parts_of_the_name(
    monkeypatch: pytest.MonkeyPatch, name: str, asked: str, text: str
) -> None:
    import datasets

    def load(dataset: str) -> dict[str, Any]:
        assert dataset == asked
        splits = {"train": "learnt", "validation": "held out"}
        return {side: datasets.Dataset.from_dict({"text": [one]}) for side, one in splits.items()}

    monkeypatch.setattr(hub, "data_set_splits", load)
    columns = Columns(label="label", label_optional=True)
    assert [record["text"] for _, record in one_split(name, columns)] == [text]
    config = asked.partition(":")[2]
    with pytest.raises(DataError, match="has no split 'dev', only train, validation"):
        list(one_split(f"org/x:{config}:dev", columns))
