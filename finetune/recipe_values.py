"""The types of a recipe's values, with their bounds, and the check of a dataclass of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta

from ftx.errors import RecipeError
from ftx.tables.cells import LONGEST_LABEL

__all__ = [
    "BEST_METRICS", "Count", "Decay", "Delimiter", "Epochs", "Flag", "FlagOrPath", "FromOne", "HeldOut", "LabelNames",
    "Metric", "Name", "Numbers", "Part", "Points", "PrecisionName", "ProblemType", "Rate", "Schedule", "Seed", "Share",
    "Smoothing", "String", "Temperature", "check_values", "shown",
]  # fmt: skip

# Counts pass through 32-bit integers, numpy takes no larger seed, and float32 holds no larger learning rate.
LARGEST_COUNT, LARGEST_SEED = 2**31 - 1, 2**32 - 1
Count = Annotated[int, Meta(ge=0, le=LARGEST_COUNT, description=f"an integer from 0 to {LARGEST_COUNT}")]
FromOne = Annotated[int, Meta(ge=1, le=LARGEST_COUNT, description=f"an integer from 1 to {LARGEST_COUNT}")]
Seed = Annotated[int, Meta(ge=0, le=LARGEST_SEED, description=f"an integer from 0 to {LARGEST_SEED}")]
Rate = Annotated[float, Meta(gt=0, le=1e30, description="a number above 0, up to 1e+30")]
Epochs = Annotated[float, Meta(gt=0, le=1e6, description="a number above 0, up to 1e+06")]
Decay = Annotated[float, Meta(ge=0, le=1000, description="a number from 0 to 1000")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Part = Annotated[float, Meta(gt=0, le=1, description="a number above 0, up to 1")]
Smoothing = Annotated[float, Meta(ge=0, lt=1, description="a number from 0 to below 1")]
HeldOut = Annotated[float, Meta(gt=0, lt=1, description="a number between 0 and 1")]
Temperature = Annotated[float, Meta(ge=0.1, le=100, description="a number from 0.1 to 100")]
Points = Annotated[float, Meta(ge=0, le=100, description="a number from 0 to 100")]
Numbers = Annotated[tuple[Count, ...], Meta(description="a list of integers from 0")]
Flag = Annotated[bool, Meta(description="true or false")]
String = Annotated[str, Meta(description="a string")]
FlagOrPath = Annotated[bool | str, Meta(description="true, false, or a path")]
Name = Annotated[str, Meta(pattern=r"\S", description="a name")]
LabelName = Annotated[str, Meta(pattern=r"\S", max_length=LONGEST_LABEL)]
LabelNames = Annotated[tuple[LabelName, ...], Meta(description=f"a list of names of 1 to {LONGEST_LABEL} characters")]
Delimiter = Annotated[
    str, Meta(pattern=r'\A[^"\r\n\0]?\Z', description="one character, no quote or line break; or empty")
]
ProblemType = Literal["auto", "single_label_classification", "multi_label_classification", "regression"]
PrecisionName = Literal["auto", "fp32", "fp16", "bf16"]
Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"]
# Those of all problem types; training checks that the head has the metric.
Metric = Literal["accuracy", "f1_macro", "f1_micro", "mcc", "map", "mae", "rmse", "pearson", "spearman", "loss"]
BEST_METRICS: tuple[str, ...] = get_args(Metric)


def check_values(owner: Any, section: str = "") -> None:
    """Convert each value of a new frozen dataclass to its field's type: a list becomes a tuple, an integer a float.

    Args:
        owner: Its fields have the types of this module, or others, which are not checked.
        section: What stands before a field's name in messages.

    Raises:
        RecipeError: A value is out of its range, or of another type.
    """
    for name, kind in get_type_hints(type(owner), include_extras=True).items():
        if get_origin(kind) not in (Annotated, Literal):
            continue
        value = getattr(owner, name)
        try:
            value = msgspec.convert(value.item() if isinstance(value, np.generic) else value, kind)
        except msgspec.ValidationError as error:
            raise RecipeError(f"{section}{name} is {shown(value)}, expected {expected(kind)}") from error
        object.__setattr__(owner, name, value)


def expected(kind: Any) -> str:
    """Describe the values of a field's type for a message."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(filter(None, get_args(kind)))}"
    return str(kind.__metadata__[0].description)


def shown(value: Any) -> str:
    """Write a value for a message, not more of it than fits on a line."""
    try:
        return f"{value!r:.200}"
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of thousands of digits"
