"""Data sets by hub id, and errors about what the hub gives that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ftx.errors import DataError, FtxError, ModelError, chain, out_of_memory, require, write_failed
from ftx.heldout import HeldOut, gather, read_held_out
from ftx.tables.cells import listed
from ftx.tables.columns import Columns
from ftx.tables.formats import is_table
from ftx.tables.lines import exists

__all__ = [
    "NO_HUB", "SPLITS", "HubRows", "data_set_splits", "first_line", "is_data_set_id", "one_split", "read_source",
    "split_revision", "unloadable",
]  # fmt: skip

NO_HUB = "use --model starter --dataset starter, which need no hub, or name a local folder or file"
DATA_SET_ID = re.compile(r"(?:[\w.-]+/)?[\w.-]+(?:@[\w./-]+)?(?::[\w.-]*){0,2}(?:@[\w./-]+)?", re.ASCII)
# In the order in which they are taken where none is named: text that training has not seen comes first.
SPLITS = ("test", "validation", "train")

HubRows = Iterator[tuple[str, dict[str, Any]]]  # where, for messages, and the row, with labels by name


def is_data_set_id(name: str) -> bool:
    """Tell a hub data set, `[ORG/]NAME[@REVISION][:CONFIG][:SPLIT]`, from a path, of which no hub is asked."""
    path = Path(name)
    local = exists(name) or is_table(path) or name.startswith(".") or ("/" in name and exists(str(path.parent)))
    return not local and DATA_SET_ID.fullmatch(name) is not None and not ("/" not in name and path.suffix)


def data_set_splits(dataset: str) -> dict[str, Any]:
    """Load all splits of a hub data set, `NAME`, `NAME:CONFIG`, and either with `@REVISION`.

    Raises:
        DataError: There is none, or the hub can't be reached.
        MissingExtraError: `datasets` is not installed.
    """
    require("train", "datasets")
    import datasets
    import huggingface_hub

    huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it logs every retry
    whole, revision = split_revision(dataset)
    name, _, config = whole.partition(":")
    try:
        loaded = datasets.load_dataset(name, config or None, revision=revision)
        if revision:
            check_revision(loaded, name, revision)
    except Exception as error:  # the hub's, fsspec's and datasets' errors have no common base
        what = f"Data set {dataset!r:.300} is no file or folder here, and no hub data set that can be reached: "
        raise DataError(str(unloadable(what, error, f"; {NO_HUB}"))) from error
    return dict(loaded)


def split_rows(dataset: str, side: str, rows: Any, columns: Columns) -> HubRows:
    """Give the rows of a split, with numbered labels by name.

    Raises:
        DataError: It lacks a column.
    """
    asked = columns.find(f"Data set {dataset!r}, split {side}", list(rows.features))
    names = label_names(rows.features.get(columns.label))
    for number, record in enumerate(rows.select_columns(list(asked)), 1):
        yield f"{dataset} {side} row {number}", named(record, columns.label, names)


def one_split(dataset: str, columns: Columns, splits: Sequence[str] = SPLITS) -> HubRows:
    """Give the rows of one split: of `NAME[:CONFIG][:SPLIT]` the one named, else the first of `splits` that is there.

    A single part that is one of these, or test, validation or train, names a split; with a configuration of that name
    write `NAME:CONFIG:SPLIT`.

    Raises:
        DataError: There is no such data set or split, or it lacks a column.
    """
    name, _, rest = dataset.partition(":")
    config, colon, split = rest.partition(":")
    if not colon and config in (*SPLITS, *splits):
        config, split = "", config
    found = data_set_splits(f"{name}:{config}" if config else name)
    side = split or next((one for one in splits if one in found), splits[-1])
    if side not in found:
        raise DataError(f"Data set {dataset!r:.300} has no split {side!r:.80}, only {listed(found)}")
    yield from split_rows(dataset, side, found[side], columns)


def read_source(source: str, columns: Columns, splits: Sequence[str] = SPLITS) -> HeldOut:
    """Read texts, with labels if there are any, of a file, a folder of tables, or a hub data set.

    Args:
        source: The file or folder, or `NAME[:CONFIG][:SPLIT]`.
        columns: Which columns hold text and label.
        splits: See `one_split`.

    Raises:
        DataError: See `read_held_out` and `one_split`.
    """
    if not is_data_set_id(source):
        return read_held_out(Path(source), columns)
    rows = one_split(source, columns, splits)
    return gather(source, columns, ((place, tuple(row), list(row.values()), "") for place, row in rows))


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
    if not names or column not in record:
        return record
    label = record[column]
    known = dict(enumerate(names))
    if isinstance(label, list):
        return {**record, column: [known.get(number) for number in label]}
    return {**record, column: known.get(label)}


def unloadable(what: str, error: Exception, advised: str) -> FtxError:
    """Explain why a model or a data set can't be loaded; lack of memory or disk space is not blamed on it.

    Returns:
        A `ModelError` with matching advice.

    Raises:
        MemoryError: Memory ran out.
    """
    if out_of_memory(error):
        raise MemoryError(first_line(error)) from error
    if write_failed(error):
        known = (f"{one.strerror} ({one.filename})" for one in chain(error) if isinstance(one, OSError) and one.errno)
        cause = next(known, first_line(error))
        return ModelError(f"{what}{cause}; make room there, or name another cache folder with HF_HOME")
    return ModelError(f"{what}{first_line(error)}{advised}")


def split_revision(name: str) -> tuple[str, str | None]:
    """Split `NAME@REVISION`; a folder may have an @ in its name, a hub id may not."""
    if exists(name) or "@" not in name:
        return name, None
    name, _, revision = name.rpartition("@")
    return name, revision


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
