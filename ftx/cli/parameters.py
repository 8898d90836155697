"""Parameter types that reject values that no command can use."""

from __future__ import annotations

import math
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ftx.machine import MAX_THREADS

__all__ = [
    "ABOVE_ZERO", "ANY_TEXT", "AT_LEAST_ONE", "BATCH", "BEST_METRIC", "CHARACTER", "CLASS_WEIGHTS", "COUNT", "COUNTS",
    "DATA_SET", "DEVICE", "FILES", "HEAD", "NAMES", "PATH", "PRECISION", "PROBLEM_TYPE", "PROVIDER",
    "QUANTIZE", "SCHEDULE", "SEED", "SHARE", "SHARES", "TARGET", "TEXT", "THREADS", "Choice", "Finite",
]  # fmt: skip

MOST = 2**31 - 1  # the largest int32: onnxruntime, PyTorch and Arrow count with it


class Text(click.ParamType):  # type: ignore[type-arg]
    """A string without NUL, which file names and C libraries don't allow; empty only where that is meaningful.

    If `regular`, it may be a path, but not that of a pipe or a device.
    """

    name = "text"

    def __init__(self, *, empty: bool = False, regular: bool = False) -> None:
        self.empty, self.regular = empty, regular

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a string."""
        check(self, value, param, ctx, empty=self.empty, regular=self.regular)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Have the shell complete file names where the text may be one."""
        return [CompletionItem(incomplete, type="file")] if self.regular else []


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
    """Names separated by commas, as a tuple."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split a string."""
        if isinstance(value, tuple):
            return value
        super().convert(value, param, ctx)
        names = tuple(name.strip() for name in value.split(","))
        if not all(names):
            self.fail(f"{value!r} has an empty name; expected names separated by commas", param, ctx)
        return names


class Numbers(Names):
    """Numbers of a kind, separated by commas, as a tuple."""

    name = "numbers"

    def __init__(self, of: click.IntRange | Finite) -> None:
        super().__init__()
        self.of = of

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split a string."""
        return tuple(self.of.convert(name, param, ctx) for name in super().convert(value, param, ctx))


class AnyPath(click.Path):
    """A path: not an empty one, which Python takes for the current folder; if `regular`, not a pipe or a device."""

    def __init__(self, *, regular: bool = False) -> None:
        super().__init__(path_type=Path)
        self.regular = regular

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path."""
        check(self, value, param, ctx, regular=self.regular)
        return super().convert(value, param, ctx)


class Finite(click.FloatRange):
    """A number between bounds, not infinite nor NaN, for which comparison with a bound is false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class Choice(click.Choice[str]):
    """One of some names, with a hint for what users often write instead."""

    def __init__(self, choices: Sequence[str], hints: Mapping[str, str]) -> None:
        super().__init__(choices)
        self.hints = hints

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Name the choices, and the one that was probably meant."""
        said = super().get_invalid_choice_message(value, ctx)
        hint = self.hints.get(str(value).lower())
        return f"{said.rstrip('.')}: {hint}" if hint else said


def check(
    kind: Any, value: Any, param: click.Parameter | None, ctx: click.Context | None,
    *, empty: bool = False, regular: bool = False,
) -> None:  # fmt: skip
    """Reject an empty string, a NUL, and the path of what is not a regular file."""
    if not str(value) and not empty:
        kind.fail("it is empty: omit it, or give it a value", param, ctx)
    if "\0" in str(value):
        kind.fail("it has a NUL character", param, ctx)
    if regular and is_special(Path(value)):
        kind.fail(f"{str(value)!r} is a pipe or a device; expected a file, or a folder of files", param, ctx)


def is_special(path: Path) -> bool:
    """Tell whether a path is a pipe, a socket or a device, which may block forever, and can be read only once."""
    try:
        mode = path.stat().st_mode
    except OSError:  # the command reports a missing file
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


PATH = AnyPath()
FILES = AnyPath(regular=True)
DATA_SET = Text(regular=True)
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
COUNTS = Numbers(COUNT)
SHARES = Numbers(Finite(0, 1, min_open=True))
ABOVE_ZERO = Finite(0, min_open=True)

# The names are those of the library, which is too heavy to import for --help: a test compares them.
INT8 = "omit --quantize for the fastest int8 that passes, or name a scheme"
QUANTIZE = Choice(
    (
        "auto", "fast", "none", "static", "dynamic", "static-fp32-attention", "static-fp32-embeddings", "blockwise",
        "static-u8u8", "dynamic-per-tensor", "dynamic-per-token", "dynamic-per-batch", "optimum",
    ),
    {
        "int8": INT8, "8bit": INT8, "yes": INT8, "true": INT8, "fp32": "use none", "no": "use none",
        "false": "use none", "fp16": "use --device cuda", "int4": "4-bit weights are not supported",
    },
)  # fmt: skip
TARGET = Choice(
    ("vnni", "arm64", "avx2", "avx512", "any"),
    {
        "avx512_vnni": "use vnni", "aarch64": "use arm64", "arm": "use arm64",
        **dict.fromkeys(("amd64", "x86", "x86_64"), "use avx2, or vnni for a newer CPU"),
    },
)  # fmt: skip
CUDA = "for an NVIDIA GPU use cuda"
DEVICE = Choice(
    ("cpu", "cuda"), {"gpu": CUDA, "nvidia": CUDA, "cuda:0": CUDA, "mps": "an export for Apple CPUs uses cpu"}
)
PROVIDER = Choice(
    ("cpu", "cuda", "openvino", "coreml", "xnnpack"),
    {
        "gpu": CUDA, "nvidia": CUDA, "mps": "for Apple's accelerators use coreml", "intel": "use openvino",
        "cpuexecutionprovider": "use cpu", "cudaexecutionprovider": "use cuda",
    },
)  # fmt: skip
HEADS = ("single_label_classification", "multi_label_classification", "regression")
HEAD_HINTS = {
    **dict.fromkeys(("single", "single_label", "single-label", "binary", "multiclass", "classification"),
                    "use single_label_classification"),
    **dict.fromkeys(("multi", "multi_label", "multi-label", "multilabel"), "use multi_label_classification"),
}  # fmt: skip
HEAD = Choice(HEADS, {**HEAD_HINTS, "auto": "omit it, and config.json decides"})
PROBLEM_TYPE = Choice(("auto", *HEADS), HEAD_HINTS)
SCHEDULE = Choice(
    ("linear", "cosine", "constant", "constant_with_warmup", "polynomial"),
    {"none": "use constant", "poly": "use polynomial"},
)
CLASS_WEIGHTS = Choice(("none", "balanced"), {"auto": "use balanced", "balance": "use balanced"})
F1 = "use f1_macro or f1_micro"
BEST_METRIC = Choice(
    ("accuracy", "f1_macro", "f1_micro", "mcc", "map", "mae", "rmse", "pearson", "spearman", "loss"),
    {"f1": F1, "macro_f1": F1, "acc": "use accuracy", "eval_loss": "use loss", "matthews": "use mcc"},
)
PRECISION = Choice(
    ("auto", "fp32", "fp16", "bf16"),
    {
        "float32": "use fp32", "float16": "use fp16", "half": "use fp16", "bfloat16": "use bf16",
        "int8": "train in another, and quantise with ftx export",
    },
)  # fmt: skip
