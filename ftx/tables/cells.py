"""What the cells of a table may hold: texts, labels, lists of labels. No value is taken as Python would print it."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

from ftx.text import Text, clean

__all__ = ["LONGEST_TEXT", "Number", "is_one", "is_there", "label_of", "listed", "text_of", "texts_of"]

# In training: a million characters take a second and 200 MiB to tokenise; a model reads the first few hundred words.
LONGEST_TEXT = 1_000_000
LONGEST_LABEL = 1_000
LONGEST_LIST = 100_000
NAMES_SHOWN = 20

# One label of a list as JSON or Python writes it, up to its comma. Not ['a' 'b'], as numpy writes two labels: Python
# reads it as one, 'ab'.
ITEM = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[+-]?[\w.]+(?:[+-]\d+)?)\s*(?:,|\Z)""", re.DOTALL)
BARE = re.compile(r"[+-]?[\d.]+(?:[eE][+-]?\d+)?|true|false|True|False", re.ASCII)


class Number(str):
    """A number of JSON as it was written: 1.10 is not 1.1, and ten thousand digits are not parsed. NaN is one, too."""

    __slots__ = ()


def text_of(cell: Any, column: str, longest: int | None = None) -> str:
    """Take a text from a cell; a number is one, as it is written.

    Args:
        cell: What the table holds.
        column: Where it stands, for messages.
        longest: Maximum characters of a text; None: no limit.

    Raises:
        ValueError: It is none; says what was found and expected.
    """
    if not is_there(cell):
        raise ValueError(f"the text is missing; expected a value in column {column!r:.80}")
    if isinstance(cell, Exception):
        raise ValueError(f"the text {broken(cell)}")
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float, Decimal, date, time)):
        raise ValueError(f"the text is {kind_of(cell)}; expected a string in column {column!r:.80}")
    text = clean(str(cell))
    if longest and len(text) > longest:
        raise ValueError(f"the text has {len(text):,} characters; expected {longest:,} at most: cut it into parts")
    return text


def texts_of(cells: Sequence[Any], columns: Sequence[str], longest: int | None = None) -> Text:
    """Take a text from the cell of one column, or a pair of texts from the cells of two.

    Raises:
        ValueError: One is no text; says what was found and expected.
    """
    texts = [text_of(cell, column, longest) for cell, column in zip(cells, columns, strict=True)]
    return (texts[0], texts[1]) if len(texts) == 2 else texts[0]


def label_of(cell: Any, column: str, *, lists: bool) -> str | list[str]:
    """Read a label, or a list of labels.

    Args:
        cell: What the table holds.
        column: Where it stands, for messages.
        lists: Whether text may hold several labels: `a, b`, `a|b` or `["a", "b"]`.

    Raises:
        ValueError: It is none; says what was found and expected.
    """
    if isinstance(cell, str) and not isinstance(cell, Number) and lists:
        return [one_label(name, column) for name in split_list(cell)]
    if isinstance(cell, (list, tuple)):
        if not all(map(is_one, cell)):
            odd = next(one for one in cell if not is_one(one))
            found = kind_of(odd) if is_there(odd) else "an empty place"
            raise ValueError(f"the list of labels holds {found}; expected names or numbers in column {column!r:.80}")
        return [one_label(one, column) for one in cell]
    return one_label(cell, column)


def is_there(cell: Any) -> bool:
    """Tell whether a cell has a value; NaN is none."""
    if isinstance(cell, str):
        return not isinstance(cell, Number) or cell != "NaN"
    return cell is not None and (not isinstance(cell, (float, Decimal, date)) or bool(cell == cell))


def is_one(cell: Any) -> bool:
    """Tell whether a cell holds one value that can be a label's name: no list, no object, no bytes."""
    return is_there(cell) and isinstance(cell, (str, bool, int, float, Decimal, date, time))


def kind_of(cell: Any) -> str:
    """Name the kind of a value that is neither text nor number."""
    kinds = {bytes: "bytes", bool: "true or false", dict: "an object", list: "a list", tuple: "a list"}
    return kinds.get(type(cell), f"a {type(cell).__name__}")


def broken(error: Exception) -> str:
    """Say why a value can't be read."""
    return "is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"can't be read: {error}"


def one_label(cell: Any, column: str) -> str:
    """Write a label as text.

    A whole float becomes an integer: tables turn integers with gaps into floats. true and false are written as in JSON,
    dates as in ISO 8601.
    """
    if not is_there(cell):
        raise ValueError(f"the label is missing; expected a value in column {column!r:.80}")
    if isinstance(cell, Exception):
        raise ValueError(f"the label {broken(cell)}")
    if not is_one(cell):
        expected = f"a name, a number or a list of them in column {column!r:.80}"
        raise ValueError(f"the label is {kind_of(cell)}; expected {expected}")
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    name = clean(str(cell)).strip()
    if not name:
        raise ValueError(f"the label is missing; expected a value in column {column!r:.80}")
    if len(name) > LONGEST_LABEL:
        raise ValueError(
            f"the label has {len(name):,} characters; expected {LONGEST_LABEL:,} at most in column {column!r:.80}"
        )
    return name


def split_list(cell: str) -> list[str]:
    """Split a cell that holds several labels; an empty one holds none."""
    cell = cell.strip()
    if len(cell) > LONGEST_LIST:
        raise ValueError(f"the list of labels has {len(cell):,} characters; expected {LONGEST_LIST:,} at most")
    if not cell.startswith("["):
        return [name.strip() for name in re.split(r"[,;|]", cell) if name.strip()]
    inside, place = cell[1:-1].strip(), 0
    names: list[str | None] = []
    while place < len(inside) and (found := ITEM.match(inside, place)):
        names.append(unquoted(found[1]))
        place = found.end()
    if not cell.endswith("]") or place < len(inside) or None in names:
        raise ValueError(f"label {cell!r:.80} is no list; expected one like ['a', 'b'], or a, b")
    return [name for name in names if name is not None]


def unquoted(item: str) -> str | None:
    """Read a name or number of a written list; None: it is neither."""
    if item[0] not in "\"'":
        return item.lower() if BARE.fullmatch(item) else None
    try:
        if item[0] == '"':
            return str(json.loads(item, strict=False))
    except ValueError:
        pass  # Python has escapes that JSON lacks
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes
            return str(ast.literal_eval(item.replace("\n", "\\n").replace("\r", "\\r")))
    except (ValueError, SyntaxError):
        return None


def listed(names: Iterable[str]) -> str:
    """Write names for a message, no more than fit on a line."""
    every = list(names)
    more = f" and {len(every) - NAMES_SHOWN} more" if len(every) > NAMES_SHOWN else ""
    return (", ".join(f"{name:.60}" for name in every[:NAMES_SHOWN]) or "none") + more
