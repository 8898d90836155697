"""Find the checkpoint of a run folder, and check its tokenizer's files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ftx.errors import ModelError

__all__ = ["check_tokenizer", "check_whole", "find_checkpoint"]

# What transformers makes a fast tokenizer of where tokenizer.json is missing.
VOCABULARIES = ("vocab.txt", "vocab.json")
SENTENCEPIECE = ("spm.model", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")


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


def check_tokenizer(checkpoint: Path) -> None:
    """Check that a folder has a tokenizer, and what converts it where that is no tokenizer.json.

    Raises:
        ModelError: It has none, or sentencepiece is not installed.
    """
    if any((checkpoint / name).is_file() for name in ("tokenizer.json", *VOCABULARIES)):
        return
    model = next((name for name in SENTENCEPIECE if (checkpoint / name).is_file()), None)
    if model is None:
        known = ", ".join((*VOCABULARIES, *SENTENCEPIECE))
        raise ModelError(f"{checkpoint} has no tokenizer: expected tokenizer.json, or one of {known} to make it of")
    if find_spec("sentencepiece") is None:
        raise ModelError(
            f"{checkpoint} has a tokenizer in {model} alone, which sentencepiece converts to tokenizer.json, and it is "
            "not installed: pip install sentencepiece"
        )


def check_whole(checkpoint: Path, info: Mapping[str, Any]) -> None:
    """Check that a checkpoint had all weights of its model: transformers makes up the missing ones at random.

    Args:
        checkpoint: The folder, for messages.
        info: What `from_pretrained` returns with `output_loading_info`.

    Raises:
        ModelError: Some were missing.
    """
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"{checkpoint} lacks {len(missing)} of its model's weights, {missing[0]} among them, which would be "
            "made up at random: its classifier is not trained, or its config.json is another model's"
        )
