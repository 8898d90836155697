"""The kind of classification head, and how a label as written becomes what training compares with."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ftx.errors import DataError
from ftx.heldout import Label
from ftx.tables.cells import listed
from ftx.tables.labelled import Row
from ftx.text import Text

__all__ = ["MULTI_LABEL", "REGRESSION", "SINGLE_LABEL", "Example", "Head", "Target", "find_head", "strata"]

SINGLE_LABEL, MULTI_LABEL, REGRESSION = "single_label_classification", "multi_label_classification", "regression"

# A label's number; a 0 or 1 for each label (multi-label); a value (regression).
Target = int | list[float] | float
Example = tuple[Text, Target]

# Regression values are held out from each tenth of their range of ranks.
BINS = 10
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INTEGER = re.compile(r"[+-]?\d{1,1000}", re.ASCII)  # Python refuses to compute with 4,300 digits
CODE = re.compile(r"[+-]?0\d+", re.ASCII)
LARGEST_VALUE = 1e18  # float32 holds its square, which the loss is made of


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
    def numeric(self) -> bool:
        """Whether a label's name is a number itself: then a number in the data is a name."""
        return any(map(NUMBER.fullmatch, self.labels))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each label as it may be written in the data: a name, or the number of one."""
        numbers = {whole(name): number for number, name in enumerate(self.labels)}
        numbers |= {name: number for number, name in enumerate(self.labels)}
        if not self.numeric:
            numbers |= {str(number): number for number in range(len(self.labels))}
        return numbers

    def number(self, name: str) -> int:
        """Give the number of a label as written; a whole number may be written as a float, 1.0 for 1."""
        number = self.numbers.get(name, self.numbers.get(whole(name)))
        if number is None:
            by_number = "" if self.numeric else f", or a number from 0 to {len(self.labels) - 1}"
            raise ValueError(f"label {name!r:.80} is not in the list; expected {listed(self.labels)}{by_number}")
        return number

    def target(self, label: str | list[str]) -> Target:
        """Turn a label as written into what training compares with.

        Raises:
            ValueError: It is no label of this head; says what was found and expected.
        """
        if self.problem_type == REGRESSION:
            return value_of(label)
        if self.problem_type == SINGLE_LABEL:
            if not isinstance(label, str):
                raise ValueError(f"a list of labels, {listed(label)}; expected one label")
            return self.number(label)
        given = {self.number(name) for name in ([label] if isinstance(label, str) else label)}
        return [float(number in given) for number in range(len(self.labels))]

    def label(self, target: Target) -> Label:
        """Name a target: a label, a list of labels, or a value."""
        if isinstance(target, list):
            return [name for name, given in zip(self.labels, target, strict=True) if given]
        return target if self.problem_type == REGRESSION else self.labels[int(target)]


def value_of(label: str | list[str]) -> float:
    """Read a value.

    Raises:
        ValueError: It is no number, or none that float32 holds.
    """
    value = number_of(label)
    if value is None:
        raise ValueError(f"label {label!r:.80} is not a number; expected one, for regression")
    if abs(value) > LARGEST_VALUE:
        raise ValueError(
            f"label {label!r:.80} is too large a number; expected one up to {LARGEST_VALUE:g}, for regression"
        )
    return value


def number_of(label: str | list[str]) -> float | None:
    """Read a number, infinite where it is too large for one; None where it is none: inf, nan and 1_000 are words."""
    bare = label.strip() if isinstance(label, str) else ""
    return float(bare) if NUMBER.fullmatch(bare) else None


def is_whole(name: str) -> bool:
    """Tell whether a number is whole, as no value of a regression need be: 3, -1 or 2.0."""
    return bool(INTEGER.fullmatch(name)) or (number_of(name) or 0.0).is_integer()


def whole(name: str) -> str:
    """Write a whole number as the integer it is, 1.0 as 1; all else, 007 too, stays as it is written."""
    if INTEGER.fullmatch(name):
        return name if CODE.fullmatch(name) else str(int(name))
    value = number_of(name)
    return str(int(value)) if value is not None and value.is_integer() and abs(value) < 2**53 else name


def find_head(asked: str, names: list[str], rows: list[Row], label_column: str) -> Head:
    """Find out which head suits the labels.

    Args:
        asked: A problem type, or `auto`: lists of labels make multi-label. Where most labels are numbers and some have
            fractions, it is a regression, in which the others are bad rows. All else is a single label.
        names: The label names in order; empty: those found, sorted (numbers by size).
        rows: Every row of the data set.
        label_column: What a regression's value is called.

    Raises:
        DataError: Some labels are of one kind and some of another.
    """
    single = asked == SINGLE_LABEL
    lists = sum(not isinstance(row.label, str) for row in rows)
    if lists and (lists < len(rows) or asked in (SINGLE_LABEL, REGRESSION)):
        mostly_lists = lists * 2 >= len(rows) and asked not in (SINGLE_LABEL, REGRESSION)
        odd = next(row for row in rows if isinstance(row.label, str) == mostly_lists)
        expected = "a list of labels" if mostly_lists else "one label"
        raise DataError(f"{odd.where}: label {odd.label!r:.80}: expected {expected} in every row")
    if asked == "auto":
        asked = MULTI_LABEL if lists else REGRESSION if not names and mostly_values(rows) else SINGLE_LABEL
    if asked == REGRESSION:
        return Head(problem_type=asked, labels=[label_column])
    return Head(problem_type=asked, labels=names or found_names(rows, single=single))


def mostly_values(rows: list[Row]) -> bool:
    """Tell whether most labels are numbers and some of these have fractions, as no label's number has."""
    values = [value for row in rows if (value := number_of(row.label)) is not None and math.isfinite(value)]
    return 2 * len(values) > len(rows) and any(not value.is_integer() for value in values)


def found_names(rows: list[Row], *, single: bool) -> list[str]:
    """Sort the labels found, numbers by size.

    Args:
        rows: Every row.
        single: Whether single labels were asked for by name: then numbers with fractions are names as any others.

    Raises:
        DataError: Numbers and words are mixed.
    """
    where: dict[str, str] = {}
    for row in rows:
        for name in [row.label] if isinstance(row.label, str) else row.label:
            where.setdefault(name, row.where)
    numbers = [name for name in where if NUMBER.fullmatch(name)]
    words = sorted(name for name in where if not NUMBER.fullmatch(name))
    fractions = not all(map(is_whole, numbers))
    if words and numbers and not (single and fractions):
        odd = min(words, numbers, key=len)[0]
        raise DataError(
            f"{where[odd]}: label {odd!r:.80}: some labels are numbers and some are words; "
            "expected one kind: mend it, or list the labels with --labels"
        )
    # What is written in two ways, 1 and 1.0, is one label.
    numbers = list({name if fractions and whole(name) not in where else whole(name) for name in numbers})
    return [*sorted(numbers, key=size), *words]


def size(number: str) -> tuple[float, str]:
    """Sort numbers by size; integers of hundreds of digits have one, too."""
    return int(number) if INTEGER.fullmatch(number) else float(number), number


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
