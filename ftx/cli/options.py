"""Options that several commands share, and options that reach a command as one value."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from ftx.cli.parameters import BATCH, COUNT, FILES, PATH, THREADS

__all__ = ["against", "as_json", "given", "onnx", "output", "overwrite", "resume", "settings_options", "together"]

Option = Callable[[Any], Any]


def onnx(text: str = "The .onnx file, or a folder with one.", *, required: bool = True) -> Option:
    """Take an ONNX file."""
    return click.option("--onnx", type=FILES, required=required, help=text)


def against(text: str, *, required: bool = False) -> Option:
    """Take the PyTorch model to compare with."""
    return click.option("--against", type=FILES, required=required, help=text)


def threads(text: str, name: str = "threads") -> Option:
    """Take a number of threads."""
    return click.option("--threads", name, type=THREADS, help=f"{text}  [default: the cores this process may use]")


def output(text: str) -> Option:
    """Take the place of the result."""
    return click.option("--output", type=PATH, help=text)


def overwrite(text: str) -> Option:
    """Allow an earlier result to be replaced."""
    return click.option("--overwrite", is_flag=True, help=text)


def resume(text: str) -> Option:
    """Continue what was interrupted."""
    return click.option("--resume", is_flag=True, help=text)


def as_json(text: str) -> Option:
    """Print the result as JSON."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def given(names: Container[str | None]) -> dict[str, str]:
    """Find which options of the running command the user gave: how each is written, by parameter name."""
    context = click.get_current_context()
    return {
        option.name: option.opts[0]
        for option in context.command.params
        if option.name in names and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    }


def together(argument: str, options: Mapping[str, Option], value: Callable[[dict[str, Any]], Any]) -> Option:
    """Give a command several options as one argument.

    Args:
        argument: The argument's name.
        options: The options, by parameter name.
        value: Makes the argument of the options' values.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_value(**values: Any) -> None:
            command(**{argument: value({name: values.pop(name) for name in options})}, **values)

        for option in reversed(list(options.values())):
            with_value = option(with_value)
        return with_value

    return decorate


def make_settings(values: dict[str, Any]) -> Any:
    """Make the settings; imported here, so that `--help` does not wait for numpy."""
    from ftx.runtime import PredictSettings

    return PredictSettings(**values)


SETTINGS: dict[str, Option] = {
    "intra_op_num_threads": threads("Threads.", "intra_op_num_threads"),
    "batch_size": click.option(
        "--batch-size", type=BATCH, default=32, show_default=True, help="Maximum texts in a batch."
    ),
    "invariant": click.option(
        "--invariant", is_flag=True, help="Make each prediction independent of the other texts in the batch."
    ),
    "long_text": click.option(
        "--long-text",
        type=click.Choice(["truncate", "window"]),
        default="truncate",
        show_default=True,
        help="Truncate a text that is longer than the model reads, or read it in windows.",
    ),
    "stride": click.option(
        "--stride", type=COUNT, help="Tokens that neighbouring windows share.  [default: a quarter of one]"
    ),
    "pooling": click.option(
        "--pooling",
        type=click.Choice(["mean", "max"]),
        default="mean",
        show_default=True,
        help="How the windows' probabilities are pooled.",
    ),
    "provider": click.option(
        "--provider",
        type=click.Choice(["cpu", "cuda", "openvino", "coreml", "xnnpack"]),
        default="cpu",
        show_default=True,
        help="Where to run, if its package is installed.",
    ),
}
settings_options = together("settings", SETTINGS, make_settings)
