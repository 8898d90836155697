"""The command line: each command a thin wrapper over the library call of the same meaning.

Nothing heavy is imported here: each command imports its room when it runs.
"""

from __future__ import annotations

import click

from ftx import __version__
from ftx.cli.group import ExplainingGroup
from ftx.cli.inspecting import doctor, inspect
from ftx.cli.measuring import bench, evaluate, verify
from ftx.cli.predicting import predict
from ftx.cli.serving import serve
from ftx.cli.training import export, train

__all__ = ["ftx"]


HELP = """Fine-tune BERT text classifiers, export and quantise them, and verify the result against PyTorch.

\b
ftx train                           labelled text -> runs/starter/checkpoint
ftx export runs/starter             checkpoint -> runs/starter/onnx/model_quantized.onnx, verified
ftx predict --onnx model.onnx TEXT  one file, no PyTorch
"""


@click.group(
    cls=ExplainingGroup,
    help=HELP,
    epilog="Example: ftx predict --help",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="ftx")
def ftx() -> None:
    """Group the commands; `HELP` is what the user reads."""


for command in (train, evaluate, export, verify, predict, serve, bench, inspect, doctor):
    ftx.add_command(command)
