"""Say what a path that holds no ONNX file is instead, and what was probably meant."""

from __future__ import annotations

import os
from pathlib import Path

from ftx.hub_ids import is_model_id

__all__ = ["what_instead"]

ONNX = ".onnx"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def what_instead(path: Path) -> str:
    """Say what a path is, if it is a run, a checkpoint, weights or a hub id, and what to do; empty: none of these."""
    for run in (path, path.parent, path.parent.parent):
        if holds(run / "checkpoint", "config.json"):
            return of_run(run)
    if holds(path, "config.json") and any(name.endswith(WEIGHTS) for name in names(path)):
        return f"it is a checkpoint: make its ONNX file with ftx export {path} --data TEXTS"
    if any(name.endswith(ONNX) for name in names(path / "onnx")):
        return f"it has a folder onnx: give {path / 'onnx'}"
    if found := sorted(name for name in names(path) if name.endswith(ONNX)):
        return f"name the file: {path / found[0]}" + (f", or one of {len(found) - 1} others" if found[1:] else "")
    if path.suffix in WEIGHTS and os.path.isfile(path):  # noqa: PTH113 - Path's own raises, see `find_onnx`
        return f"it is a file of PyTorch weights: make an ONNX file with ftx export {path.parent} --data TEXTS"
    if not os.path.lexists(path) and is_model_id(str(path)) and path.suffix != ONNX:
        return f"if it is a model of the hub, make its ONNX file with ftx export {path} --data TEXTS"
    return ""


def of_run(run: Path) -> str:
    """Say where a run's ONNX file is, or how to make it."""
    if any(name.endswith(ONNX) for name in names(run / "onnx")):
        return f"{run} is a run of ftx train, and its ONNX files are in {run / 'onnx'}: give that"
    return f"{run} is a run of ftx train that has no ONNX file yet: make it with ftx export {run}"


def holds(folder: Path, name: str) -> bool:
    """Tell whether a folder holds a file."""
    return os.path.isfile(folder / name)  # noqa: PTH113


def names(folder: Path) -> list[str]:
    """List a folder; nothing where it can't be read."""
    try:
        return os.listdir(folder)  # noqa: PTH208
    except (OSError, ValueError):
        return []
