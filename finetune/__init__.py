"""Turn labelled text into a fine-tuned checkpoint."""

from ftx.errors import require

# First, so that a missing package is a clear line and no ImportError.
require("train", "torch", "transformers", "datasets", "evaluate", "accelerate", "sklearn", "matplotlib", "tomli_w")

from ftx.finetune.recipe import Recipe, load_recipe, recipe_path, recipes  # noqa: E402
from ftx.finetune.training import TrainingReport, train  # noqa: E402

__all__ = ["Recipe", "TrainingReport", "load_recipe", "recipe_path", "recipes", "train"]
