"""From rows to what training needs: label numbers, and a held-out side that shares no sentence with the other."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from ftx.errors import DataError
from ftx.finetune.bad_rows import BadRows
from ftx.finetune.hub import hub_rows
from ftx.finetune.recipe import Recipe
from ftx.finetune.sentence_split import sample, sentence_key, split
from ftx.finetune.starter import STARTER, starter_rows
from ftx.finetune.table import Columns, Row, read_tables

__all__ = ["LabelledText", "load_labelled_text"]


@dataclass(frozen=True, kw_only=True)
class LabelledText:
    """Rows with numbered labels, in two sides that share no sentence.

    Attributes:
        labels: Label names; a label's number is its place.
        train: (text, label number) to learn from.
        held_out: (text, label number) to prove on.
        duplicates: Rows whose sentence stood in an earlier row of their side.
        two_labels: Sentences that carry two labels or more.
        leaks: Training rows left out because their sentence is in the validation file or split.
        bad_rows: Rows that could not be used.
    """

    labels: list[str]
    train: list[tuple[str, int]]
    held_out: list[tuple[str, int]]
    duplicates: int
    two_labels: int
    leaks: int
    bad_rows: BadRows


def load_labelled_text(recipe: Recipe) -> LabelledText:
    """Read a recipe's data set, number its labels and hold rows out.

    Raises:
        DataError: There is no such data set, it is empty or of one class, or a row is not usable.
        FetchError: The starter's text could not be fetched.
    """
    bad_rows = BadRows(limit=recipe.skip_bad_rows)
    columns = Columns(text=recipe.text_column, label=recipe.label_column, delimiter=recipe.delimiter)
    rows, validation = read_rows(recipe, columns, bad_rows)
    if not rows:
        raise DataError(f"{recipe.dataset} is empty; expected rows of labelled text")
    labels, number = number_labels(rows + validation, list(recipe.labels))
    rows, validation = (known_labels(side, labels, number, bad_rows) for side in (rows, validation))
    found = {number[row.label] for row in rows}
    if len(found) < 2:
        only = f"one class only, {labels[found.pop()]!r}," if found else "no usable row"
        raise DataError(f"{recipe.dataset} has {only} in {len(rows)} rows; expected two classes or more")
    leaks = 0
    if validation:
        held_out_keys = {sentence_key(row.text) for row in validation}
        train = [row for row in rows if sentence_key(row.text) not in held_out_keys]
        leaks = len(rows) - len(train)
    else:
        train, validation = split(rows, recipe.validation, recipe.seed)
    if lacking := [labels[n] for n in sorted(found - {number[row.label] for row in train})]:
        raise DataError(
            f"{recipe.dataset} has too few rows of {', '.join(lacking)} to learn from and to hold out; "
            "expected two or more of each label"
        )
    if not validation:
        raise DataError(f"{recipe.dataset} has too few rows to hold one out; expected two or more of each label")
    train = sample(train, recipe.train_rows, recipe.seed)
    validation = sample(validation, recipe.eval_rows, recipe.seed)
    by_sentence: dict[str, set[int]] = defaultdict(set)
    for row in train + validation:
        by_sentence[sentence_key(row.text)].add(number[row.label])
    return LabelledText(
        labels=labels,
        train=[(row.text, number[row.label]) for row in train],
        held_out=[(row.text, number[row.label]) for row in validation],
        duplicates=len(train) + len(validation) - len(by_sentence),
        two_labels=sum(len(numbers) > 1 for numbers in by_sentence.values()),
        leaks=leaks,
        bad_rows=bad_rows,
    )


def read_rows(recipe: Recipe, columns: Columns, bad_rows: BadRows) -> tuple[list[Row], list[Row]]:
    """Read the rows of the data set, and those of its own validation side, if it has one."""
    path = Path(recipe.dataset)
    validation: list[Row] = []
    if recipe.dataset == STARTER:
        rows = list(starter_rows())
    elif path.exists():
        rows = list(read_tables(path, columns, bad_rows))
    else:
        rows, validation = hub_rows(recipe.dataset, columns, bad_rows)
    if recipe.validation_file:
        validation = list(read_tables(Path(recipe.validation_file), columns, bad_rows))
        if not validation:
            raise DataError(f"{recipe.validation_file} is empty; expected rows of labelled text")
    return rows, validation


def number_labels(rows: list[Row], names: list[str]) -> tuple[list[str], dict[str, int]]:
    """Number the labels.

    Args:
        rows: Every row of the data set.
        names: The label names in order; empty: those found, sorted (numbers by size).

    Returns:
        The names, and the number of each label as it may be written in the data: a name, or the number of one.

    Raises:
        DataError: Numbers and words are mixed, and no names were given.
    """
    if not names:
        words = sorted({row.label for row in rows if not row.label.isdecimal()})
        numbers = sorted({row.label for row in rows if row.label.isdecimal()}, key=int)
        if words and numbers:
            fewer = words if len(words) < len(numbers) else numbers
            odd = next(row for row in rows if row.label in fewer)
            raise DataError(
                f"{odd.where}: label {odd.label!r}: some labels are numbers and some are words; "
                "expected one kind: mend it, or list the labels with --labels"
            )
        names = numbers or words
    number = {name: position for position, name in enumerate(names)}
    if not any(name.isdecimal() for name in names):
        number |= {str(position): position for position in range(len(names))}
    return names, number


def known_labels(rows: list[Row], names: list[str], number: dict[str, int], bad_rows: BadRows) -> list[Row]:
    """Keep the rows whose label is in the list; the others are bad rows."""
    kept = []
    for row in rows:
        if row.label in number:
            kept.append(row)
        else:
            expected = f"{', '.join(names)}, or a number from 0 to {len(names) - 1}"
            bad_rows.add(row.where, f"label {row.label!r} is not in the list; expected {expected}")
    return kept
