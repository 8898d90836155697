"""`ftx inspect` and `ftx doctor`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

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
    answer(f"file              {path}, {path.stat().st_size / 2**20:.1f} MiB")
    for field in dataclasses.fields(manifest):
        value = getattr(manifest, field.name)
        if field.name == "probes":
            value = f"{len(value)} golden probes, replayed by ftx verify"
        elif field.name == "quantization":
            value = value.to_dict()
        if isinstance(value, dict) and field.name != "id2label":
            answer(f"{field.name:<17} {'' if value else '-'}".rstrip())
            for name, one in value.items():
                answer(f"  {name:<15} {readable(one, name)}")
        else:
            answer(f"{field.name:<17} {readable(value)}")


def readable(value: Any, name: str = "") -> str:
    """Write a value of JSON on a line for a person."""
    if value is None or value == () or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {readable(one, key)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return (" to " if name.endswith("_interval") else ", ").join(map(readable, value))
    return str(value)


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
            answer(f"  {name:<20} {readable(value)}")
