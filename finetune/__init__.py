"""Turn labelled text into a fine-tuned checkpoint."""

import importlib
from typing import TYPE_CHECKING, Any

from ftx.errors import require
from ftx.finetune.evaluation import Evaluation, evaluate

if TYPE_CHECKING:
    from ftx.finetune.distillation.verdict import DistillationReport
    from ftx.finetune.recipe import Distillation, Recipe, load_recipe, recipe_path, recipes
    from ftx.finetune.trainer.processes import is_first_process
    from ftx.finetune.training import TrainingReport, distill, train

__all__ = [
    "Distillation",
    "DistillationReport",
    "Evaluation",
    "Recipe",
    "TrainingReport",
    "distill",
    "evaluate",
    "is_first_process",
    "load_recipe",
    "recipe_path",
    "recipes",
    "train",
]

PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "evaluate",
    "accelerate",
    "sklearn",
    "matplotlib",
    "tomli_w",
    "msgspec",
)
MODULES = {
    "DistillationReport": "distillation.verdict",
    **dict.fromkeys(("Distillation", "Recipe", "load_recipe", "recipe_path", "recipes"), "recipe"),
    "is_first_process": "trainer.processes",
    **dict.fromkeys(("TrainingReport", "distill", "train"), "training"),
}


def __getattr__(name: str) -> Any:
    # Imported on first use: evaluating an ONNX file needs no PyTorch.
    if name not in MODULES:
        raise AttributeError(f"module 'ftx.finetune' has no attribute {name!r}")
    require("train", *PACKAGES)  # so that a missing package is a clear line and no ImportError
    return getattr(importlib.import_module(f"ftx.finetune.{MODULES[name]}"), name)
