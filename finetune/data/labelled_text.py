"""From rows to training data: targets, and a held-out split that shares no sentence with the training split."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from ftx.errors import DataError
from ftx.finetune.data.hub import hub_rows
from ftx.finetune.data.sentence_split import sample, sentence_key, split
from ftx.finetune.data.targets import examples
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, Example, Head, find_head, strata
from ftx.finetune.recipe import Recipe
from ftx.finetune.starter import STARTER, starter_rows
from ftx.heldout import HELD_OUT_FILE
from ftx.tables.bad_rows import BadRows
from ftx.tables.cells import listed
from ftx.tables.columns import Columns
from ftx.tables.formats import is_table
from ftx.tables.labelled import Row, read_tables
from ftx.tables.lines import exists

__all__ = ["LabelledText", "columns_of", "load_labelled_text"]


VALUES_FOUND = ", as most labels are numbers with fractions; for classes add --problem-type single_label_classification"


@dataclass(frozen=True, kw_only=True)
class LabelledText:
    """Texts with targets, in two splits that share no sentence.

    Attributes:
        head: The kind of head that the labels need, and their names.
        train: (text, target) to train on.
        held_out: (text, target) to evaluate on.
        duplicates: Rows whose sentence is in another row, too.
        two_labels: Sentences with two labels or more, in different rows.
        leaks: Training rows excluded because their sentence is in the validation file or split.
        bad_rows: Rows that could not be used.
    """

    head: Head
    train: list[Example]
    held_out: list[Example]
    duplicates: int
    two_labels: int
    leaks: int
    bad_rows: BadRows


def load_labelled_text(recipe: Recipe) -> LabelledText:
    """Read a recipe's data set, turn its labels into targets, and hold rows out.

    Raises:
        DataError: There is no such data set, it is empty or has one class only, or a row is not usable.
        FetchError: The starter's text could not be fetched.
    """
    bad_rows = BadRows(limit=recipe.skip_bad_rows)
    rows, validation = read_rows(recipe, columns_of(recipe), bad_rows)
    if not rows:
        raise DataError(f"{recipe.dataset} is empty; expected rows of labelled text")
    names = list(recipe.labels or recipe.label_columns)
    head = find_head(recipe.problem_type, names, rows + validation, recipe.label_column)
    hint = VALUES_FOUND if recipe.problem_type == "auto" and head.problem_type == REGRESSION else ""
    train, held_out = (examples(side, head, bad_rows, hint) for side in (rows, validation))
    check_variety(recipe.dataset, train, head)
    found = labels_found(train, head)
    leaks = 0
    if validation:
        held_out_keys = {sentence_key(text) for text, _ in held_out}
        before = len(train)
        train = [row for row in train if sentence_key(row[0]) not in held_out_keys]
        leaks = before - len(train)
    else:
        train, held_out = split(train, strata([target for _, target in train], head), recipe.validation, recipe.seed)
    lost = found - labels_found(train, head)
    if lacking := [name for name in head.labels if name in lost]:
        raise DataError(
            f"{recipe.dataset} has too few rows of {listed(lacking)} to learn from and to hold out; "
            "expected two or more of each label"
        )
    if not train or not held_out:
        values = "; for values add --problem-type regression" if head.numeric else ""
        raise DataError(
            f"{recipe.dataset} has too few rows to hold one out; expected two or more of each label{values}"
        )
    train = sample(train, recipe.train_rows, recipe.seed)
    held_out = sample(held_out, recipe.eval_rows, recipe.seed)
    by_sentence: dict[str, set[str]] = defaultdict(set)
    for text, target in train + held_out:
        by_sentence[sentence_key(text)].add(str(target))
    return LabelledText(
        head=head,
        train=train,
        held_out=held_out,
        duplicates=len(train) + len(held_out) - len(by_sentence),
        two_labels=sum(len(targets) > 1 for targets in by_sentence.values()),
        leaks=leaks,
        bad_rows=bad_rows,
    )


def columns_of(recipe: Recipe) -> Columns:
    """Return the columns that a recipe names."""
    return Columns(
        text=recipe.text_column,
        label=recipe.label_column,
        text_pair=recipe.text_pair_column,
        indicators=recipe.label_columns,
        lists=recipe.problem_type == MULTI_LABEL,
        delimiter=recipe.delimiter,
    )


def read_rows(recipe: Recipe, columns: Columns, bad_rows: BadRows) -> tuple[list[Row], list[Row]]:
    """Read the rows of the data set, and those of its own validation side, if it has one."""
    validation: list[Row] = []
    if recipe.dataset == STARTER:
        rows = list(starter_rows())
    elif exists(recipe.dataset) or is_path(recipe.dataset):
        rows = list(read_tables(Path(recipe.dataset), columns, bad_rows))
    else:
        rows, validation = hub_rows(recipe.dataset, columns, bad_rows)
    if recipe.validation_file:
        validation = list(read_tables(Path(recipe.validation_file), columns, bad_rows))
        if not validation:
            raise DataError(f"{recipe.validation_file} is empty; expected rows of labelled text")
    elif recipe.distill and (held_out := held_out_of(recipe.model)):
        # Student and teacher are compared on what the teacher's run held out: it has seen the labels of the rest.
        validation = list(read_tables(held_out, held_out_columns(recipe), bad_rows))
    return rows, validation


def held_out_of(teacher: str) -> Path | None:
    """Find what the run of a teacher's checkpoint held out; None: it is in no run."""
    path = Path(teacher).absolute().parent / HELD_OUT_FILE
    return path if exists(teacher) and path.is_file() else None


def held_out_columns(recipe: Recipe) -> Columns:
    """Return the columns of a run's held-out file."""
    multi = recipe.problem_type == MULTI_LABEL
    return Columns(text="text", label="label", text_pair="text_pair" if recipe.text_pair_column else "", lists=multi)


def is_path(dataset: str) -> bool:
    """Tell a missing file from a hub id, which has no suffix of a table, so that no hub is asked for it."""
    return dataset.startswith(("/", "./", "../", "~")) or is_table(Path(dataset))


def check_variety(dataset: str, rows: list[Example], head: Head) -> None:
    """Check that there are different texts, and different labels to learn.

    Raises:
        DataError: Every row has the same text, or the same label or value.
    """
    if not rows:
        raise DataError(f"{dataset} has no usable row; expected two classes or more")
    if len(rows) > 1 and all(text == rows[0][0] for text, _ in rows):
        raise DataError(
            f"{dataset} has the same text in all {len(rows)} rows; expected different ones: is it --text-column?"
        )
    if any(target != rows[0][1] for _, target in rows):
        return
    only = head.label(rows[0][1])
    if head.problem_type == REGRESSION:
        raise DataError(f"{dataset} has one value only, {only}, in {len(rows)} rows; expected different ones")
    raise DataError(f"{dataset} has one class only, {only!r}, in {len(rows)} rows; expected two classes or more")


def labels_found(rows: list[Example], head: Head) -> set[str]:
    """Return the labels that some row has; for regression, none."""
    found: set[str] = set()
    if head.problem_type != REGRESSION:
        for _, target in rows:
            label = head.label(target)
            found.update(label if isinstance(label, list) else [str(label)])
    return found
