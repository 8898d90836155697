"""Log training: a progress bar on stderr, and one line of history.jsonl per logged step."""

from __future__ import annotations

import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

import transformers
from tqdm import tqdm

from ftx.errors import RecipeError
from ftx.finetune.trainer.divergence import stop_if_diverged

__all__ = ["Progress"]


log = logging.getLogger(__name__)


class Progress(transformers.TrainerCallback):  # type: ignore[misc]
    """A progress bar and a history."""

    def __init__(self, history_file: Path) -> None:
        self.history_file = history_file
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar, where notes are wanted."""
        if not state.is_world_process_zero or not log.isEnabledFor(logging.INFO):
            return
        seconds = 0.5 if sys.stderr.isatty() else 15  # a log file keeps every update
        self.bar = tqdm(total=state.max_steps, desc="train", unit="step", mininterval=seconds, dynamic_ncols=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write a line of history, and show the loss.

        Raises:
            RecipeError: Training has diverged.
        """
        try:
            stop_if_diverged(logs or {}, args, state.global_step)
        except RecipeError:
            self.close()
            raise
        if not state.is_world_process_zero:
            return
        with self.history_file.open("a", encoding="utf-8") as file:
            values = {name: value if math.isfinite(value) else None for name, value in (logs or {}).items()}
            file.write(json.dumps({"step": state.global_step, **values}, allow_nan=False) + "\n")
        if self.bar is not None and logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, if it is open, so that the next message starts on a line of its own."""
        if self.bar is not None:
            self.bar.close()
