"""Turn labelled text into a fine-tuned checkpoint."""

from ftx.errors import require

# Before the imports, so that a missing package is a one-line error and no ImportError.
require(
    "train", "torch", "transformers", "datasets", "evaluate", "accelerate", "sklearn", "matplotlib", "msgspec",
    "tomli_w",
)  # fmt: skip

from ftx.finetune.evaluation import Evaluation, evaluate  # noqa: E402
from ftx.finetune.recipe import Recipe, load_recipe, recipe_path, recipes  # noqa: E402
from ftx.finetune.trainer.processes import is_first_process  # noqa: E402
from ftx.finetune.training import TrainingReport, train  # noqa: E402

__all__ = [
    "Evaluation",
    "Recipe",
    "TrainingReport",
    "evaluate",
    "is_first_process",
    "load_recipe",
    "recipe_path",
    "recipes",
    "train",
]
