"""The kind of classification head, and how a label as written becomes what training compares with."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ftx.errors import DataError
from ftx.finetune.table import Row
from ftx.heldout import Label
from ftx.text import Text

__all__ = ["MULTI_LABEL", "REGRESSION", "SINGLE_LABEL", "Example", "Head", "Target", "find_head", "strata"]

SINGLE_LABEL, MULTI_LABEL, REGRESSION = "single_label_classification", "multi_label_classification", "regression"

# A label's number; a 0 or 1 for each label (multi-label); a value (regression).
Target = int | list[float] | float
Example = tuple[Text, Target]

# Regression values are held out from each tenth of their range of ranks.
BINS = 10


@dataclass(frozen=True, kw_only=True)
class Head:
    """What the model tells of a text.

    Attributes:
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`.
        labels: Label names; a label's number is its place. For regression one: what the value is called.
    """

    problem_type: str
    labels: list[str]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each label as it may be written in the data: a name, or the number of one."""
        numbers = {name: number for number, name in enumerate(self.labels)}
        if not any(name.isdecimal() for name in self.labels):
            numbers |= {str(number): number for number in range(len(self.labels))}
        return numbers

    def target(self, label: str | list[str]) -> Target:
        """Turn a label as written into what training compares with.

        Raises:
            ValueError: It is no label of this head; says what was found and expected.
        """
        if self.problem_type == REGRESSION:
            return finite(label)
        for name in [label] if isinstance(label, str) else label:
            if name not in self.numbers:
                expected = f"{', '.join(self.labels)}, or a number from 0 to {len(self.labels) - 1}"
                raise ValueError(f"label {name!r} is not in the list; expected {expected}")
        if self.problem_type == SINGLE_LABEL:
            if not isinstance(label, str):
                raise ValueError(f"a list of labels, {', '.join(label)}; expected one label")
            return self.numbers[label]
        given = {self.numbers[name] for name in ([label] if isinstance(label, str) else label)}
        return [float(number in given) for number in range(len(self.labels))]

    def label(self, target: Target) -> Label:
        """Name a target: a label, a list of labels, or a value."""
        if isinstance(target, list):
            return [name for name, given in zip(self.labels, target, strict=True) if given]
        return target if self.problem_type == REGRESSION else self.labels[int(target)]


def finite(label: str | list[str]) -> float:
    """Read a value."""
    try:
        value = float(label) if isinstance(label, str) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"label {label!r} is not a number; expected one, for regression")
    return value


def find_head(asked: str, names: list[str], rows: list[Row], label_column: str) -> Head:
    """Find out which head suits the labels.

    Args:
        asked: A problem type, or `auto`: lists of labels make multi-label, numbers with fractions regression.
        names: The label names in order; empty: those found, sorted (numbers by size).
        rows: Every row of the data set.
        label_column: What a regression's value is called.

    Raises:
        DataError: Some labels are of one kind and some of another.
    """
    lists = sum(not isinstance(row.label, str) for row in rows)
    if lists and (lists < len(rows) or asked in (SINGLE_LABEL, REGRESSION)):
        mostly_lists = lists * 2 >= len(rows) and asked not in (SINGLE_LABEL, REGRESSION)
        odd = next(row for row in rows if isinstance(row.label, str) == mostly_lists)
        expected = "a list of labels" if mostly_lists else "one label"
        raise DataError(f"{odd.where}: label {odd.label!r}: expected {expected} in every row")
    if asked == "auto":
        asked = MULTI_LABEL if lists else REGRESSION if not names and all_numbers_with_fractions(rows) else SINGLE_LABEL
    if asked == REGRESSION:
        return Head(problem_type=asked, labels=[label_column])
    return Head(problem_type=asked, labels=names or found_names(rows))


def all_numbers_with_fractions(rows: list[Row]) -> bool:
    """Tell whether every label is a number and some are not whole, as no label's number is."""
    values = []
    for row in rows:
        try:
            values.append(finite(row.label))
        except ValueError:
            return False
    return any(not value.is_integer() for value in values)


def found_names(rows: list[Row]) -> list[str]:
    """Sort the labels found.

    Raises:
        DataError: Numbers and words are mixed.
    """
    where: dict[str, str] = {}
    for row in rows:
        for name in [row.label] if isinstance(row.label, str) else row.label:
            where.setdefault(name, row.where)
    words = sorted(name for name in where if not name.isdecimal())
    numbers = sorted((name for name in where if name.isdecimal()), key=int)
    if words and numbers:
        odd = min(words, numbers, key=len)[0]
        raise DataError(
            f"{where[odd]}: label {odd!r}: some labels are numbers and some are words; "
            "expected one kind: mend it, or list the labels with --labels"
        )
    return numbers or words


def strata(targets: list[Target], head: Head) -> list[str]:
    """Say of each row which others it is like, so that a share of each kind is held out.

    Single label: the label. Multi-label: the rarest of its labels, so that a share of those, too, is held out.
    Regression: the tenth of the rows, by value, in which it stands.
    """
    if head.problem_type == REGRESSION:
        values = np.asarray(targets, dtype=np.float64)
        edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
        return [str(tenth) for tenth in np.searchsorted(edges, values, side="right")]
    given = [
        [n for n, hot in enumerate(target) if hot] if isinstance(target, list) else [int(target)] for target in targets
    ]
    counts = Counter(number for numbers in given for number in numbers)
    return [head.labels[min(numbers, key=lambda n: (counts[n], n))] if numbers else "" for numbers in given]
