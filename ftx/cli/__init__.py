"""The command line: each command a thin wrapper over the library call of the same meaning.

Nothing heavy is imported here: each command imports its room when it runs.
"""

from __future__ import annotations

import json

import click

from ftx import __version__
from ftx.cli.distilling import distill
from ftx.cli.group import ExplainingGroup
from ftx.cli.inspecting import doctor, inspect
from ftx.cli.measuring import bench, evaluate, verify
from ftx.cli.predicting import predict
from ftx.cli.serving import serve
from ftx.cli.training import export, train

__all__ = ["ftx"]


HELP = """Fine-tune BERT text classifiers, export and quantise them, and verify the result against PyTorch.

\b
I have a checkpoint, a folder or a hub id, and text to verify on:
  ftx export CHECKPOINT --data texts.txt
I have a table of labelled text:
  ftx train --dataset reviews.csv --output runs/reviews
  ftx export runs/reviews
I have a model.onnx:
  ftx predict --onnx model.onnx "a text"
"""


def show_version(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """Print the version, as JSON with those of Python and of the packages in use."""
    if not asked or ctx.resilient_parsing:
        return
    if not ctx.params.get("as_json"):
        click.echo(f"ftx, version {__version__}")
    else:
        from ftx.environment import DISTRIBUTION, versions

        packages = {name: version for name, version in versions().items() if version}
        python = packages.pop("python")
        packages.pop(DISTRIBUTION, None)
        click.echo(json.dumps({"name": "ftx", "version": __version__, "python": python, "packages": packages}))
    ctx.exit()


@click.group(
    cls=ExplainingGroup,
    help=HELP,
    epilog="Example: ftx predict --help",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", is_flag=True, expose_value=False, callback=show_version, help="Print the version and exit.")
@click.option("--json", "as_json", is_flag=True, is_eager=True, help="With --version: as JSON.")
def ftx(as_json: bool) -> None:
    """Group the commands; `HELP` is what the user reads."""
    if as_json:
        raise click.UsageError("--json before a command goes with --version only; a command's own follows its name")


for command in (train, distill, evaluate, export, verify, predict, serve, bench, inspect, doctor):
    ftx.add_command(command)
