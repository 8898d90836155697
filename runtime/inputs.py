"""Check texts and settings at the door: nothing is guessed, and nothing else than what was meant is predicted."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Set
from typing import Any

from ftx.text import Text

__all__ = ["SWITCH", "check_choice", "checked_texts", "whole_number"]

SWITCH = (True, False)


def checked_texts(texts: Iterable[Text], text_pair: bool | None) -> list[Text]:
    """Read texts, or pairs of them, from a list, a tuple, an iterator, an array or a column of a table.

    Args:
        texts: What the caller gave.
        text_pair: Whether the model reads pairs of texts; None if unknown: then all must be of one kind.

    Raises:
        TypeError: It is not a sequence of texts, or one of them is not a text.
    """
    if isinstance(texts, str):
        raise TypeError("expected a sequence of texts, got one string: write predictor([text])")
    if isinstance(texts, (bytes, bytearray, memoryview, Mapping, Set)):
        raise TypeError(f"expected a sequence of texts, got a {type(texts).__name__}: write predictor([text, ...])")
    if hasattr(texts, "columns"):  # of pandas, Polars, Arrow: iterating yields columns, or their names
        raise TypeError(f"expected a sequence of texts, got a {type(texts).__name__}: write predictor(table['text'])")
    try:
        given = list(texts)
    except TypeError as error:
        raise TypeError(f"expected a sequence of texts, got a {type(texts).__name__}") from error
    pairs = text_pair
    for place, text in enumerate(given):
        is_pair = isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)
        if not is_pair and not isinstance(text, str):
            raise TypeError(
                f"texts[{place}] is {text!r:.60} ({type(text).__name__}), expected strings, or tuples of two"
            )
        if pairs is None:
            pairs = is_pair
        if is_pair != pairs:
            expected = "pairs of texts, as tuples" if pairs else "one text at a time, as strings"
            why = "this model was trained on them" if text_pair is not None else "texts[0] is of that kind"
            raise TypeError(f"texts[{place}] is {text!r:.60}, expected {expected}: {why}")
    # NumPy's strings are a subclass of str.
    return [plain(text) if isinstance(text, str) else (plain(text[0]), plain(text[1])) for text in given]


def plain(text: str) -> str:
    """Convert an instance of a subclass of str to a plain string."""
    return text if type(text) is str else "".join(text)


def whole_number(value: Any, name: str, *, least: int) -> int:
    """Check a whole number, of Python or NumPy.

    Raises:
        ValueError: It is not a whole number, or too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name} {value!r:.60}, expected a whole number, at least {least}")
    return number


def check_choice(value: Any, name: str, known: tuple[Any, ...]) -> None:
    """Check that a value is one of those known, and of their type: 1 is not True.

    Raises:
        ValueError: It is not.
    """
    if not (isinstance(value, type(known[0])) and value in known):
        raise ValueError(f"{name} {value!r:.60}, expected one of {', '.join(map(str, known))}")
