"""A recipe: every value of a fine-tuning run. Read from TOML, overridden by options, written back into the run."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ftx.errors import RecipeError
from ftx.finetune.starter import STARTER
from ftx.tables.cells import LONGEST_LABEL, listed
from ftx.tables.columns import is_delimiter
from ftx.tables.lines import exists

__all__ = [
    "BEST_METRICS",
    "PRECISIONS",
    "PROBLEM_TYPES",
    "SCHEDULES",
    "Recipe",
    "load_recipe",
    "recipe_path",
    "recipes",
]

FOLDER = Path(__file__).parent / "recipes"

PROBLEM_TYPES = ("auto", "single_label_classification", "multi_label_classification", "regression")
PRECISIONS = ("auto", "fp32", "fp16", "bf16")
SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup", "polynomial")
# For one problem type or another; training checks that the head has it.
BEST_METRICS = ("accuracy", "f1_macro", "f1_micro", "mcc", "map", "mae", "rmse", "pearson", "spearman", "loss")

# Counts go through 32-bit integers somewhere, and numpy takes no larger seed.
LARGEST_COUNT, LARGEST_SEED = 2**31 - 1, 2**32 - 1
FROM_ONE = ("max_length", "train_batch_size", "eval_batch_size", "logging_steps", "gradient_accumulation_steps")
FROM_ZERO = (
    "max_steps", "skip_bad_rows", "train_rows", "eval_rows", "eval_steps", "save_steps", "freeze_layers",
    "early_stopping",
)  # fmt: skip
# What float32 still holds; whether a model learns with it, training finds out.
LARGEST_FLOATS = {"learning_rate": 1e30, "epochs": 1e6}
LARGEST_DECAY = 1000
# Hub ids, or paths: `./` at their beginning is beside the recipe's file.
PATHS = ("model", "dataset", "validation_file")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every value of a fine-tuning run.

    Attributes:
        model: `starter`, a hub id (`@REVISION` pins it), or a folder in Hugging Face layout. In a recipe's file `./`
            means beside it, here and in dataset and validation_file.
        dataset: `starter`, a file (CSV, TSV, JSON lines, Parquet), a folder of them, or a hub id, `NAME[:CONFIG]`
            (`@REVISION` pins it).
        text_column: The column of the texts.
        text_pair_column: The column of the second texts, where the model is to judge two together; empty: none.
        label_column: The column of the labels.
        label_columns: For multi-label, in place of label_column: a column a label, with 1 or 0 in it.
        problem_type: One of `PROBLEM_TYPES`. auto: lists of labels and label_columns make multi-label, numbers with
            fractions (most labels, the others are bad rows) regression, all else a single label.
        labels: Label names in the order of their numbers; empty: found in the data, sorted.
        delimiter: What separates the cells of a .csv, .tsv or .txt file; empty: found out from its header.
        skip_bad_rows: Rows that may be unusable without being an error.
        validation: Share of the sentences held out, where there is no validation file or split.
        validation_file: A file or folder with the rows to hold out, read like the data set; empty: none.
        train_rows: Rows to learn from, taken at random; 0: all.
        eval_rows: Rows to hold out, taken at random; 0: all.
        max_length: Tokens a text is cut to, special tokens included.
        epochs: Passes over the training rows.
        max_steps: Optimiser steps after which to stop; 0: as many as the epochs take.
        train_batch_size: Texts a training step, on each device.
        eval_batch_size: Texts an evaluation step, on each device.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        save_steps: Steps between two checkpoints to resume from, rounded up to a multiple of logging_steps; 0: none.
        eval_steps: Steps between two evaluations; 0: one at the end.
        warmup_ratio: Share of the steps over which the learning rate rises to its peak.
        schedule: How it falls again: one of `SCHEDULES`.
        class_weights: `none`, or `balanced`: rare classes count as much as frequent ones.
        label_smoothing: Share of a row's weight that is spread over all labels.
        freeze_layers: Encoder layers, from the first, that keep their weights, with the embeddings; 0: none.
        gradient_accumulation_steps: Batches whose gradients make one step.
        gradient_checkpointing: Compute activations again rather than keep them: less memory, more time.
        best_metric: Keep the checkpoint that is best by one of `BEST_METRICS`; empty: the last one.
        early_stopping: Evaluations without a better best_metric after which to stop; 0: none.
        torch_compile: Compile the model before training.
        logging_steps: Steps between two lines of history.jsonl.
        precision: One of `PRECISIONS`.
        seed: Of the split, the new weights, the order of the rows and dropout.
    """

    model: str
    dataset: str
    text_column: str = "text"
    text_pair_column: str = ""
    label_column: str = "label"
    label_columns: tuple[str, ...] = ()
    problem_type: str = "auto"
    labels: tuple[str, ...] = ()
    delimiter: str = ""
    skip_bad_rows: int = 0
    validation: float = 0.1
    validation_file: str = ""
    train_rows: int = 0
    eval_rows: int = 0
    max_length: int = 128
    epochs: float = 1.0
    max_steps: int = 0
    train_batch_size: int = 16
    eval_batch_size: int = 64
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    schedule: str = "linear"
    class_weights: str = "none"
    label_smoothing: float = 0.0
    freeze_layers: int = 0
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    best_metric: str = ""
    early_stopping: int = 0
    torch_compile: bool = False
    save_steps: int = 500
    eval_steps: int = 0
    logging_steps: int = 10
    precision: str = "auto"
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("model", "dataset", "text_column", "label_column"):
            self._expect(name, "a name", bool(getattr(self, name).strip()))
        for name in FROM_ONE:
            self._expect(name, f"1 to {LARGEST_COUNT}", 1 <= getattr(self, name) <= LARGEST_COUNT)
        for name in FROM_ZERO:
            self._expect(name, f"0 to {LARGEST_COUNT}", 0 <= getattr(self, name) <= LARGEST_COUNT)
        self._expect("seed", f"0 to {LARGEST_SEED}", 0 <= self.seed <= LARGEST_SEED)
        for name, largest in LARGEST_FLOATS.items():
            self._expect(name, f"above 0, up to {largest:g}", 0 < getattr(self, name) <= largest)
        self._expect("weight_decay", f"0 to {LARGEST_DECAY}", 0 <= self.weight_decay <= LARGEST_DECAY)
        self._expect("validation", "between 0 and 1", 0 < self.validation < 1)
        self._expect("delimiter", "one character, no quote or line break", is_delimiter(self.delimiter))
        self._expect("warmup_ratio", "from 0 to 1", 0 <= self.warmup_ratio <= 1)
        self._expect("schedule", f"one of {', '.join(SCHEDULES)}", self.schedule in SCHEDULES)
        self._expect("class_weights", "none or balanced", self.class_weights in ("none", "balanced"))
        self._expect("label_smoothing", "from 0 to below 1", 0 <= self.label_smoothing < 1)
        self._expect("best_metric", f"one of {', '.join(BEST_METRICS)}", self.best_metric in ("", *BEST_METRICS))
        self._expect("eval_steps", "above 0 to find the best metric", self.eval_steps > 0 or not self.best_metric)
        self._expect("best_metric", "one to stop early by", bool(self.best_metric) or not self.early_stopping)
        self._expect("precision", f"one of {', '.join(PRECISIONS)}", self.precision in PRECISIONS)
        self._expect("problem_type", f"one of {', '.join(PROBLEM_TYPES)}", self.problem_type in PROBLEM_TYPES)
        single = self.problem_type in ("auto", "single_label_classification")
        for name in ("labels", "label_columns"):
            names = getattr(self, name)
            self._expect(name, "no name twice", len(set(names)) == len(names))
            fits = all(one.strip() and len(one) <= LONGEST_LABEL for one in names)
            self._expect(name, f"names of 1 to {LONGEST_LABEL} characters", fits)
        self._expect("labels", "two names or more", len(self.labels) != 1 or not single or bool(self.label_columns))
        if self.label_columns:
            self._expect("labels", "the same as label_columns", self.labels in ((), self.label_columns))
            multi = self.problem_type in ("auto", "multi_label_classification")
            self._expect("problem_type", "multi_label_classification, as there are label_columns", multi)

        texts = (self.text_column, self.text_pair_column)
        self._expect("text_pair_column", "another column than text_column", texts[0] != texts[1])
        labels = self.label_columns or (self.label_column,)
        self._expect("label_columns" if self.label_columns else "label_column", "no text's", not {*texts} & {*labels})

    def _expect(self, name: str, expected: str, holds: bool) -> None:
        if not holds:
            raise RecipeError(f"{name} is {shown(getattr(self, name))}, expected {expected}")

    def override(self, values: dict[str, Any]) -> Recipe:
        """Replace the values given; a new data set also drops the label names of the old one."""
        if "dataset" in values and "labels" not in values and values["dataset"] != self.dataset:
            values = {**values, "labels": ()}
        return replace(self, **values)

    def anchored(self) -> Recipe:
        """Give the paths as absolute ones, which mean the same from any folder; hub ids and `starter` stay."""
        paths = {name: getattr(self, name) for name in PATHS}
        there = {name: path for name, path in paths.items() if path not in ("", STARTER) and exists(path)}
        absolute: dict[str, Any] = {name: str(Path(path).absolute()) for name, path in there.items()}
        return replace(self, **absolute)

    def to_dict(self) -> dict[str, Any]:
        """Give every value, for TOML and JSON."""
        return {**asdict(self), "labels": list(self.labels), "label_columns": list(self.label_columns)}


def recipes() -> dict[str, str]:
    """List the recipes that ship with ftx: what each is for, by name."""
    files = sorted(FOLDER.glob("*.toml"))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for file in files}


def recipe_path(name: str) -> Path:
    """Find a recipe's file.

    Args:
        name: One of `recipes()`, or the path of a TOML file, a run's `recipe.toml` among them.

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
        starter: Whether its `[starter]` values do: they suit the starter's small model, where it replaces the recipe's.

    Raises:
        RecipeError: There is no such recipe, it holds what it should not, or it has no quick values.
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
    kinds = {field.name: field.type for field in fields(Recipe)}
    if unknown := sorted(set(values) - set(kinds)):
        raise RecipeError(f"Recipe {name} has unknown values {listed(unknown)}; expected {', '.join(kinds)}")
    if lacking := sorted({"model", "dataset"} - set(values)):
        raise RecipeError(f"Recipe {name} lacks {' and '.join(lacking)}")
    checked = {key: typed(name, key, str(kinds[key]), value) for key, value in values.items()}
    for key in PATHS:
        if checked.get(key, "").startswith("./"):
            checked[key] = str(path.parent / checked[key])
    return Recipe(**checked)


def typed(recipe: str, key: str, kind: str, value: Any) -> Any:
    """Check a TOML value against the field's type; an integer may stand for a float."""
    if kind == "float" and type(value) is int and abs(value) < 2**53:
        return float(value)
    if kind == "tuple[str, ...]" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if type(value).__name__ != kind:
        raise RecipeError(f"Recipe {recipe}: {key} is {shown(value)}, expected {kind}")
    return value


def shown(value: Any) -> str:
    """Write a value for a message, not more of it than fits on a line."""
    try:
        return f"{value!r:.200}"
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of thousands of digits"
