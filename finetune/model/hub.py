"""Load models by hub id, with errors that say what to do. Never remote code, never pickled weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftx.errors import FtxError, ModelError, chain, out_of_memory, write_failed
from ftx.finetune.model.head import Head
from ftx.finetune.starter import STARTER, starter_model
from ftx.lengths import longest_input
from ftx.tables.lines import exists

__all__ = ["NO_HUB", "load_checkpoint", "load_model", "load_tokenizer", "positions", "split_revision", "unloadable"]

NO_HUB = "use --model starter --dataset starter, which need no hub, or name a local folder or file"


def load_tokenizer(model: str) -> Any:
    """Load a model's fast tokenizer.

    Args:
        model: `starter`, a folder, or a hub id, with `@REVISION` where one is meant.

    Raises:
        ModelError: There is no such model, or it has no fast tokenizer (what the runtime needs).
    """
    from transformers import AutoTokenizer

    try:
        name, revision = resolve(model)
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, use_fast=True)
    except FtxError:
        raise
    except Exception as error:  # a folder without tokenizer files ends in a TypeError deep inside
        raise unloadable(f"Model {model!r:.300} can't be loaded: ", error, f"; {advice(model)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"Model {model!r} has no tokenizer.json, which the runtime needs: choose a model with one")
    if tokenizer.pad_token is None:
        raise ModelError(f"Model {model!r} has a tokenizer without a padding token, which batches need: choose another")
    return tokenizer


def load_model(model: str, head: Head) -> Any:
    """Load pretrained weights under a classification head.

    A head that the checkpoint brings is kept where its shape fits, and made anew where it does not.

    Raises:
        ModelError: There is no such model, or it has no model.safetensors.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        name, revision = resolve(model)
        return AutoModelForSequenceClassification.from_pretrained(
            name,
            revision=revision,
            num_labels=len(head.labels),
            id2label=dict(enumerate(head.labels)),
            label2id={label: number for number, label in enumerate(head.labels)},
            problem_type=head.problem_type,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
        )
    except FtxError:
        raise
    except Exception as error:  # a damaged model.safetensors raises SafetensorError, no common base
        expected = "expected config.json and model.safetensors (pickled weights are never read)"
        raise unloadable(f"Model {model!r:.300} can't be loaded: ", error, f"; {expected}; {advice(model)}") from error


def load_checkpoint(checkpoint: Path) -> Any:
    """Load a fine-tuned model with its own head.

    Raises:
        ModelError: It can't be loaded.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        return AutoModelForSequenceClassification.from_pretrained(checkpoint, use_safetensors=True)
    except Exception as error:  # a damaged model.safetensors raises SafetensorError, no common base
        raise unloadable(f"Checkpoint {checkpoint} can't be loaded: ", error, f"; {advice(str(checkpoint))}") from error


def positions(config: Any) -> int:
    """Tell how many tokens a loaded model has positions for, special ones included."""
    return longest_input(config.model_type, getattr(config, "max_position_embeddings", None), config.pad_token_id)


def unloadable(what: str, error: Exception, advised: str) -> FtxError:
    """Say why a model or a data set can't be loaded: too little memory and a full disk are no fault of its own.

    Returns:
        A `ModelError`, with the advice that suits.

    Raises:
        MemoryError: That is what it was.
    """
    if out_of_memory(error):
        raise MemoryError(reason(error)) from error
    if write_failed(error):
        known = (f"{one.strerror} ({one.filename})" for one in chain(error) if isinstance(one, OSError) and one.errno)
        said = next(known, reason(error))
        return ModelError(f"{what}{said}; make room there, or name another cache folder with HF_HOME")
    return ModelError(f"{what}{reason(error)}{advised}")


def advice(model: str) -> str:
    """Say what to do about a model that can't be loaded."""
    if exists(model):
        return "put a whole config.json, model.safetensors and tokenizer.json into that folder"
    return NO_HUB


def resolve(model: str) -> tuple[str, str | None]:
    """Turn `starter` into the folder it is fetched to, and a hub id into its name and revision."""
    if model == STARTER:
        return str(starter_model()), None
    if exists(model) and not Path(model).is_dir():
        raise ModelError(
            f"Model {model!r} is a file; expected a folder with config.json, model.safetensors, tokenizer.json"
        )
    if exists(model):
        check_folder(Path(model))
    return split_revision(model)


def check_folder(folder: Path) -> None:
    """Check that a model's folder can be read, and holds nothing that would never end.

    Raises:
        ModelError: It can't, or it holds a pipe, a socket or a device.
    """
    try:
        odd = [path.name for path in folder.iterdir() if path.exists() and not path.is_file() and not path.is_dir()]
    except OSError as error:
        raise ModelError(f"Model {str(folder)!r} can't be read: {error.strerror or error}") from error
    if odd:
        raise ModelError(f"Model {str(folder)!r}: {odd[0]} is a pipe, a socket or a device; expected plain files")


def split_revision(name: str) -> tuple[str, str | None]:
    """Split `NAME@REVISION`; a folder may have an @ in its name, a hub id has not."""
    if exists(name) or "@" not in name:
        return name, None
    name, _, revision = name.rpartition("@")
    return name, revision


def reason(error: Exception) -> str:
    """Cut an exception to its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
