"""Options that several commands share, among them those of tables, and options that reach a command as one value."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import partial, wraps
from typing import Any

import click
from click.core import ParameterSource

from ftx.cli.parameters import BATCH, CHARACTER, COUNT, FILES, NAMES, PATH, PROVIDER, TEXT, THREADS

__all__ = [
    "DATA_COLUMNS", "against", "as_json", "delimiter", "given", "label_column",
    "label_columns", "onnx", "output", "overwrite", "resume", "settings_options", "skip_bad_rows", "text_column",
    "text_pair_column", "together",
]  # fmt: skip

Option = Callable[[Any], Any]


def one_way(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse labels that are named both as one column and as several."""
    other = {"label_column": "label_columns", "label_columns": "label_column"}[str(parameter.name)]
    if value and context.params.get(other):
        raise click.UsageError(
            "--label-column names one column of labels, --label-columns one for each label: give one of the two"
        )
    return value


onnx = partial(click.option, "--onnx", type=FILES, required=True, help="The .onnx file, or a folder with one.")
against = partial(click.option, "--against", type=FILES)
threads = partial(click.option, "--threads", type=THREADS)
output = partial(click.option, "--output", type=PATH)
overwrite = partial(click.option, "--overwrite", is_flag=True)
resume = partial(click.option, "--resume", is_flag=True)
as_json = partial(click.option, "--json", "as_json", is_flag=True)
choice = partial(click.option, show_default=True)
text_column = partial(click.option, "--text-column", type=TEXT)
text_pair_column = partial(
    click.option, "--text-pair-column", type=TEXT, help="Column of the second texts, for a model that reads pairs."
)
label_column = partial(click.option, "--label-column", type=TEXT, callback=one_way)
label_columns = partial(
    click.option, "--label-columns", type=NAMES, callback=one_way,
    help="For multi-label, instead: a 1-or-0 column for each label, by commas.",
)  # fmt: skip
delimiter = partial(
    click.option, "--delimiter", type=CHARACTER, help="Delimiter of the cells.  [default: a tab in .tsv, else detected]"
)
skip_bad_rows = partial(click.option, "--skip-bad-rows", type=COUNT, default=0, help="Skip up to this many bad rows.")


def given(names: Container[str | None]) -> dict[str, str]:
    """Find which options of the running command the user gave: how each is written, by parameter name."""
    context = click.get_current_context()
    return {
        option.name: option.opts[0]
        for option in context.command.params
        if option.name in names and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    }


def together(argument: str, options: Mapping[str, Option], value: Callable[[dict[str, Any]], Any]) -> Option:
    """Give a command several options, by parameter name, as one argument that is made of their values."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_value(**values: Any) -> None:
            command(**{argument: value({name: values.pop(name) for name in options})}, **values)

        for option in reversed(list(options.values())):
            with_value = option(with_value)
        return with_value

    return decorate


# Of `--data` in export, verify and bench.
DATA_COLUMNS: dict[str, Option] = {
    "text_column": text_column(help="Column of the texts in --data.  [default: text]"),
    "text_pair_column": text_pair_column(),
    "label_column": label_column(help="Column of the labels in --data.  [default: label, if there is one]"),
    "label_columns": label_columns(),
    "delimiter": delimiter(),
}


def make_settings(values: dict[str, Any]) -> Any:
    """Make the settings; imported here, so that `--help` does not wait for numpy."""
    from ftx.runtime import PredictSettings

    return PredictSettings(**values)


# By parameter name, which is the field of `PredictSettings`.
SETTINGS: dict[str, Option] = {
    "intra_op_num_threads": threads("intra_op_num_threads", help="Threads.  [default: the cores this process may use]"),
    "batch_size": choice("--batch-size", type=BATCH, default=32, help="Maximum texts in a batch."),
    "invariant": click.option(
        "--invariant", is_flag=True, help="Make each prediction independent of the other texts in the batch."
    ),
    "long_text": choice(
        "--long-text", type=click.Choice(["truncate", "window"]), default="truncate",
        help="Truncate a text that is longer than the model reads, or read it in windows.",
    ),
    "stride": click.option(
        "--stride", type=COUNT, help="Tokens that neighbouring windows share.  [default: a quarter of one]"
    ),
    "pooling": choice(
        "--pooling", type=click.Choice(["mean", "max"]), default="mean",
        help="How the windows' probabilities are pooled.",
    ),
    "provider": choice(
        "--provider", type=PROVIDER, default="cpu",
        help="Where to run, if its package is installed.",
    ),
    "fallback": click.option(
        "--fallback", type=FILES, help="The export's fp32 file, which answers the texts that int8 or fp16 may change."
    ),
}  # fmt: skip
settings_options = together("settings", SETTINGS, make_settings)
