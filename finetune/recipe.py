"""A recipe: every value of a fine-tuning run. Read from TOML, overridden by options, written back into the run."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from ftx.errors import RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["PRECISIONS", "Recipe", "load_recipe", "recipe_names"]

PRECISIONS = ("auto", "fp32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every value of a fine-tuning run.

    Attributes:
        model: `starter`, a hub id, or a folder in Hugging Face layout.
        dataset: `starter`, a file (CSV, TSV, JSON lines, Parquet), a folder of them, or a hub id.
        text_column: The column of the texts.
        label_column: The column of the labels.
        labels: Label names in the order of their numbers; empty: found in the data, sorted.
        validation: Share of the rows held out, where the data set brings no validation split of its own.
        max_length: Tokens a text is cut to, special tokens included.
        epochs: Passes over the training rows.
        max_steps: Optimiser steps after which to stop; 0: as many as the epochs take.
        train_batch_size: Texts a training step, on each device.
        eval_batch_size: Texts an evaluation step, on each device.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup_ratio: Share of the steps over which the learning rate rises to its peak.
        logging_steps: Steps between two lines of history.jsonl.
        precision: One of `PRECISIONS`.
        seed: Of the split, the new weights, the order of the rows and dropout.
    """

    model: str
    dataset: str
    text_column: str = "text"
    label_column: str = "label"
    labels: tuple[str, ...] = ()
    validation: float = 0.1
    max_length: int = 128
    epochs: float = 1.0
    max_steps: int = 0
    train_batch_size: int = 16
    eval_batch_size: int = 64
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    logging_steps: int = 10
    precision: str = "auto"
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("max_length", "train_batch_size", "eval_batch_size", "logging_steps"):
            self._expect(name, "at least 1", getattr(self, name) >= 1)
        for name in ("learning_rate", "epochs"):
            self._expect(name, "above 0", getattr(self, name) > 0)
        for name in ("max_steps", "weight_decay", "seed"):
            self._expect(name, "0 or more", getattr(self, name) >= 0)
        self._expect("validation", "between 0 and 1", 0 < self.validation < 1)
        self._expect("warmup_ratio", "from 0 to 1", 0 <= self.warmup_ratio <= 1)
        self._expect("precision", f"one of {', '.join(PRECISIONS)}", self.precision in PRECISIONS)
        self._expect("labels", "no name twice", len(set(self.labels)) == len(self.labels))
        self._expect("labels", "two names or more", len(self.labels) != 1)

    def _expect(self, name: str, expected: str, holds: bool) -> None:
        if not holds:
            raise RecipeError(f"{name} is {getattr(self, name)!r}, expected {expected}")

    def override(self, values: dict[str, Any]) -> Recipe:
        """Replace the values given; a new data set also drops the label names of the old one."""
        if "dataset" in values and "labels" not in values and values["dataset"] != self.dataset:
            values = {**values, "labels": ()}
        return replace(self, **values)

    def to_dict(self) -> dict[str, Any]:
        """Give every value, for TOML and JSON."""
        return {**asdict(self), "labels": list(self.labels)}


def recipe_names() -> list[str]:
    """List the recipes that ship with ftx."""
    folder = resources.files("ftx.finetune.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Args:
        name: One of `recipe_names()`, or the path of a TOML file, a run's `recipe.toml` among them.

    Raises:
        RecipeError: There is no such recipe, or it holds what it should not.
    """
    if name in recipe_names():
        text = resources.files("ftx.finetune.recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                f"There is no recipe {name!r}: expected {', '.join(recipe_names())}, or a TOML file"
            ) from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"Recipe {name} is not TOML: {error}") from error
    values.pop("versions", None)  # a run's recipe.toml records them
    kinds = {field.name: field.type for field in fields(Recipe)}
    if unknown := sorted(set(values) - set(kinds)):
        raise RecipeError(f"Recipe {name} has unknown values {', '.join(unknown)}; expected {', '.join(kinds)}")
    if lacking := sorted({"model", "dataset"} - set(values)):
        raise RecipeError(f"Recipe {name} lacks {' and '.join(lacking)}")
    return Recipe(**{key: typed(name, key, str(kinds[key]), value) for key, value in values.items()})


def typed(recipe: str, key: str, kind: str, value: Any) -> Any:
    """Check a TOML value against the field's type; an integer may stand for a float."""
    if kind == "float" and type(value) is int:
        return float(value)
    if kind == "tuple[str, ...]" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if type(value).__name__ != kind:
        raise RecipeError(f"Recipe {recipe}: {key} is {value!r}, expected {kind}")
    return value
