"""The head: the problem type with its labels, and the conversion between labels and training targets."""

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

# A label id; a 0 or 1 for each label (multi-label); a value (regression).
Target = int | list[float] | float
Example = tuple[Text, Target]

# Regression values are stratified by decile.
BINS = 10
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INTEGER = re.compile(r"[+-]?\d{1,1000}", re.ASCII)  # Python converts no more than 4,300 digits
CODE = re.compile(r"[+-]?0\d+", re.ASCII)
LARGEST_VALUE = 1e18  # its square, which the loss sums, fits into float32


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a model predicts.

    Attributes:
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`.
        labels: Label names in the order of their ids; for regression, the one name of the value.
    """

    problem_type: str
    labels: list[str]

    @cached_property
    def numeric(self) -> bool:
        """Whether a label name is itself a number; then numbers in the data are names, not ids."""
        return any(map(NUMBER.fullmatch, self.labels))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The id of each label by the ways to write it: its name or its id."""
        numbers = {normalised(name): number for number, name in enumerate(self.labels)}
        numbers |= {name: number for number, name in enumerate(self.labels)}
        if not self.numeric:
            numbers |= {str(number): number for number in range(len(self.labels))}
        return numbers

    def number(self, name: str) -> int:
        """Return the id of a label as written; an integer may be written as a float, 1.0 for 1."""
        number = self.numbers.get(name, self.numbers.get(normalised(name)))
        if number is None:
            by_number = "" if self.numeric else f", or a number from 0 to {len(self.labels) - 1}"
            raise ValueError(f"label {name!r:.80} is not in the list; expected {listed(self.labels)}{by_number}")
        return number

    def target(self, label: str | list[str]) -> Target:
        """Convert a label as written into a training target.

        Raises:
            ValueError: It is no label of this head; the message says what was found and expected.
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
        """Convert a target back into a label, a list of labels, or a value."""
        if isinstance(target, list):
            return [name for name, given in zip(self.labels, target, strict=True) if given]
        return target if self.problem_type == REGRESSION else self.labels[int(target)]


def value_of(label: str | list[str]) -> float:
    """Parse the value of a regression.

    Raises:
        ValueError: It is not a number, or too large for training in float32.
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
    """Parse a number (infinity on overflow); None for anything else, such as inf, nan and 1_000."""
    bare = label.strip() if isinstance(label, str) else ""
    return float(bare) if NUMBER.fullmatch(bare) else None


def is_integral(name: str) -> bool:
    """Tell whether a number is an integer, such as 3, -1 or 2.0."""
    return bool(INTEGER.fullmatch(name)) or (number_of(name) or 0.0).is_integer()


def normalised(name: str) -> str:
    """Normalise a number with an integral value, 1.0 to 1; anything else, such as 007, is returned as it is."""
    if INTEGER.fullmatch(name):
        return name if CODE.fullmatch(name) else str(int(name))
    value = number_of(name)
    return str(int(value)) if value is not None and value.is_integer() and abs(value) < 2**53 else name


def find_head(asked: str, names: list[str], rows: list[Row], label_column: str) -> Head:
    """Determine the head from the labels.

    Args:
        asked: A problem type, or `auto`: lists of labels mean multi-label; numbers, of which some have fractions, mean
            regression if they are most of the labels (the others are bad rows); anything else means single label.
        names: The label names in order; empty: those found, sorted (numbers by value).
        rows: Every row of the data set.
        label_column: The name of a regression's value.

    Raises:
        DataError: The labels are of different kinds.
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
    """Tell whether most labels are numbers, and some of these have fractions, which label ids never have."""
    values = [value for row in rows if (value := number_of(row.label)) is not None and math.isfinite(value)]
    return 2 * len(values) > len(rows) and any(not value.is_integer() for value in values)


def found_names(rows: list[Row], *, single: bool) -> list[str]:
    """Collect the label names of the rows, sorted (numbers by value).

    Args:
        rows: Every row.
        single: Whether the user chose single labels; then numbers with fractions are ordinary names.

    Raises:
        DataError: Numbers and words are mixed.
    """
    where: dict[str, str] = {}
    for row in rows:
        for name in [row.label] if isinstance(row.label, str) else row.label:
            where.setdefault(name, row.where)
    numbers = [name for name in where if NUMBER.fullmatch(name)]
    words = sorted(name for name in where if not NUMBER.fullmatch(name))
    fractions = not all(map(is_integral, numbers))
    if words and numbers and not (single and fractions):
        odd = min(words, numbers, key=len)[0]
        raise DataError(
            f"{where[odd]}: label {odd!r:.80}: some labels are numbers and some are words; "
            "expected one kind: correct them, or list the labels with --labels"
        )
    # 1 and 1.0 are the same label.
    numbers = list({name if fractions and normalised(name) not in where else normalised(name) for name in numbers})
    return [*sorted(numbers, key=numeric_order), *words]


def numeric_order(number: str) -> tuple[float, str]:
    """Make the key to sort numbers by value; integers of hundreds of digits have no float."""
    return int(number) if INTEGER.fullmatch(number) else float(number), number


def strata(targets: list[Target], head: Head) -> list[str]:
    """Return the stratum of each row, for a stratified split.

    Single label: its label. Multi-label: its rarest label, so that rare labels are held out, too. Regression: the
    decile of its value.
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
