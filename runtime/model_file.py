"""Find an ONNX file with its manifest and tokenizer, from the file itself or from the siblings that Optimum writes."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftx import typed
from ftx.errors import OnnxFileError
from ftx.lengths import longest_input, token_limit
from ftx.manifest import LONGEST, Manifest, carried, read_id2label
from ftx.runtime.instead import what_instead
from ftx.snapshot import Snapshot, read_small, shortened

__all__ = ["ModelFile", "describe", "find_onnx", "open_model"]

# transformers' default if config.json does not say.
DEFAULT_LABELS = 2


@dataclass(frozen=True)
class ModelFile:
    """An open ONNX file, and what it needs.

    Attributes:
        file: The file.
        manifest: The manifest in the file, or made from its siblings.
        tokenizer_json: The text of its tokenizer.json.
        sha256: Digest of the file as `sha256sum` prints it, if it has a manifest; else of the lines that `sha256sum`
            prints for it and the siblings that were read.
    """

    file: Snapshot
    manifest: Manifest
    tokenizer_json: str
    sha256: str


def find_onnx(path: str | Path) -> Path:
    """Resolve `--onnx`: a file, or a folder: its `model_quantized.onnx`, else `model_fp16.onnx`, else `model.onnx`.

    Raises:
        OnnxFileError: There is none.
    """
    if not os.fspath(path):
        raise OnnxFileError("the path of the model is empty; expected an .onnx file, or a folder with one")
    path = Path(path)
    if os.path.isdir(path):  # noqa: PTH112 - Path's own raises if the name is too long, or hidden by permissions
        for name in ("model_quantized.onnx", "model_fp16.onnx", "model.onnx"):
            if os.path.isfile(path / name):  # noqa: PTH113
                return path / name
        hint = what_instead(path) or "name the .onnx file itself"
        raise OnnxFileError(f"{path} holds no model_quantized.onnx and no model.onnx; {hint}")
    try:
        path.stat()
    except FileNotFoundError as error:
        hint = f"; {said}" if (said := what_instead(path)) else ""
        raise OnnxFileError(
            f"{shortened(path)} does not exist; expected an .onnx file, or a folder with one{hint}"
        ) from error
    except (OSError, ValueError):
        pass  # opening it raises a better error
    if path.suffix == ".safetensors":
        raise OnnxFileError(f"{shortened(path)} is no ONNX file; {what_instead(path)}")
    return path


def open_model(path: Path, *, sealed: bool = True) -> ModelFile:
    """Open an ONNX file, and read its manifest and tokenizer.json, from the file itself or from the files beside it.

    Args:
        path: The `.onnx` file.
        sealed: Whether to refuse a file that was changed after it was sealed.

    Raises:
        OnnxFileError: The file can't be read, is damaged, or has neither a manifest nor usable siblings.
    """
    file = Snapshot(path, sealed=sealed)
    try:
        found = carried(file)
        file.metadata.clear()  # frees megabytes of tokenizer.json, which is not needed again
        return ModelFile(file, *found, file.sha256) if found else with_siblings(file)
    except OnnxFileError:
        file.close()
        raise


def describe(path: Path) -> tuple[Manifest, str]:
    """Read an ONNX file's manifest and tokenizer.json; see `open_model`.

    Raises:
        OnnxFileError: See there.
    """
    model = open_model(path)
    model.file.close()
    return model.manifest, model.tokenizer_json


def with_siblings(file: Snapshot) -> ModelFile:
    """Make a manifest for another tool's ONNX file from `config.json` and `tokenizer.json` beside it."""
    folder = file.path.parent
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        raise OnnxFileError(
            f"{file.path} has no ftx.manifest inside and no {' and no '.join(missing)} beside it: "
            "make it with ftx export, or put those files there"
        )
    content = {name: read_small(folder / name) for name in ("config.json", "tokenizer.json")}
    if (folder / "tokenizer_config.json").is_file():
        content["tokenizer_config.json"] = read_small(folder / "tokenizer_config.json")
    config = read_json(folder / "config.json", content["config.json"])
    settings = read_json(folder / "tokenizer_config.json", content.get("tokenizer_config.json", b"{}"))
    try:
        length = token_limit(settings.get("model_max_length"))
    except ValueError as error:
        raise OnnxFileError(f"{folder / 'tokenizer_config.json'} can't be used: {error}") from error
    try:
        manifest = manifest_of(config, length)
    except ValueError as error:
        raise OnnxFileError(f"{folder / 'config.json'} does not describe a text classifier: {error}") from error
    try:
        tokenizer_json = content["tokenizer.json"].decode()
        if settings.get("truncation_side") == "left":
            tokenizer_json = cut_left(tokenizer_json)
    except ValueError as error:
        raise OnnxFileError(f"{folder / 'tokenizer.json'} can't be read: {error}") from error
    digest = hashlib.sha256(f"{file.sha256}  {file.path.name}\n".encode(errors="surrogateescape"))
    for name, data in content.items():
        digest.update(f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode())
    return ModelFile(file, manifest, tokenizer_json, digest.hexdigest())


def manifest_of(config: dict[str, Any], length: int | None) -> Manifest:
    """Make a manifest from a config.json as transformers reads it.

    Args:
        config: Its content.
        length: Maximum tokens of the tokenizer; None: no limit.

    Raises:
        ValueError: It does not describe a text classifier.
    """
    id2label = config.get("id2label")
    if id2label is None:
        columns = config.get("num_labels")
        columns = DEFAULT_LABELS if columns is None else typed.whole(columns, "num_labels", least=1, most=100_000)
        id2label = {str(column): f"LABEL_{column}" for column in range(columns)}
    # Some tools write class numbers as names.
    named = {
        column: str(label) if isinstance(label, int) and not isinstance(label, bool) else label
        for column, label in typed.mapping(id2label, "id2label").items()
    }
    labels = read_id2label(named)
    model_type, positions, pad_token_id = (
        config.get(name) for name in ("model_type", "max_position_embeddings", "pad_token_id")
    )
    if model_type is not None:
        typed.string(model_type, "model_type")
    if positions is not None:
        typed.whole(positions, "max_position_embeddings", least=1, most=LONGEST)
    if pad_token_id is not None:
        typed.whole(pad_token_id, "pad_token_id")
    longest = longest_input(model_type, positions, pad_token_id)
    if pad_token_id is None:  # the architecture's default; position ids that are offset by it start after it
        pad_token_id = max(0, longest_input(None, positions, None) - longest - 1)
    return Manifest(
        # transformers' default if config.json names none.
        problem_type=config.get("problem_type")
        or ("regression" if len(labels) == 1 else "single_label_classification"),
        id2label=labels,
        max_length=longest if length is None else min(length, longest),
        input_names=(),
        text_pair=config.get("text_pair"),
        pad_token_id=pad_token_id,
        thresholds={} if config.get("thresholds") is None else config["thresholds"],
    )


def cut_left(tokenizer_json: str) -> str:
    """Set a tokenizer.json to truncate long texts on the left, as tokenizer_config.json says."""
    values = typed.read_object(tokenizer_json)
    values["truncation"] = {"direction": "Left", "max_length": LONGEST, "strategy": "LongestFirst", "stride": 0}
    return json.dumps(values)


def read_json(path: Path, content: bytes) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        return typed.read_object(content)
    except ValueError as error:
        raise OnnxFileError(f"{path} can't be read as JSON: {error!s:.200}") from error
