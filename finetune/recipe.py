"""Recipes: every value of a fine-tuning run, read from TOML, overridden by options, and written into the run folder."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from ftx.errors import RecipeError
from ftx.finetune.recipe_values import (
    BEST_METRICS,
    Count,
    Decay,
    Delimiter,
    Epochs,
    Flag,
    FlagOrPath,
    FromOne,
    HeldOut,
    LabelNames,
    Metric,
    Name,
    Numbers,
    Part,
    Points,
    PrecisionName,
    ProblemType,
    Rate,
    Schedule,
    Seed,
    Share,
    Smoothing,
    String,
    Temperature,
    check_values,
    shown,
)
from ftx.finetune.starter import STARTER
from ftx.tables.cells import listed
from ftx.tables.lines import exists

__all__ = ["BEST_METRICS", "Distillation", "Recipe", "load_recipe", "recipe_path", "recipes"]

FOLDER = Path(__file__).parent / "recipes"

# Hub ids or paths. In a file, `./` at the start means the folder of that file.
PATHS = ("model", "dataset", "validation_file")


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The `[distill]` section of a recipe: a smaller model learns to answer as the recipe's model does.

    Attributes:
        layers: How many of the teacher's encoder layers the student starts from; 0: those in `keep`.
        keep: Which ones, counted from 0; empty: several choices are tried on the training text.
        ffn_share: Share of each layer's feed-forward neurons that the student has: the most important ones.
        heads: How many of each layer's attention heads it has, likewise; 0: all.
        temperature: What both models' logits are divided by before they are compared.
        hard_weight: Share of the labels in the loss; the rest is the teacher's.
        candidate_steps: Optimiser steps to try each choice of layers for; 0: take the evenly spread ones untried.
        unlabelled: A table, a folder of tables, a file with a text on each line, or a hub data set,
            `NAME[:CONFIG][:SPLIT]` (default: its unsupervised split, else train), to learn from, too; empty: none.
        unlabelled_column: The column of its texts, and of those of `trim_vocab`; empty: `text`, else the only one.
        trim_vocab: Whether to drop the tokens that neither the training text nor single characters need, of a WordPiece
            tokenizer; or text like `unlabelled`, whose tokens are kept, too.
        max_loss: Points of accuracy (macro F1, Pearson) that the student may lose on held-out text.

    Raises:
        RecipeError: A value is out of its range, or does not go with the others.
    """

    layers: Count = 0
    keep: Numbers = ()
    ffn_share: Part = 1.0
    heads: Count = 0
    temperature: Temperature = 2.0
    hard_weight: Share = 0.1
    candidate_steps: Count = 40
    unlabelled: String = ""
    unlabelled_column: String = ""
    trim_vocab: FlagOrPath = False
    max_loss: Points = 1.0

    def __post_init__(self) -> None:
        check_values(self, "distill.")
        if not self.layers and not self.keep:
            raise RecipeError("distill.layers is 0, expected how many layers the student is to have")
        if self.keep != tuple(sorted(set(self.keep))):
            raise RecipeError(f"distill.keep is {shown(self.keep)}, expected layers in ascending order, each once")
        if self.keep and self.layers not in (0, len(self.keep)):
            raise RecipeError(
                f"distill.layers is {self.layers}, but distill.keep has {len(self.keep)} layers: give one"
            )
        if self.unlabelled_column and not self.unlabelled and not isinstance(self.trim_vocab, str):
            raise RecipeError(
                f"distill.unlabelled_column is {shown(self.unlabelled_column)}, expected unlabelled text to read it "
                "from: omit it, or name some in distill.unlabelled or distill.trim_vocab"
            )
        object.__setattr__(self, "layers", len(self.keep) or self.layers)

    @property
    def narrower(self) -> bool:
        """Whether the student's layers are narrower than the teacher's."""
        return self.ffn_share < 1 or self.heads > 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every value of a fine-tuning run.

    Attributes:
        model: `starter`, a hub id (`@REVISION` pins it), or a folder in Hugging Face layout. In a recipe file, `./`
            here and in dataset and validation_file means the folder of that file.
        dataset: `starter`, a file (CSV, TSV, JSON lines, Parquet), a folder of them, or a hub id, `NAME[:CONFIG]`
            (`@REVISION` pins it).
        text_column: The column of the texts.
        text_pair_column: The column of the second texts, for models that judge pairs; empty: none.
        label_column: The column of the labels.
        label_columns: For multi-label, instead of label_column: one column per label, with 1 or 0 in it.
        problem_type: auto: lists of labels and label_columns mean multi-label; numbers with fractions (as most labels;
            the others are bad rows) mean regression; anything else means single label.
        labels: Label names in the order of their ids; empty: found in the data and sorted.
        delimiter: What separates the cells of a .csv, .tsv or .txt file; empty: detected from its header.
        skip_bad_rows: How many unusable rows may be skipped before it is an error.
        validation: Share of the sentences to hold out where there is no validation file or split.
        validation_file: A file or folder with the held-out rows, read like the data set; empty: none.
        train_rows: Rows to train on, sampled at random; 0: all.
        eval_rows: Rows to hold out, sampled at random; 0: all.
        max_length: Tokens to truncate a text to, special tokens included.
        epochs: Passes over the training rows.
        max_steps: Optimiser steps to stop after; 0: as many as the epochs take.
        train_batch_size: Texts per training batch, on each device.
        eval_batch_size: Texts per evaluation batch, on each device.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup_ratio: Share of the steps over which the learning rate rises to its peak.
        schedule: How the learning rate decays after warmup.
        class_weights: balanced: rare classes count as much as frequent ones.
        label_smoothing: Share of a row's weight to spread over all labels.
        freeze_layers: Encoder layers to freeze, counted from the first, together with the embeddings; 0: none.
        gradient_accumulation_steps: Batches per optimiser step.
        gradient_checkpointing: Recompute activations instead of storing them: less memory, more time.
        best_metric: Keep the checkpoint that is best by this metric; empty: the last one.
        early_stopping: Stop after this many evaluations without a better best_metric; 0: never.
        torch_compile: Compile the model before training.
        save_steps: Steps between two checkpoints to resume from, rounded up to a multiple of logging_steps; 0: none.
        eval_steps: Steps between two evaluations; 0: evaluate once, at the end.
        logging_steps: Steps between two lines of history.jsonl.
        precision: Number format of training.
        seed: For the split, the weights of a new head, the order of the rows, and dropout.
        distill: How to distil the model into a smaller one; None: it is fine-tuned.

    Raises:
        RecipeError: A value is out of its range, or does not go with the others.
    """

    model: Name
    dataset: Name
    text_column: Name = "text"
    text_pair_column: String = ""
    label_column: Name = "label"
    label_columns: LabelNames = ()
    problem_type: ProblemType = "auto"
    labels: LabelNames = ()
    delimiter: Delimiter = ""
    skip_bad_rows: Count = 0
    validation: HeldOut = 0.1
    validation_file: String = ""
    train_rows: Count = 0
    eval_rows: Count = 0
    max_length: FromOne = 128
    epochs: Epochs = 1.0
    max_steps: Count = 0
    train_batch_size: FromOne = 16
    eval_batch_size: FromOne = 64
    learning_rate: Rate = 2e-5
    weight_decay: Decay = 0.01
    warmup_ratio: Share = 0.1
    schedule: Schedule = "linear"
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: Smoothing = 0.0
    freeze_layers: Count = 0
    gradient_accumulation_steps: FromOne = 1
    gradient_checkpointing: Flag = False
    best_metric: Literal["", Metric] = ""
    early_stopping: Count = 0
    torch_compile: Flag = False
    save_steps: Count = 500
    eval_steps: Count = 0
    logging_steps: FromOne = 10
    precision: PrecisionName = "auto"
    seed: Seed = 42
    distill: Distillation | None = None

    def __post_init__(self) -> None:
        check_values(self)
        self._expect("eval_steps", "more than 0 with best_metric", self.eval_steps > 0 or not self.best_metric)
        self._expect("best_metric", "a metric for early_stopping", bool(self.best_metric) or not self.early_stopping)
        for name in ("labels", "label_columns"):
            names = getattr(self, name)
            self._expect(name, "no duplicates", len(set(names)) == len(names))
        single = self.problem_type in ("auto", "single_label_classification")
        self._expect("labels", "at least two names", len(self.labels) != 1 or not single or bool(self.label_columns))
        if self.label_columns:
            self._expect("labels", "the same as label_columns", self.labels in ((), self.label_columns))
            multi = self.problem_type in ("auto", "multi_label_classification")
            self._expect("problem_type", "multi_label_classification, as there are label_columns", multi)
        texts = (self.text_column, self.text_pair_column)
        self._expect("text_pair_column", "another column than text_column", texts[0] != texts[1])
        labels = self.label_columns or (self.label_column,)
        name = "label_columns" if self.label_columns else "label_column"
        self._expect(name, "no column of texts", not {*texts} & {*labels})

    def _expect(self, name: str, expected: str, holds: bool) -> None:
        if not holds:
            raise RecipeError(f"{name} is {shown(getattr(self, name))}, expected {expected}")

    def override(self, values: dict[str, Any]) -> Recipe:
        """Replace the given values; a new data set also drops the label names of the old one."""
        if "dataset" in values and "labels" not in values and values["dataset"] != self.dataset:
            values = {**values, "labels": ()}
        return replace(self, **values)

    def anchored(self) -> Recipe:
        """Make paths absolute, so that they mean the same from any folder; hub ids and `starter` stay."""
        paths = {name: getattr(self, name) for name in PATHS}
        there = {name: path for name, path in paths.items() if path not in ("", STARTER) and exists(path)}
        absolute: dict[str, Any] = {name: str(Path(path).absolute()) for name, path in there.items()}
        if self.distill:
            files = {name: getattr(self.distill, name) for name in ("unlabelled", "trim_vocab")}
            local = {name: file for name, file in files.items() if file and isinstance(file, str) and exists(file)}
            named: dict[str, Any] = {name: str(Path(file).absolute()) for name, file in local.items()}
            absolute["distill"] = replace(self.distill, **named)
        return replace(self, **absolute)

    def to_dict(self) -> dict[str, Any]:
        """Return every value, for TOML and JSON; without `distill` where there is none."""
        values = {**asdict(self), "labels": list(self.labels), "label_columns": list(self.label_columns)}
        section = values.pop("distill")
        return values if section is None else {**values, "distill": {**section, "keep": list(section["keep"])}}


def recipes() -> dict[str, str]:
    """Return the purpose of each recipe that ships with ftx, by name."""
    files = sorted(FOLDER.glob("*.toml"))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for file in files}


def recipe_path(name: str) -> Path:
    """Find a recipe's file.

    Args:
        name: One of `recipes()`, or the path of a TOML file, such as a run's `recipe.toml`.

    Raises:
        RecipeError: There is no such recipe.
    """
    path = FOLDER / f"{name}.toml" if name in recipes() else Path(name)
    if not exists(str(path)) or not path.is_file():
        raise RecipeError(f"There is no recipe {name!r}: expected {', '.join(recipes())}, or a TOML file")
    return path


def load_recipe(name: str, *, quick: bool = False, starter: bool = False) -> Recipe:
    """Read a recipe.

    Args:
        name: See `recipe_path`.
        quick: Whether its `[quick]` values replace those above them.
        starter: Whether its `[starter]` values do; they suit the small starter model.

    Raises:
        RecipeError: There is no such recipe, it is not valid, or it has no quick values.
    """
    path = recipe_path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Recipe {name} can't be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise RecipeError(f"Recipe {name} is nested too deeply; expected plain values") from error
    except ValueError as error:  # no TOML, no UTF-8, or an integer of more digits than Python reads
        raise RecipeError(f"Recipe {name} is not TOML: {error!s:.300}") from error
    values.pop("versions", None)  # a run's recipe.toml records them
    tables = {kind: values.pop(kind, {}) for kind in ("quick", "starter", "distill")}
    for kind, table in tables.items():
        if not isinstance(table, dict):
            raise RecipeError(f"Recipe {name}: {kind} is {shown(table)}, expected values under [{kind}]")
    if quick and not tables["quick"]:
        raise RecipeError(f"Recipe {name} has no [quick] values: try --max-steps, --train-rows and --eval-rows")
    values |= (tables["quick"] if quick else {}) | (tables["starter"] if starter else {})
    known = [field.name for field in fields(Recipe) if field.name != "distill"]
    if unknown := sorted(set(values) - set(known)):
        raise RecipeError(f"Recipe {name} has unknown values {listed(unknown)}; expected {', '.join(known)}")
    if missing := sorted({"model", "dataset"} - set(values)):
        raise RecipeError(f"Recipe {name} lacks {' and '.join(missing)}")
    for key in PATHS:
        if str(values.get(key)).startswith("./"):
            values[key] = str(path.parent / values[key])
    try:
        return Recipe(**values, distill=distillation(tables["distill"]))
    except RecipeError as error:
        raise RecipeError(f"Recipe {name}: {error}") from error


def distillation(table: dict[str, Any]) -> Distillation | None:
    """Read the `[distill]` section; empty: None.

    Raises:
        RecipeError: It has an unknown value, or one that is out of its range.
    """
    known = [field.name for field in fields(Distillation)]
    if unknown := sorted(set(table) - set(known)):
        raise RecipeError(f"[distill] has unknown values {listed(unknown)}; expected {', '.join(known)}")
    return Distillation(**table) if table else None
