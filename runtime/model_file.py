"""Find an ONNX file and what it needs: the manifest and tokenizer it carries, or the siblings that Optimum writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftx.errors import OnnxFileError
from ftx.manifest import Manifest, read_manifest

__all__ = ["describe", "find_onnx"]

# A file without ftx.manifest does not say how long its texts may be; BERT's positions end here.
MAX_POSITIONS = 512


def find_onnx(path: str | Path) -> Path:
    """Resolve `--onnx`: a file, or a folder: its `model_quantized.onnx`, else `model_fp16.onnx`, else `model.onnx`.

    Raises:
        OnnxFileError: Neither is there.
    """
    path = Path(path)
    if path.is_dir():
        for name in ("model_quantized.onnx", "model_fp16.onnx", "model.onnx"):
            if (path / name).is_file():
                return path / name
        raise OnnxFileError(f"{path} holds no model_quantized.onnx and no model.onnx; name the .onnx file itself")
    if not path.exists():
        raise OnnxFileError(f"{path} does not exist; expected an .onnx file, or a folder with one")
    return path


def describe(path: Path) -> tuple[Manifest, str]:
    """Read an ONNX file's manifest and tokenizer.json, from the file itself or from the files beside it.

    Raises:
        OnnxFileError: The file is damaged, or has neither a manifest nor siblings.
    """
    carried = read_manifest(path)
    return carried if carried else describe_by_siblings(path)


def describe_by_siblings(path: Path) -> tuple[Manifest, str]:
    """Make a manifest for an ONNX file of another maker from `config.json` and `tokenizer.json` beside it."""
    missing = [name for name in ("config.json", "tokenizer.json") if not (path.parent / name).is_file()]
    if missing:
        raise OnnxFileError(
            f"{path} carries no ftx.manifest and has no {' and no '.join(missing)} beside it: "
            "make it with ftx export, or put those files there"
        )
    config = read_json(path.parent / "config.json")
    tokenizer_config = path.parent / "tokenizer_config.json"
    length = read_json(tokenizer_config).get("model_max_length") if tokenizer_config.is_file() else None
    try:
        id2label = {int(column): str(label) for column, label in config.get("id2label", {}).items()}
        positions = int(config.get("max_position_embeddings", MAX_POSITIONS))
        manifest = Manifest(
            problem_type=config.get("problem_type") or problem_type_by_columns(len(id2label)),
            id2label=id2label,
            max_length=min(int(length), positions) if length else positions,
            input_names=(),
            text_pair=config.get("text_pair"),
            pad_token_id=int(config.get("pad_token_id") or 0),
            thresholds=config.get("thresholds") or {},
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise OnnxFileError(f"{path.parent / 'config.json'} does not describe a text classifier: {error}") from error
    try:
        return manifest, (path.parent / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OnnxFileError(f"{path.parent / 'tokenizer.json'} can't be read: {error}") from error


def problem_type_by_columns(columns: int) -> str:
    """Guess as transformers does where config.json names no problem_type."""
    return "regression" if columns == 1 else "single_label_classification"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OnnxFileError(f"{path} can't be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise OnnxFileError(f"{path} holds a {type(values).__name__}, expected a JSON object")
    return values
