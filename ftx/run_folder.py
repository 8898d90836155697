"""Find the checkpoint of a run folder."""

from __future__ import annotations

from pathlib import Path

from ftx.errors import ModelError

__all__ = ["find_checkpoint"]


def find_checkpoint(path: Path) -> Path:
    """Resolve a run folder or a checkpoint folder to the checkpoint.

    Raises:
        ModelError: It is neither.
    """
    for folder in (path / "checkpoint", path):
        if (folder / "config.json").is_file():
            return folder
    raise ModelError(
        f"{path} is no run of ftx train and no checkpoint: expected a folder with checkpoint/, or with config.json, "
        "model.safetensors and tokenizer.json"
    )
