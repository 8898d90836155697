"""From rows to what training needs: label numbers, and a held-out side that shares no sentence with the other."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from ftx.errors import DataError
from ftx.finetune.hub import hub_rows
from ftx.finetune.recipe import Recipe
from ftx.finetune.starter import STARTER, starter_rows
from ftx.finetune.table import Row, read_tables

__all__ = ["LabelledText", "load_labelled_text"]


@dataclass(frozen=True, kw_only=True)
class LabelledText:
    """Rows with numbered labels, in two sides that share no sentence.

    Attributes:
        labels: Label names; a label's number is its place.
        train: (text, label number) to learn from.
        held_out: (text, label number) to prove on.
    """

    labels: list[str]
    train: list[tuple[str, int]]
    held_out: list[tuple[str, int]]


def load_labelled_text(recipe: Recipe) -> LabelledText:
    """Read a recipe's data set, number its labels and hold rows out.

    Raises:
        DataError: There is no such data set, it is empty or of one class, or a row is not usable.
        FetchError: The starter's text could not be fetched.
    """
    path = Path(recipe.dataset)
    validation: list[Row] = []
    if recipe.dataset == STARTER:
        rows = list(starter_rows())
    elif path.exists():
        rows = list(read_tables(path, text_column=recipe.text_column, label_column=recipe.label_column))
    else:
        rows, validation = hub_rows(recipe.dataset, text_column=recipe.text_column, label_column=recipe.label_column)
    if not rows:
        raise DataError(f"{recipe.dataset} is empty; expected rows of labelled text")
    labels, number = number_labels(rows + validation, list(recipe.labels))
    found = {number[row.label] for row in rows}
    if len(found) < 2:
        raise DataError(
            f"{recipe.dataset} has one class only, {labels[found.pop()]!r}, in {len(rows)} rows; expected two or more"
        )
    if validation:
        held_out_keys = {sentence_key(row.text) for row in validation}
        train = [row for row in rows if sentence_key(row.text) not in held_out_keys]
    else:
        train, validation = split(rows, recipe.validation, recipe.seed)
    if lacking := [labels[n] for n in sorted(found - {number[row.label] for row in train})]:
        raise DataError(
            f"{recipe.dataset} has too few rows of {', '.join(lacking)} to learn from and to hold out; "
            "expected two or more of each label"
        )
    if not validation:
        raise DataError(f"{recipe.dataset} has too few rows to hold one out; expected two or more of each label")
    return LabelledText(
        labels=labels,
        train=[(row.text, number[row.label]) for row in train],
        held_out=[(row.text, number[row.label]) for row in validation],
    )


def number_labels(rows: list[Row], names: list[str]) -> tuple[list[str], dict[str, int]]:
    """Number the labels.

    Args:
        rows: Every row of the data set.
        names: The label names in order; empty: those found, sorted (numbers by size).

    Returns:
        The names, and the number of each label as written in the data: a name, or the number of one.

    Raises:
        DataError: A label is neither a given name nor the number of one; or numbers and words are mixed.
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
    for row in rows:
        if row.label not in number:
            raise DataError(
                f"{row.where}: label {row.label!r} is not in the list; "
                f"expected {', '.join(names)}, or a number from 0 to {len(names) - 1}"
            )
    return names, number


def sentence_key(text: str) -> str:
    """Reduce a text to what makes it the same sentence: its letters and digits, ignoring case and punctuation."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    key = "".join(character for character in folded if character.isalnum())
    return key or text.strip()  # "?!" and "..." are different texts all the same


def split(rows: list[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Hold out a share of the sentences of each label.

    Rows with the same sentence go to the same side. The sentences of a label are put in the order of the SHA-256 of
    seed and sentence, and the first ones are held out: the same on every machine, whatever the order of the rows.

    Returns:
        The rows to learn from and the rows held out, each in the order given.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[sentence_key(row.text)][row.label] += 1
    by_label: dict[str, list[str]] = defaultdict(list)
    for key, labels in counts.items():
        by_label[min(labels, key=lambda label: (-labels[label], label))].append(key)
    held_out: set[str] = set()
    for keys in by_label.values():
        keys.sort(key=lambda key: hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogatepass")).digest())
        # At least one sentence of each label that has two; never the last one.
        held_out.update(keys[: min(max(1, round(share * len(keys))), len(keys) - 1)])
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[sentence_key(row.text) in held_out].append(row)
    return sides
