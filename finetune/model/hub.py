"""Load models from a folder or the hub, with errors that say what to do. No remote code, no pickled weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftx.errors import FtxError, ModelError
from ftx.finetune.model.head import Head
from ftx.finetune.recipe import Recipe
from ftx.finetune.starter import STARTER, starter_model
from ftx.hub import NO_HUB, split_revision, unloadable
from ftx.lengths import longest_input
from ftx.run_folder import check_tokenizer, check_whole
from ftx.tables.lines import exists

__all__ = ["Pretrained", "load_checkpoint", "load_model", "load_pretrained", "load_tokenizer", "positions", "read_head"]


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A pretrained model under the head to train, and its tokenizer.

    Attributes:
        model: The model.
        tokenizer: Its fast tokenizer.
        head: The head to train.
        thresholds: For multi-label: those that the checkpoint came with, by label; else empty.
    """

    model: Any
    tokenizer: Any
    head: Head
    thresholds: dict[str, float] = field(default_factory=dict)


def load_pretrained(recipe: Recipe, head: Head) -> Pretrained:
    """Load a recipe's model and tokenizer, with the settings that the checkpoint is to carry.

    Raises:
        ModelError: One of them can't be loaded.
    """
    from transformers import set_seed

    tokenizer = load_tokenizer(recipe.model)
    set_seed(recipe.seed)  # for the weights of the new head
    model = load_model(recipe.model, head, trained=recipe.distill is not None)
    model.config.text_pair = bool(recipe.text_pair_column)
    thresholds = vars(model.config).pop("thresholds", None) or {}  # of the head that it came with
    tokenizer.model_max_length = recipe.max_length  # whoever loads the checkpoint truncates texts as training did
    return Pretrained(model=model, tokenizer=tokenizer, head=head, thresholds=thresholds)


def load_tokenizer(model: str) -> Any:
    """Load a model's fast tokenizer.

    Args:
        model: `starter`, a folder, or a hub id, optionally with `@REVISION`.

    Raises:
        ModelError: There is no such model, or it has no fast tokenizer, which the runtime needs.
    """
    from transformers import AutoTokenizer

    try:
        name, revision = resolve(model)
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, use_fast=True)
    except FtxError:
        raise
    except Exception as error:  # a folder without tokenizer files raises a TypeError deep inside transformers
        raise unloadable(f"Model {model!r:.300} can't be loaded: ", error, f"; {advice(model)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"Model {model!r} has no tokenizer.json, which the runtime needs: choose a model with one")
    if tokenizer.pad_token is None:
        raise ModelError(f"Model {model!r} has a tokenizer without a padding token, which batches need: choose another")
    return tokenizer


def load_model(model: str, head: Head, *, trained: bool = False) -> Any:
    """Load pretrained weights under a classification head.

    The checkpoint's own head is kept where its shape fits, and newly initialised where it does not.

    Args:
        model: `starter`, a folder, or a hub id, optionally with `@REVISION`.
        head: The head.
        trained: Whether the checkpoint must have been trained for this head.

    Raises:
        ModelError: There is no such model, it has no model.safetensors, or not the trained head that it must have.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        name, revision = resolve(model)
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            name,
            output_loading_info=True,
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
    except Exception as error:  # a damaged model.safetensors raises SafetensorError, which has no common base
        expected = "expected config.json and model.safetensors (pickled weights are never read)"
        raise unloadable(f"Model {model!r:.300} can't be loaded: ", error, f"; {expected}; {advice(model)}") from error
    if trained:
        check_whole(Path(model), info)
        if info["mismatched_keys"]:
            labels = len(head.labels)
            raise ModelError(
                f"Model {model!r:.300} has another head than one of {labels} labels: name its own --labels"
            )
    return loaded


def load_checkpoint(checkpoint: Path) -> Any:
    """Load a fine-tuned model with its own head.

    Raises:
        ModelError: It can't be loaded.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # a damaged model.safetensors raises SafetensorError, which has no common base
        raise unloadable(f"Checkpoint {checkpoint} can't be loaded: ", error, f"; {advice(str(checkpoint))}") from error
    check_whole(checkpoint, info)
    return model


def read_head(model: str) -> Head:
    """Read which head a checkpoint has from its config, without its weights.

    Args:
        model: A folder, or a hub id, optionally with `@REVISION`.

    Raises:
        ModelError: There is no such model, or its labels have no names.
    """
    from transformers import AutoConfig

    try:
        name, revision = resolve(model)
        config = AutoConfig.from_pretrained(name, revision=revision)
    except FtxError:
        raise
    except Exception as error:
        raise unloadable(f"Model {model!r:.300} can't be loaded: ", error, f"; {advice(model)}") from error
    labels = [str(config.id2label.get(number, "")) for number in range(config.num_labels)]
    if not all(labels) or len(set(labels)) < len(labels):
        raise ModelError(
            f"Model {model!r:.300}: id2label is {labels!r:.200}, expected a name for each label, each once"
        )
    guessed = "regression" if len(labels) == 1 else "single_label_classification"  # as transformers does
    return Head(problem_type=config.problem_type or guessed, labels=labels)


def positions(config: Any) -> int:
    """Return how many tokens a model has positions for, special tokens included."""
    return longest_input(config.model_type, getattr(config, "max_position_embeddings", None), config.pad_token_id)


def advice(model: str) -> str:
    """Say what to do about a model that can't be loaded."""
    if exists(model):
        return "put a complete config.json, model.safetensors and tokenizer.json into that folder"
    return NO_HUB


def resolve(model: str) -> tuple[str, str | None]:
    """Resolve a model to a folder or a hub name, and a revision; `starter` is fetched."""
    if model == STARTER:
        return str(starter_model()), None
    folder, slash, _ = model.partition("/")
    if not exists(model) and (
        model.count("/") > 1 or folder in ("", ".", "..", "~") or (slash and (folder == "runs" or exists(folder)))
    ):
        raise ModelError(
            f"Model {model!r:.300} can't be loaded: there is no such folder; check its path (a hub id is ORG/NAME)"
        )
    if exists(model) and not Path(model).is_dir():
        raise ModelError(
            f"Model {model!r} is a file; expected a folder with config.json, model.safetensors, tokenizer.json"
        )
    if exists(model):
        check_folder(Path(model))
    return split_revision(model)


def check_folder(folder: Path) -> None:
    """Check that a model's folder can be read, and that reading it will end.

    Raises:
        ModelError: It can't be read, it holds a pipe, a socket or a device, or it has no tokenizer that can be used.
    """
    try:
        odd = [path.name for path in folder.iterdir() if path.exists() and not path.is_file() and not path.is_dir()]
    except OSError as error:
        raise ModelError(f"Model {str(folder)!r} can't be read: {error.strerror or error}") from error
    if odd:
        raise ModelError(f"Model {str(folder)!r}: {odd[0]} is a pipe, a socket or a device; expected regular files")
    check_tokenizer(folder)
