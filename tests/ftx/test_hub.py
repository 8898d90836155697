from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftx import hub
from ftx.errors import DataError
from ftx.hub import is_data_set_id, one_split, read_source
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


def test_unlabelled_text_is_looked_for_in_other_splits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    found: dict[str, Any] = {"test": "held out", "train": "learnt", "unsupervised": "unlabelled"}
    splits = {
        side: datasets.Dataset.from_dict({"text": [text], "id": [1], "label": [None]}) for side, text in found.items()
    }
    monkeypatch.setattr(hub, "data_set_splits", lambda name: splits)
    columns, order = Columns(), ("unsupervised", "train")
    assert read_source("org/x", columns, order).texts == ["unlabelled"]
    assert read_source("org/x:test", columns, order).texts == ["held out"]
    assert read_source("org/x:unsupervised", columns, order).texts == ["unlabelled"]
    assert read_source("org/x", columns).texts == ["held out"]
    del splits["unsupervised"]
    assert read_source("org/x", columns, order).texts == ["learnt"]
    del splits["train"]
    with pytest.raises(DataError, match="has no split 'train', only test"):
        read_source("org/x", columns, order)
    with pytest.raises(DataError, match=r"no column 'body'; the columns are text, id, label: .*--unlabelled-column"):
        read_source("org/x", Columns(text="body", text_option="--unlabelled-column"))
    (tmp_path / "texts.txt").write_text("of a file\n")
    assert read_source(str(tmp_path / "texts.txt"), columns).texts == ["of a file"]
