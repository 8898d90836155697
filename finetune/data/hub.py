"""Read labelled rows of hub data sets."""

from __future__ import annotations

from ftx.errors import DataError
from ftx.hub import HubRows, data_set_splits, one_split, split_rows
from ftx.tables.bad_rows import BadRows
from ftx.tables.columns import Columns
from ftx.tables.labelled import Row, read_row

__all__ = ["hub_rows", "hub_split_rows"]


def hub_rows(dataset: str, columns: Columns, bad_rows: BadRows) -> tuple[list[Row], list[Row]]:
    """Load a hub data set, `NAME`, `NAME:CONFIG`, and either with `@REVISION`.

    Returns:
        Its train rows and its validation rows (none if it has no such split), with numbered labels by name.

    Raises:
        DataError: There is no such file or data set, it lacks a column, or more rows are bad than may be skipped.
    """
    splits = data_set_splits(dataset)
    if "train" not in splits:
        raise DataError(f"Data set {dataset!r} has no train split, only {', '.join(splits)}")
    train, validation = (
        usable(split_rows(dataset, side, splits[side], columns), columns, bad_rows) if side in splits else []
        for side in ("train", "validation")
    )
    return train, validation


def hub_split_rows(dataset: str, columns: Columns, bad_rows: BadRows) -> list[Row]:
    """Load one split of a hub data set, `NAME[:CONFIG][:SPLIT]`; default: test, else validation, else train.

    Raises:
        DataError: There is no such data set or split, it lacks a column, or more rows are bad than may be skipped.
    """
    return usable(one_split(dataset, columns), columns, bad_rows)


def usable(rows: HubRows, columns: Columns, bad_rows: BadRows) -> list[Row]:
    """Read text and label of each row."""
    found = [row for where, record in rows if (row := read_row(where, record, columns, bad_rows))]
    bad_rows.check()
    return found
