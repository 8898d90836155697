"""The types of the commands' values, which refuse at the door what no command can use."""

from __future__ import annotations

import math
import stat
from pathlib import Path
from typing import Any

import click

from ftx.machine import MAX_THREADS

__all__ = [
    "ABOVE_ZERO",
    "ANY_TEXT",
    "AT_LEAST_ONE",
    "BATCH",
    "CHARACTER",
    "COUNT",
    "DATA_SET",
    "FILES",
    "NAMES",
    "PATH",
    "SEED",
    "SHARE",
    "TEXT",
    "THREADS",
    "Finite",
]

MOST = 2**31 - 1  # what onnxruntime, PyTorch and Arrow count with


class Text(click.ParamType):  # type: ignore[type-arg]
    """A string without NUL, which no file name and no C library takes; empty only where that means something."""

    name = "text"

    def __init__(self, *, empty: bool = False) -> None:
        self.empty = empty

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a string."""
        check(self, value, param, ctx, empty=self.empty)
        return value


class Character(Text):
    """One character."""

    name = "character"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a string."""
        super().convert(value, param, ctx)
        if len(value) != 1:
            self.fail(f"{value!r} has {len(value)} characters, expected one", param, ctx)
        return value


class Names(Text):
    """Names with commas between them, as a tuple."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split a string."""
        if isinstance(value, tuple):
            return value
        super().convert(value, param, ctx)
        names = tuple(name.strip() for name in value.split(","))
        if not all(names):
            self.fail(f"{value!r} holds an empty name; expected names with commas between them", param, ctx)
        return names


class AnyPath(click.Path):
    """A path: never the empty one, which Python reads as the current folder; where asked, no pipe or device."""

    def __init__(self, *, regular: bool = False) -> None:
        super().__init__(path_type=Path)
        self.regular = regular

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path."""
        check(self, value, param, ctx)
        if self.regular and is_special(Path(value)):
            self.fail(f"{str(value)!r} is a pipe or a device; expected a file, or a folder of files", param, ctx)
        return super().convert(value, param, ctx)


class DataSet(Text):
    """The name of a data set, or the path of one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a name."""
        super().convert(value, param, ctx)
        if is_special(Path(value)):
            self.fail(f"{value!r} is a pipe or a device; expected a file, or a folder of files", param, ctx)
        return value


class Finite(click.FloatRange):
    """A number between bounds, neither infinite nor NaN, which compares with no bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


def check(
    kind: Any, value: Any, param: click.Parameter | None, ctx: click.Context | None, *, empty: bool = False
) -> None:
    """Refuse an empty string and a NUL."""
    if not str(value) and not empty:
        kind.fail("it is empty: leave it out, or give it a value", param, ctx)
    if "\0" in str(value):
        kind.fail("it holds a NUL character", param, ctx)


def is_special(path: Path) -> bool:
    """Tell whether a path is a pipe, a socket or a device: reading one may wait for ever, and works once only."""
    try:
        mode = path.stat().st_mode
    except OSError:  # the command says so, where it is not there
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


PATH = AnyPath()
FILES = AnyPath(regular=True)
DATA_SET = DataSet()
TEXT = Text()
ANY_TEXT = Text(empty=True)
CHARACTER = Character()
NAMES = Names()
COUNT = click.IntRange(0, MOST)
AT_LEAST_ONE = click.IntRange(1, MOST)
BATCH = click.IntRange(1, 2**16)
THREADS = click.IntRange(1, MAX_THREADS)
SEED = click.IntRange(0, 2**32 - 1)
SHARE = Finite(0, 1)
ABOVE_ZERO = Finite(0, min_open=True)
