"""The texts to verify on: of a table, a folder of tables, a hub data set, or a run's own held-out rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ftx.errors import DataError
from ftx.heldout import HeldOut, data_columns, find_held_out, read_held_out
from ftx.hub import read_source
from ftx.label_matching import match_labels
from ftx.tables.columns import Columns
from ftx.text import Text

__all__ = ["read_data", "read_stress"]

log = logging.getLogger(__name__)
PLACES = 5  # named in a message


def read_data(
    data: str | Path | None, checkpoint: Path, columns: Columns | None, id2label: Mapping[int, str], problem_type: str
) -> tuple[HeldOut, Path]:
    """Read the texts to verify on, with their labels, if there are any, as the model writes them.

    Args:
        data: A file, a folder, or a hub data set, `NAME[:CONFIG][:SPLIT]`; default: the run's `eval.jsonl`.
        checkpoint: The model's checkpoint; that of a run stands in its folder.
        columns: Which columns hold text and label; default: `text`, and `label` if there is one.
        id2label: The model's label names by column.
        problem_type: Its head.

    Returns:
        The texts without the empty ones, and where they come from.

    Raises:
        DataError: They can't be read, none is left, or their labels don't fit the model.
    """
    where = Path(data) if data else find_held_out(checkpoint)
    asked = replace(columns or data_columns(), lists=problem_type == "multi_label_classification")
    held_out = without_empty(read_source(str(where), asked), where)
    check_labels_there(held_out, id2label, where)
    return match_labels(held_out, id2label, problem_type, where), where


def read_stress(path: str | Path, columns: Columns, held_out: HeldOut) -> list[Text]:
    """Read the user's own texts to stress a smaller file with; labels are not looked at.

    Args:
        path: A table, a folder of tables, or a file with one text a line.
        columns: Which columns hold the texts.
        held_out: The held-out texts: these must be pairs if those are.

    Raises:
        DataError: They can't be read, none is left without the empty ones, or they are pairs and those are not.
    """
    where = Path(path)
    asked = data_columns(columns.text, text_pair=columns.text_pair, delimiter=columns.delimiter)
    asked = replace(asked, pair_optional=columns.pair_optional)
    found = without_empty(read_held_out(where, asked), where).texts
    kinds = ["texts" if isinstance(texts[0], str) else "pairs" for texts in (found, held_out.texts)]
    if kinds[0] != kinds[1]:
        raise DataError(f"{where} has {kinds[0]}, expected {kinds[1]}, as the held-out rows are")
    return found


def without_empty(held_out: HeldOut, where: Path) -> HeldOut:
    """Leave out empty texts, on which all models agree with themselves, and say how many there were.

    Raises:
        DataError: No other is left.
    """
    kept = [row for row, text in enumerate(held_out.texts) if "".join(text).strip()]
    if len(kept) == len(held_out):
        return held_out
    empty = sorted(set(range(len(held_out))) - set(kept))
    if not kept:
        raise DataError(f"{where} has {len(empty)} texts, all of them empty; expected text")
    log.warning(
        f"WARNING: {len(empty)} of {len(held_out)} texts in {where} are empty and left out: {numbered(empty)} from the "
        "top"
    )
    return held_out.take(kept)


def check_labels_there(held_out: HeldOut, id2label: Mapping[int, str], where: Path) -> None:
    """Check that no label is empty.

    Raises:
        DataError: Some are.
    """
    names = set(id2label.values())
    missing = [row for row, label in enumerate(held_out.labels or []) if label == "" and "" not in names]
    if missing:
        raise DataError(
            f"{where}: {len(missing)} of {len(held_out)} texts have no label, {numbered(missing)} from the top: fill "
            "them in, or leave the whole column out: agreement needs no labels"
        )


def numbered(rows: list[int]) -> str:
    """Write the numbers of the first rows, from 1 on."""
    more = ", ..." if len(rows) > PLACES else ""
    return f"number {', '.join(str(row + 1) for row in rows[:PLACES])}{more}"
