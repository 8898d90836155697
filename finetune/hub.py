"""Load models and data sets by hub id, with errors that say what to do. Never remote code, never pickled weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftx.errors import DataError, ModelError
from ftx.finetune.bad_rows import BadRows
from ftx.finetune.starter import STARTER, starter_model
from ftx.finetune.table import Columns, Row, check_columns, plain

__all__ = ["hub_rows", "load_model", "load_tokenizer"]

NO_HUB = "use --model starter --dataset starter, which need no hub, or name a local folder or file"


def load_tokenizer(model: str) -> Any:
    """Load a model's fast tokenizer.

    Args:
        model: `starter`, a folder, or a hub id.

    Raises:
        ModelError: There is no such model, or it has no fast tokenizer (what the runtime needs).
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve(model), use_fast=True)
    except Exception as error:  # a folder without tokenizer files ends in a TypeError deep inside
        raise ModelError(f"Model {model!r} can't be loaded: {reason(error)}; {advice(model)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"Model {model!r} has no tokenizer.json, which the runtime needs: choose a model with one")
    return tokenizer


def load_model(model: str, labels: list[str], problem_type: str) -> Any:
    """Load pretrained weights under a classification head for these labels.

    A head that the checkpoint brings is kept where its shape fits, and made anew where it does not.

    Raises:
        ModelError: There is no such model, or it has no model.safetensors.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        return AutoModelForSequenceClassification.from_pretrained(
            resolve(model),
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            problem_type=problem_type,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
        )
    except Exception as error:  # a damaged model.safetensors raises SafetensorError, no common base
        raise ModelError(
            f"Model {model!r} can't be loaded: {reason(error)}; expected config.json and model.safetensors "
            f"(pickled weights are never read); {advice(model)}"
        ) from error


def advice(model: str) -> str:
    """Say what to do about a model that can't be loaded."""
    if Path(model).is_dir():
        return "put a whole config.json, model.safetensors and tokenizer.json into that folder"
    return NO_HUB


def resolve(model: str) -> str:
    """Turn `starter` into the folder it is fetched to."""
    if model == STARTER:
        return str(starter_model())
    if Path(model).exists() and not Path(model).is_dir():
        raise ModelError(
            f"Model {model!r} is a file; expected a folder with config.json, model.safetensors, tokenizer.json"
        )
    return model


def hub_rows(dataset: str, columns: Columns, bad_rows: BadRows) -> tuple[list[Row], list[Row]]:
    """Load a hub data set, `NAME` or `NAME:CONFIG`.

    Returns:
        Its train rows and its validation rows (none where it has no such split). Numbered labels come by name.

    Raises:
        DataError: There is no such file and no such data set, or it lacks a column.
    """
    import datasets

    name, _, config = dataset.partition(":")
    try:
        loaded = datasets.load_dataset(name, config or None)
    except Exception as error:  # the hub's, fsspec's and datasets' errors have no common base
        raise DataError(
            f"Data set {dataset!r} is no file or folder here, and no hub data set that can be reached: "
            f"{reason(error)}; {NO_HUB}"
        ) from error
    if "train" not in loaded:
        raise DataError(f"Data set {dataset!r} has no train split, only {', '.join(loaded)}")
    sides: dict[str, list[Row]] = {"train": [], "validation": []}
    for side, rows in sides.items():
        if side not in loaded:
            continue
        features = loaded[side].features
        check_columns(f"Data set {dataset!r}, split {side}", list(features), columns)
        names = getattr(features[columns.label], "names", None)
        for number, record in enumerate(loaded[side], 1):
            where, text, label = f"{dataset} {side} row {number}", record[columns.text], record[columns.label]
            if not isinstance(text, str) or label is None or (names and not 0 <= label < len(names)):
                bad_rows.add(where, f"text {text!r:.40}, label {label!r}; expected a text and a label")
                continue
            rows.append(Row(where=where, text=text, label=names[label] if names else plain(label)))
    return sides["train"], sides["validation"]


def reason(error: Exception) -> str:
    """Cut an exception to its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
