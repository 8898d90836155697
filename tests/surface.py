"""Write down the public surface: `.venv/bin/python -m tests.surface` writes it into tests/surface.txt."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import ftx
from ftx.cli import ftx as command_line

FILE = Path(__file__).with_suffix(".txt")


def surface() -> str:
    """List names and signatures, commands and options, and the fields of what is printed as JSON, a line each."""
    return "\n".join([*names(), *commands(), *fields()]) + "\n"


def names() -> Iterator[str]:
    yield "# Public names of `ftx`, with their arguments"
    for name in sorted(set(ftx.__all__) - {"__version__"}):
        found: Any = getattr(ftx, name)
        found = getattr(found, name) if inspect.ismodule(found) else found
        if isinstance(found, type) and issubclass(found, Exception):
            yield f"ftx.{name}"
        else:
            arguments = inspect.signature(found).replace(return_annotation=inspect.Signature.empty)
            yield f"ftx.{name}{arguments}".replace("'", "")


def commands() -> Iterator[str]:
    yield "\n# Commands and their options"
    for name, command in (("", command_line), *command_line.commands.items()):
        for option in command.params:
            known = option.to_info_dict()
            kind = f" {{{','.join(option.type.choices)}}}" if isinstance(option.type, click.Choice) else ""
            kind = kind or ("" if getattr(option, "is_flag", False) else f" {option.type.name}")
            said = "".join(f" {word}" for word in ("required", "multiple") if known.get(word))
            default = known["default"]
            said += f" = {default}" if default not in (None, ()) and default is not False else ""
            spelled = "/".join([*option.opts, *option.secondary_opts])
            yield f"ftx {name} {spelled}{kind}{said}".replace("  ", " ")


def fields() -> Iterator[str]:
    from ftx.bench import BenchReport
    from ftx.export import ExportReport
    from ftx.finetune import DistillationReport, Evaluation, TrainingReport
    from ftx.manifest import Manifest

    yield "\n# Fields of results and of the manifest"
    for one in (ftx.Prediction, TrainingReport, DistillationReport, Evaluation, ExportReport, BenchReport, Manifest):
        yield f"{one.__name__}: {', '.join(field.name for field in dataclasses.fields(one))}"


if __name__ == "__main__":
    FILE.write_text(surface(), encoding="utf-8")
