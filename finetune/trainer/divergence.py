"""Stop a training that has diverged, before any of its results are written."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np

from ftx.errors import RecipeError

__all__ = ["stop_if_diverged"]


def stop_if_diverged(values: dict[str, Any], args: Any, steps: int) -> None:
    """Raise an error where a value is not finite, and remove the Trainer's checkpoints, which would diverge again.

    In fp16 the gradient norm may be infinite: the loss scaler skips such a step and lowers its scale.

    Args:
        values: Loss, gradient norm, metrics (floats) or logits (arrays), by name.
        args: The Trainer's arguments.
        steps: Optimiser steps so far.

    Raises:
        RecipeError: Training has diverged.
    """
    for name, value in values.items():
        if not isinstance(value, (float, np.ndarray)) or (args.fp16 and name == "grad_norm"):
            continue
        odd = np.extract(~np.isfinite(value), value)
        if odd.size:
            if args.should_save:
                shutil.rmtree(args.output_dir, ignore_errors=True)
            what = name.removeprefix("eval_").replace("_", " ")
            raise RecipeError(
                f"Training diverged after {steps} steps: the {what} is {odd[0]}; "
                f"nothing was saved: lower --learning-rate, which is {args.learning_rate:g}"
            )
