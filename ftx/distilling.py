"""`ftx.distill`, with the options of the command as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftx.errors import RecipeError
from ftx.tables.lines import exists

if TYPE_CHECKING:
    from ftx.finetune import DistillationReport, Recipe

__all__ = ["distill"]

# What a teacher's recipe sets for its own training; a student's starts from the defaults.
TEACHERS_OWN = ("epochs", "max_steps", "freeze_layers", "best_metric", "early_stopping", "eval_steps", "precision")
# A student has few layers, all of which it must learn to do without the others.
EPOCHS, LEARNING_RATE = 3.0, 1e-4


def distill(
    teacher: str | Path,
    *,
    layers: int | None = None,
    keep: Sequence[int] | None = None,
    ffn_share: float | None = None,
    heads: int | None = None,
    unlabelled: str | Path | None = None,
    unlabelled_column: str | None = None,
    trim_vocab: bool | str | Path | None = None,
    max_loss: float | None = None,
    temperature: float | None = None,
    hard_weight: float | None = None,
    candidate_steps: int | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dataset: str | Path | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    delimiter: str | None = None,
    skip_bad_rows: int | None = None,
    validation: str | Path | None = None,
    train_rows: int | None = None,
    max_length: int | None = None,
    epochs: float | None = None,
    max_steps: int | None = None,
    save_steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    precision: str | None = None,
    seed: int | None = None,
) -> DistillationReport:
    """Distil a classifier into one of fewer or narrower layers, and compare both on held-out text, like `ftx distill`.

    Example:
        >>> report = ftx.distill("runs/reviews", layers=1, candidate_steps=2, max_steps=4, output="runs/student")
        >>> len(report.layers)
        1

    Args:
        teacher: A run folder; or, with `dataset`, a checkpoint folder or a hub id. Values that are not given come from
            the run's recipe.
        layers: How many of the teacher's encoder layers the student has.
        keep: Or which ones, counted from 0; default: the best of several choices, tried on the training text.
        ffn_share: Share of each layer's feed-forward neurons that the student has, the most important ones on training
            text; default: all. With it, or with `heads`, the student may have as many layers as the teacher.
        heads: How many of each layer's attention heads it has, likewise; default: all.
        unlabelled: More text to learn from: a table, a folder of tables, a file with a text on each line, or a hub data
            set, `NAME[:CONFIG][:SPLIT]`; default of the split: unsupervised, else train.
        unlabelled_column: The column of its texts, and of those of `trim_vocab`; default: `text`, else the only one.
        trim_vocab: Whether to drop the tokens that neither the training text nor single characters need, which makes
            the file smaller; or more text, as in `unlabelled`, whose tokens are kept, too; default: no.
        max_loss: Points of accuracy (macro F1 for multi-label, Pearson for regression) that may be lost; default: 1.
        temperature: What both models' logits are divided by before they are compared; default: 2.
        hard_weight: Share of the labels in the loss; the rest is the teacher's; default: 0.1.
        candidate_steps: Steps to try each choice of layers for; 0: take the evenly spread ones; default: 40.
        output: The student's run folder; default: `runs/TEACHER-N-layers`, or `runs/TEACHER-N-layers-narrow`.
        overwrite: Whether an existing run may be replaced.
        resume: Whether to resume an unfinished run.
        dataset: Labelled text: `starter`, a table, a folder of tables, or a hub id.
        text_column: The column of the texts.
        text_pair_column: The column of the second texts, for a model that reads pairs.
        label_column: The column of the labels, or of lists of them.
        label_columns: For multi-label, instead: a 1-or-0 column for each label.
        labels: Names of the teacher's labels in the order of their ids; default: its own.
        delimiter: The delimiter of the cells; empty: detected.
        skip_bad_rows: How many bad rows may be skipped; they are listed in `RUN/bad_rows.jsonl`.
        validation: What is held out, a file; default: what the teacher's run held out, else a tenth of the sentences.
        train_rows: Training rows, sampled at random; 0: all.
        max_length: Tokens to truncate a text to.
        epochs: Passes over the training rows; default: 3.
        max_steps: Steps to stop after; 0: as many as the epochs take.
        save_steps: Steps between checkpoints to resume from; 0: none.
        batch_size: Texts per training step.
        learning_rate: Peak learning rate; default: that of the teacher's run, else 1e-4.
        precision: `auto`, `fp32`, `fp16` or `bf16`.
        seed: Seed of the order of the rows, of dropout, and of a split where nothing else says what is held out.

    Returns:
        The student beside its teacher on held-out text, with a verdict; see `RUN/distillation.json`.

    Raises:
        RecipeError, DataError, ModelError, FetchError, OutputError: See there.
        MissingExtraError: A package of training is not installed.
    """
    from ftx import finetune

    values: dict[str, Any] = {
        "dataset": dataset if dataset is None else str(dataset),
        "text_column": text_column,
        "text_pair_column": text_pair_column,
        "label_column": label_column,
        "label_columns": label_columns if label_columns is None else tuple(label_columns),
        "labels": labels if labels is None else tuple(labels),
        "delimiter": delimiter,
        "skip_bad_rows": skip_bad_rows,
        "validation_file": validation if validation is None else str(validation),
        "train_rows": train_rows,
        "max_length": max_length,
        "epochs": epochs,
        "max_steps": max_steps,
        "save_steps": save_steps,
        "train_batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
        "seed": seed,
    }
    section: dict[str, Any] = {
        "layers": layers,
        "keep": keep if keep is None else tuple(keep),
        "ffn_share": ffn_share,
        "heads": heads,
        "temperature": temperature,
        "hard_weight": hard_weight,
        "candidate_steps": candidate_steps,
        "unlabelled_column": unlabelled_column,
        "unlabelled": unlabelled if unlabelled is None else str(unlabelled),
        "trim_vocab": str(trim_vocab) if isinstance(trim_vocab, Path) else trim_vocab,
        "max_loss": max_loss,
    }
    settings = finetune.Distillation(**{name: value for name, value in section.items() if value is not None})
    overrides = {name: value for name, value in values.items() if value is not None}
    recipe = replace(teacher_recipe(str(teacher), overrides), distill=settings)
    narrow = "-narrow" if settings.narrower else ""
    named = Path("runs") / f"{Path(teacher).name.partition('@')[0]}-{settings.layers}-layers{narrow}"
    return finetune.distill(recipe, output or named, overwrite=overwrite, resume=resume)


def teacher_recipe(teacher: str, overrides: dict[str, Any]) -> Recipe:
    """Make the recipe of a student's training, without its `[distill]` section.

    Raises:
        ModelError: There is no such teacher.
        RecipeError: It is no run, and no data set is named.
    """
    from ftx import finetune
    from ftx.run_folder import find_checkpoint

    if not exists(teacher):
        return finetune.Recipe(model=teacher, **of_a_checkpoint(teacher, overrides))
    checkpoint = find_checkpoint(Path(teacher))
    run = checkpoint.absolute().parent / "recipe.toml"
    if not run.is_file():
        return finetune.Recipe(model=str(checkpoint), **of_a_checkpoint(str(checkpoint), overrides))
    begun = finetune.load_recipe(str(run))
    defaults = {name: getattr(finetune.Recipe(model="-", dataset="-"), name) for name in TEACHERS_OWN}
    own = replace(begun, **defaults, model=str(checkpoint), validation_file="", eval_rows=0, train_rows=0)
    return replace(own, **{"epochs": EPOCHS, **overrides})


def of_a_checkpoint(teacher: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """Give the values of a recipe for a teacher that is no run: what its config says of its head, unless named.

    Raises:
        ModelError: Its config can't be read.
        RecipeError: No data set is named.
    """
    from ftx.finetune.model.hub import read_head

    if "dataset" not in overrides:
        raise RecipeError(f"{teacher} is no run of ftx train: name labelled text to distil it on with --dataset")
    head = read_head(teacher)
    labels = () if head.problem_type == "regression" else tuple(head.labels)
    given = {"labels": labels, "problem_type": head.problem_type, "epochs": EPOCHS, "learning_rate": LEARNING_RATE}
    return {**given, **overrides}
