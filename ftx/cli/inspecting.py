"""`ftx inspect` and `ftx doctor`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from ftx.cli.answering import answer, check_stdout
from ftx.cli.options import as_json, onnx

__all__ = ["doctor", "inspect"]


@click.command(epilog="Example: ftx inspect --onnx model.onnx")
@onnx()
@as_json(help="Print the whole manifest as JSON.")
def inspect(onnx: Path, as_json: bool) -> None:
    """Print an ONNX file's manifest: labels, limits, quantisation, measured parity."""
    check_stdout()
    from ftx.runtime.model_file import describe, find_onnx

    path = find_onnx(onnx)
    manifest, _ = describe(path)
    if as_json:
        answer(manifest.to_json())
        return
    answer(f"file            {path}, {path.stat().st_size / 2**20:.1f} MiB")
    for field in dataclasses.fields(manifest):
        value = getattr(manifest, field.name)
        if field.name == "quantization":
            value = json.dumps(value.to_dict(), ensure_ascii=False)
        elif field.name == "probes":
            value = f"{len(value)} golden probes, replayed by ftx verify"
        elif field.name == "id2label":
            value = ", ".join(f"{number} {label}" for number, label in value.items())
        elif isinstance(value, tuple):
            value = ", ".join(value)
        elif isinstance(value, dict):
            value = json.dumps(value, ensure_ascii=False) if value else "-"
        answer(f"{field.name:<15} {value}")


@click.command(epilog="Example: ftx doctor --json")
@as_json(help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Print what this machine and this installation support."""
    check_stdout()
    from ftx.doctor import diagnose

    report = diagnose()
    if as_json:
        answer(json.dumps(report))
        return
    for topic, facts in report.items():
        answer(topic)
        for name, value in facts.items():
            said = {True: "yes", False: "no", None: "-"}[value] if value is None or isinstance(value, bool) else value
            answer(f"  {name:<20} {', '.join(said) if isinstance(said, list) else said}")
