"""Recipes: every value of a fine-tuning run, read from TOML, overridden by options, and written into the run folder."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta

from ftx.errors import RecipeError
from ftx.finetune.starter import STARTER
from ftx.tables.cells import LONGEST_LABEL, listed
from ftx.tables.lines import exists

__all__ = ["BEST_METRICS", "Recipe", "load_recipe", "recipe_path", "recipes"]

FOLDER = Path(__file__).parent / "recipes"

# Counts pass through 32-bit integers, numpy takes no larger seed, and float32 holds no larger learning rate.
LARGEST_COUNT, LARGEST_SEED = 2**31 - 1, 2**32 - 1
Count = Annotated[int, Meta(ge=0, le=LARGEST_COUNT, description=f"an integer from 0 to {LARGEST_COUNT}")]
FromOne = Annotated[int, Meta(ge=1, le=LARGEST_COUNT, description=f"an integer from 1 to {LARGEST_COUNT}")]
Seed = Annotated[int, Meta(ge=0, le=LARGEST_SEED, description=f"an integer from 0 to {LARGEST_SEED}")]
Rate = Annotated[float, Meta(gt=0, le=1e30, description="a number above 0, up to 1e+30")]
Epochs = Annotated[float, Meta(gt=0, le=1e6, description="a number above 0, up to 1e+06")]
Decay = Annotated[float, Meta(ge=0, le=1000, description="a number from 0 to 1000")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Smoothing = Annotated[float, Meta(ge=0, lt=1, description="a number from 0 to below 1")]
HeldOut = Annotated[float, Meta(gt=0, lt=1, description="a number between 0 and 1")]
Flag = Annotated[bool, Meta(description="true or false")]
String = Annotated[str, Meta(description="a string")]
Name = Annotated[str, Meta(pattern=r"\S", description="a name")]
LabelName = Annotated[str, Meta(pattern=r"\S", max_length=LONGEST_LABEL)]
LabelNames = Annotated[tuple[LabelName, ...], Meta(description=f"a list of names of 1 to {LONGEST_LABEL} characters")]
Delimiter = Annotated[
    str, Meta(pattern=r'\A[^"\r\n\0]?\Z', description="one character, no quote or line break; or empty")
]
ProblemType = Literal["auto", "single_label_classification", "multi_label_classification", "regression"]
PrecisionName = Literal["auto", "fp32", "fp16", "bf16"]
Schedule = Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"]
# Those of all problem types; training checks that the head has the metric.
Metric = Literal["accuracy", "f1_macro", "f1_micro", "mcc", "map", "mae", "rmse", "pearson", "spearman", "loss"]
BEST_METRICS: tuple[str, ...] = get_args(Metric)

# Hub ids or paths. In a file, `./` at the start means the folder of that file.
PATHS = ("model", "dataset", "validation_file")


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

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Recipe, include_extras=True).items():
            value = getattr(self, name)
            try:
                value = msgspec.convert(value.item() if isinstance(value, np.generic) else value, kind)
            except msgspec.ValidationError as error:
                raise RecipeError(f"{name} is {shown(value)}, expected {expected(kind)}") from error
            object.__setattr__(self, name, value)  # a list has become a tuple, an integer a float

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
        return replace(self, **absolute)

    def to_dict(self) -> dict[str, Any]:
        """Return every value, for TOML and JSON."""
        return {**asdict(self), "labels": list(self.labels), "label_columns": list(self.label_columns)}


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
    tables = {kind: values.pop(kind, {}) for kind in ("quick", "starter")}
    for kind, table in tables.items():
        if not isinstance(table, dict):
            raise RecipeError(f"Recipe {name}: {kind} is {shown(table)}, expected values under [{kind}]")
    if quick and not tables["quick"]:
        raise RecipeError(f"Recipe {name} has no [quick] values: try --max-steps, --train-rows and --eval-rows")
    values |= (tables["quick"] if quick else {}) | (tables["starter"] if starter else {})
    known = [field.name for field in fields(Recipe)]
    if unknown := sorted(set(values) - set(known)):
        raise RecipeError(f"Recipe {name} has unknown values {listed(unknown)}; expected {', '.join(known)}")
    if missing := sorted({"model", "dataset"} - set(values)):
        raise RecipeError(f"Recipe {name} lacks {' and '.join(missing)}")
    for key in PATHS:
        if str(values.get(key)).startswith("./"):
            values[key] = str(path.parent / values[key])
    try:
        return Recipe(**values)
    except RecipeError as error:
        raise RecipeError(f"Recipe {name}: {error}") from error


def expected(kind: Any) -> str:
    """Describe the values of a field's type for a message."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(filter(None, get_args(kind)))}"
    return str(kind.__metadata__[0].description)


def shown(value: Any) -> str:
    """Write a value for a message, not more of it than fits on a line."""
    try:
        return f"{value!r:.200}"
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of thousands of digits"
