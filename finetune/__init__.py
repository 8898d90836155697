"""Turn labelled text into a fine-tuned checkpoint."""

from ftx.finetune.recipe import Recipe, load_recipe, recipe_names
from ftx.finetune.training import TrainingReport, train

__all__ = ["Recipe", "TrainingReport", "load_recipe", "recipe_names", "train"]
