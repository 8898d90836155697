"""The options that say which columns of a table hold texts and labels, for every command that reads one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ftx.cli.parameters import CHARACTER, COUNT, NAMES, TEXT

__all__ = [
    "COLUMN_FIELDS",
    "delimiter",
    "label_column",
    "label_columns",
    "skip_bad_rows",
    "text_column",
    "text_pair_column",
]

Option = Callable[[Any], Any]

# The fields of `ftx.tables.columns.Columns`, by parameter name.
COLUMN_FIELDS = {
    "text_column": "text",
    "text_pair_column": "text_pair",
    "label_column": "label",
    "label_columns": "indicators",
    "delimiter": "delimiter",
}


def text_column(default: str) -> Option:
    """Take the column of the texts."""
    return click.option("--text-column", type=TEXT, help=f"Column of the texts.  [default: {default}]")


def text_pair_column() -> Option:
    """Take the column of the second texts."""
    return click.option(
        "--text-pair-column", type=TEXT, help="Column of the second texts, for a model that reads pairs."
    )


def label_column(default: str) -> Option:
    """Take the column of the labels."""
    return click.option(
        "--label-column", type=TEXT, help=f"Column of the labels, or of lists of them.  [default: {default}]"
    )


def label_columns() -> Option:
    """Take a column for each label."""
    return click.option(
        "--label-columns", type=NAMES, help="For multi-label, instead: a 1-or-0 column for each label, by commas."
    )


def delimiter() -> Option:
    """Take what separates the cells of delimited text."""
    return click.option(
        "--delimiter", type=CHARACTER, help="Delimiter of the cells.  [default: a tab in .tsv, else found out]"
    )


def skip_bad_rows(then: str = "", default: int | None = 0) -> Option:
    """Take how many rows may be skipped."""
    return click.option("--skip-bad-rows", type=COUNT, default=default, help=f"Skip up to this many bad rows{then}.")
