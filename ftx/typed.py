"""Check values from untrusted JSON: their type and range, or what is wrong with them."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["boolean", "finite", "listed", "mapping", "number", "read_object", "string", "whole"]

MOST = 2**31 - 1


def read_object(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: It is not one, or nested too deeply.
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError(f"it is {told(values)}, expected a JSON object")
    return values


def whole(value: Any, name: str, *, least: int = 0, most: int = MOST) -> int:
    """Check a whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} is {told(value)}, expected a whole number from {least} to {most}")
    return value


def number(value: Any, name: str, *, least: float = -math.inf, most: float = math.inf) -> float:
    """Check a finite number."""
    try:
        fine = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        fine = False
    if not fine or not least <= value <= most:
        between = (
            "" if math.isinf(least) else f" from {least:g} on" if math.isinf(most) else f" from {least:g} to {most:g}"
        )
        raise ValueError(f"{name} is {told(value)}, expected a number{between}")
    return float(value)


def boolean(value: Any, name: str) -> bool:
    """Check a boolean."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {told(value)}, expected true or false")
    return value


def string(value: Any, name: str) -> str:
    """Check a string."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {told(value)}, expected a string")
    return value


def listed(value: Any, name: str) -> list[Any]:
    """Check a list, or a tuple, which JSON does not have."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} is {told(value)}, expected a list")
    return list(value)


def mapping(value: Any, name: str) -> dict[Any, Any]:
    """Check an object."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {told(value)}, expected an object")
    return value


def finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null, also in lists and objects."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return value


def told(value: Any) -> str:
    """Describe a value in an error message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:60]}..."
