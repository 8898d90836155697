"""Load data sets by hub id, with errors that say what to do."""

from __future__ import annotations

import re
from typing import Any

from ftx.errors import DataError
from ftx.finetune.model.hub import NO_HUB, split_revision, unloadable
from ftx.tables.bad_rows import BadRows
from ftx.tables.columns import Columns
from ftx.tables.labelled import Row, read_row

__all__ = ["hub_rows"]


def hub_rows(dataset: str, columns: Columns, bad_rows: BadRows) -> tuple[list[Row], list[Row]]:
    """Load a hub data set, `NAME`, `NAME:CONFIG`, and either with `@REVISION`.

    Returns:
        Its train rows and its validation rows (none if it has no such split), with numbered labels by name.

    Raises:
        DataError: There is no such file or data set, or it lacks a column.
    """
    import datasets

    whole, revision = split_revision(dataset)
    name, _, config = whole.partition(":")
    try:
        loaded = datasets.load_dataset(name, config or None, revision=revision)
        if revision:
            check_revision(loaded, name, revision)
    except Exception as error:  # the hub's, fsspec's and datasets' errors have no common base
        what = f"Data set {dataset!r:.300} is no file or folder here, and no hub data set that can be reached: "
        raise DataError(str(unloadable(what, error, f"; {NO_HUB}"))) from error
    if "train" not in loaded:
        raise DataError(f"Data set {dataset!r} has no train split, only {', '.join(loaded)}")
    sides: dict[str, list[Row]] = {"train": [], "validation": []}
    for side, rows in sides.items():
        if side not in loaded:
            continue
        features = loaded[side].features
        columns.find(f"Data set {dataset!r}, split {side}", list(features))
        names = label_names(features.get(columns.label))
        for number, record in enumerate(loaded[side].select_columns(list(columns.all)), 1):
            row = read_row(f"{dataset} {side} row {number}", named(record, columns.label, names), columns, bad_rows)
            if row:
                rows.append(row)
    return sides["train"], sides["validation"]


def check_revision(loaded: Any, name: str, revision: str) -> None:
    """Check that a pinned revision was loaded: if the hub does not answer, datasets takes any revision from its cache.

    Raises:
        DataError: It was another one.
    """
    import huggingface_hub

    commit = revision
    if not re.fullmatch("[0-9a-f]{40}", revision):
        commit = str(huggingface_hub.HfApi().dataset_info(name, revision=revision).sha)
    places = [file["filename"] for rows in loaded.values() for file in rows.cache_files]
    if not all(commit in place for place in places):
        raise DataError(f"the hub did not answer, and the cache holds another revision than {revision}")


def label_names(feature: Any) -> list[str]:
    """Return the names of a column of numbered labels, or of lists of them; empty: it has none."""
    return getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None) or []


def named(record: dict[str, Any], column: str, names: list[str]) -> dict[str, Any]:
    """Replace a row's label numbers by names; a number without a name (-1: unknown) is no label."""
    if not names:
        return record
    label = record[column]
    known = dict(enumerate(names))
    if isinstance(label, list):
        return {**record, column: [known.get(number) for number in label]}
    return {**record, column: known.get(label)}
