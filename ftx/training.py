"""`ftx.train`, with the options of the command as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftx.finetune import TrainingReport

__all__ = ["train"]


def train(
    *,
    recipe: str | Path = "starter",
    quick: bool = False,
    output: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    model: str | Path | None = None,
    dataset: str | Path | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    problem_type: str | None = None,
    labels: Sequence[str] | None = None,
    delimiter: str | None = None,
    skip_bad_rows: int | None = None,
    validation: float | str | Path | None = None,
    train_rows: int | None = None,
    eval_rows: int | None = None,
    max_length: int | None = None,
    epochs: float | None = None,
    max_steps: int | None = None,
    save_steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    warmup_ratio: float | None = None,
    schedule: str | None = None,
    class_weights: str | None = None,
    label_smoothing: float | None = None,
    freeze_layers: int | None = None,
    gradient_accumulation_steps: int | None = None,
    gradient_checkpointing: bool | None = None,
    eval_steps: int | None = None,
    best_metric: str | None = None,
    early_stopping: int | None = None,
    torch_compile: bool | None = None,
    precision: str | None = None,
    seed: int | None = None,
) -> TrainingReport:
    """Fine-tune BERT on labelled text, as `ftx train` does.

    Example:
        >>> report = ftx.train(model="my-bert", dataset="reviews.csv", max_length=32, max_steps=4, output="runs/new")
        >>> report.metrics["accuracy"] > 0.3
        True

    Args:
        recipe: The name of a recipe, or a TOML file. It gives the values of the arguments below that are None.
        quick: Whether to use the recipe's values for a quick look.
        output: The run folder; default: `runs/RECIPE`.
        overwrite: Whether an existing run may be replaced.
        resume: Whether to resume an unfinished run.
        model: `starter`, a hub id, `NAME@REVISION`, or a folder.
        dataset: `starter`, a table (CSV, TSV, JSON lines, Parquet), a folder of tables, or a hub id.
        text_column: The column of the texts.
        text_pair_column: The column of the second texts, for a model that reads pairs.
        label_column: The column of the labels, or of lists of them.
        label_columns: For multi-label, instead: a 1-or-0 column for each label.
        problem_type: `auto` (as the data shows), `single_label_classification`, `multi_label_classification` or
            `regression`.
        labels: Names of the labels in the order of their ids.
        delimiter: The delimiter of the cells; empty: detected.
        skip_bad_rows: How many bad rows may be skipped; they are listed in `RUN/bad_rows.jsonl`.
        validation: What is held out: a share of the sentences of each label, or a file.
        train_rows: Training rows, sampled at random; 0: all.
        eval_rows: Held-out rows, sampled at random; 0: all.
        max_length: Tokens to truncate a text to.
        epochs: Passes over the training rows.
        max_steps: Steps to stop after; 0: as many as the epochs take.
        save_steps: Steps between checkpoints to resume from; 0: none.
        batch_size: Texts per training step.
        learning_rate: Peak learning rate.
        weight_decay: Weight decay.
        warmup_ratio: Share of the steps over which the learning rate warms up.
        schedule: How it decays after that: `linear`, `cosine`, `constant`, `constant_with_warmup` or `polynomial`.
        class_weights: `none`, or `balanced`: rare classes weigh as much as frequent ones.
        label_smoothing: Share of a row's target spread over all labels.
        freeze_layers: Encoder layers to freeze, with the embeddings; 0: none.
        gradient_accumulation_steps: Batches per optimiser step.
        gradient_checkpointing: Whether to recompute activations: less memory, more time.
        eval_steps: Steps between evaluations; 0: one at the end.
        best_metric: The metric by which the best checkpoint is kept.
        early_stopping: Evaluations without improvement to stop after; 0: never.
        torch_compile: Whether to compile the model before training.
        precision: `auto`, `fp32`, `fp16` or `bf16`.
        seed: Seed of the split, the new weights and the order of the rows.

    Returns:
        The metrics on the held-out rows, and what training took.

    Raises:
        RecipeError, DataError, ModelError, FetchError, OutputError: See there.
        MissingExtraError: A package of training is not installed.
    """
    from ftx import finetune

    values: dict[str, Any] = {
        "model": model if model is None else str(model),
        "dataset": dataset if dataset is None else str(dataset),
        "text_column": text_column,
        "text_pair_column": text_pair_column,
        "label_column": label_column,
        "label_columns": label_columns if label_columns is None else tuple(label_columns),
        "problem_type": problem_type,
        "labels": labels if labels is None else tuple(labels),
        "delimiter": delimiter,
        "skip_bad_rows": skip_bad_rows,
        "train_rows": train_rows,
        "eval_rows": eval_rows,
        "max_length": max_length,
        "epochs": epochs,
        "max_steps": max_steps,
        "save_steps": save_steps,
        "train_batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_ratio": warmup_ratio,
        "schedule": schedule,
        "class_weights": class_weights,
        "label_smoothing": label_smoothing,
        "freeze_layers": freeze_layers,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "gradient_checkpointing": gradient_checkpointing,
        "eval_steps": eval_steps,
        "best_metric": best_metric,
        "early_stopping": early_stopping,
        "torch_compile": torch_compile,
        "precision": precision,
        "seed": seed,
    }
    overrides = {name: value for name, value in values.items() if value is not None}
    if validation is not None:
        overrides |= share_or_file(str(validation))
    loaded = finetune.load_recipe(str(recipe), quick=quick, starter=values["model"] == "starter").override(overrides)
    return finetune.train(loaded, output or Path("runs") / Path(recipe).stem, overwrite=overwrite, resume=resume)


def share_or_file(validation: str) -> dict[str, Any]:
    """Parse what is held out: a number is a share, anything else a file or folder."""
    try:
        return {"validation": float(validation), "validation_file": ""}
    except ValueError:
        return {"validation_file": validation}
