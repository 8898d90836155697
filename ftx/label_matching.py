"""Match the labels of a table with those of a model: by name, or by number where the model's names are no numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ftx.errors import DataError
from ftx.heldout import HeldOut, Label
from ftx.tables.cells import listed

__all__ = ["match_labels"]

NUMBERED = re.compile(r"(?:LABEL_)?([0-9]{1,9})(?:\.0+)?")


def match_labels(held_out: HeldOut, id2label: Mapping[int, str], problem_type: str | None, where: Path) -> HeldOut:
    """Give held-out labels the model's names.

    All of them must fit in the same way: as the model writes them, in another case, or as columns of the logits (`1`,
    `1.0`, `LABEL_1`), the last only where no name of the model's is a number itself.

    Args:
        held_out: The texts; without labels they are returned as they are.
        id2label: The model's names by column.
        problem_type: The model's head; of regression nothing is matched.
        where: The file, for messages.

    Raises:
        DataError: They fit in none of these ways.
    """
    if held_out.labels is None or problem_type == "regression":
        return held_out
    found = list(dict.fromkeys(name for label in held_out.labels for name in names_of(label)))
    names = list(id2label.values())
    ways: list[tuple[Callable[[str], str], dict[str, str]]] = [
        (str, {name: name for name in names}),
        (str.casefold, {name.casefold(): name for name in names}),
    ]
    if any(name.isdecimal() for name in names):
        ways.append((number, {name: name for name in names}))
    else:
        ways.append((number, {str(column): name for column, name in id2label.items()}))
    for form, known in ways:
        if len(known) == len(names) and all(form(name) in known for name in found):
            labels: list[Label] = []
            for label in held_out.labels:
                matched = [known[form(name)] for name in names_of(label)]
                labels.append(matched if isinstance(label, list) else matched[0])
            return replace(held_out, labels=labels)
    raise DataError(
        f"{where} has the labels {listed(sorted(found))}; the model has {listed(names)}: name the model's columns in "
        "their order with --labels, or the table's column with --label-column"
    )


def number(name: str) -> str:
    """Return the whole number that `1`, `1.0` or `LABEL_1` stands for; anything else as it is."""
    found = NUMBERED.fullmatch(name)
    return str(int(found[1])) if found else name


def names_of(label: Label) -> list[str]:
    """Return the names in a label; whole floats are written as integers."""
    if isinstance(label, list):
        return label
    return [str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)]
