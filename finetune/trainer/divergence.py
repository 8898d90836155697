"""Notice a training that has diverged, before anything of it is written down or called a result."""

from __future__ import annotations

import math
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import RecipeError

__all__ = ["check_figures", "check_logits"]


def check_figures(figures: dict[str, Any], args: Any, steps: int) -> None:
    """Check that what the Trainer logs is finite.

    In fp16 a norm of the gradients may be infinite: the scaler leaves such a step out and lowers its scale.

    Args:
        figures: By name: loss, norm of the gradients, metrics.
        args: The Trainer's arguments.
        steps: Those taken.

    Raises:
        RecipeError: One is not: the weights are lost. The Trainer's own checkpoints go, too: resumed with the same
            values they would diverge again.
    """
    for name, value in figures.items():
        if isinstance(value, float) and not math.isfinite(value) and not (args.fp16 and name == "grad_norm"):
            raise diverged(name.removeprefix("eval_").replace("_", " "), value, args, steps)


def check_logits(logits: NDArray[np.float32], args: Any, steps: int) -> None:
    """Check that every logit is finite. *Shape:* any.

    Raises:
        RecipeError: One is not: the weights are lost, as in `check_figures`.
    """
    odd = logits[~np.isfinite(logits)]
    if odd.size:
        raise diverged("answer on the held-out rows", float(odd[0]), args, steps)


def diverged(what: str, value: float, args: Any, steps: int) -> RecipeError:
    """Clear the Trainer's checkpoints away, and say what happened and what to do."""
    if args.should_save:
        shutil.rmtree(args.output_dir, ignore_errors=True)
    return RecipeError(
        f"Training diverged after {steps} steps: the {what} is {value}; nothing of it is kept: lower --learning-rate, "
        f"which is {args.learning_rate:g}"
    )
