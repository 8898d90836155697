"""The Hugging Face Trainer as ftx sets it up: dynamic padding, length grouping, progress on stderr."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from scipy.special import expit
from tqdm import tqdm

from ftx.errors import RecipeError
from ftx.finetune.model.head import MULTI_LABEL, Head
from ftx.finetune.model.objective import freeze_layers, loss_function
from ftx.finetune.recipe import Recipe
from ftx.finetune.scoring.metrics import SMALLER_IS_BETTER, check_best_metric, measure_of
from ftx.finetune.scoring.scores import Scores, score
from ftx.finetune.scoring.thresholds import tune_thresholds
from ftx.finetune.trainer.checkpoints import CrashSafeTrainer
from ftx.finetune.trainer.divergence import check_figures, check_logits

__all__ = ["RowScores", "build_trainer", "collated", "forget_earlier_runs", "on_cpu", "score_rows"]


def build_trainer(
    recipe: Recipe,
    *,
    head: Head,
    model: Any,
    tokenizer: Any,
    train_set: Any,
    eval_set: Any,
    precision: str,
    scratch: Path,
    history_file: Path,
) -> Any:
    """Set up the Trainer for a recipe.

    Args:
        recipe: The values of the run.
        head: What the model tells of a text.
        model: The model to train, in place.
        tokenizer: Its tokenizer.
        train_set: Tokenised rows to learn from.
        eval_set: Tokenised rows held out.
        precision: fp32, fp16 or bf16.
        scratch: A folder for the Trainer's own files.
        history_file: Gets one JSON line a logged step.

    Raises:
        RecipeError: The head does not have the metric, weights or smoothing asked for.
    """
    check_best_metric(recipe.best_metric, head)
    forget_earlier_runs()
    # The best checkpoint can only be kept where it is evaluated. Each is saved at the end of a line of history, so that
    # a resumed run writes the same lines as an unbroken one.
    eval_steps = recipe.eval_steps
    if recipe.best_metric:
        eval_steps = math.ceil(eval_steps / recipe.logging_steps) * recipe.logging_steps
    wanted = eval_steps if recipe.best_metric else recipe.save_steps
    save_steps = math.ceil(wanted / recipe.logging_steps) * recipe.logging_steps
    arguments = transformers.TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        per_device_train_batch_size=recipe.train_batch_size,
        per_device_eval_batch_size=recipe.eval_batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_ratio=recipe.warmup_ratio,
        lr_scheduler_type=recipe.schedule,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        gradient_checkpointing=recipe.gradient_checkpointing,
        torch_compile=recipe.torch_compile,
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        use_cpu=on_cpu(),  # else bf16 is refused there
        group_by_length=True,
        logging_steps=recipe.logging_steps,
        logging_nan_inf_filter=precision == "fp16",  # else a NaN is logged as the mean of the losses before it
        eval_strategy="steps" if eval_steps else "no",
        eval_steps=eval_steps or None,
        save_strategy="steps" if save_steps else "no",
        save_steps=save_steps or 1,
        load_best_model_at_end=bool(recipe.best_metric),
        metric_for_best_model=recipe.best_metric or None,
        greater_is_better=recipe.best_metric not in SMALLER_IS_BETTER if recipe.best_metric else None,
        restore_callback_states_from_checkpoint=True,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=recipe.seed,
        data_seed=recipe.seed,
    )
    measure = measure_of(head)

    def measured(output: Any) -> dict[str, float]:
        check_logits(output.predictions, arguments, trainer.state.global_step)
        return measure(output.predictions, output.label_ids)

    freeze_layers(model, recipe.freeze_layers)
    trainer = CrashSafeTrainer(
        model=model,
        compute_loss_func=loss_function(recipe, train_set["labels"], head),
        args=arguments,
        train_dataset=train_set,
        eval_dataset=eval_set,
        processing_class=tokenizer,
        # Tensor cores want lengths that are multiples of 8.
        data_collator=transformers.DataCollatorWithPadding(
            tokenizer, pad_to_multiple_of=None if precision == "fp32" else 8
        ),
        compute_metrics=measured,
    )
    # Its own printer writes to stdout, which is for data.
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.progress = Progress(history_file)
    trainer.add_callback(trainer.progress)
    if recipe.early_stopping:
        trainer.add_callback(transformers.EarlyStoppingCallback(recipe.early_stopping))
    return trainer


def forget_earlier_runs() -> None:
    """Clear what TrainingArguments leave in the environment: a later run of this process would be bf16, or compiled."""
    for name in [name for name in os.environ if name.startswith(("ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_"))]:
        del os.environ[name]


def on_cpu() -> bool:
    """Tell whether there is nothing but the CPU to compute on."""
    return torch.accelerator.current_accelerator() is None


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """How a model does on labelled rows.

    Attributes:
        loss: Mean loss.
        metrics: By the names in `metrics.METRICS`.
        scores: What stands behind them.
        thresholds: For multi-label: the probability from which each label is given.
        logged: The Trainer's own figures, with these metrics, as its history has them.
    """

    loss: float
    metrics: dict[str, float]
    scores: Scores
    thresholds: dict[str, float]
    logged: dict[str, float]


def score_rows(trainer: Any, rows: Any, head: Head, seed: int, *, tune: bool) -> RowScores:
    """Score the Trainer's model on tokenised rows.

    Args:
        trainer: A Hugging Face Trainer.
        rows: A set made by `tokenise`.
        head: The kind of head.
        seed: Of the bootstrap.
        tune: Whether to tune a multi-label model's thresholds on these rows; else those of its config are used.
    """
    found = trainer.predict(rows, metric_key_prefix="eval")
    thresholds = getattr(trainer.model.config, "thresholds", None) or {}
    if tune and head.problem_type == MULTI_LABEL:
        thresholds = tune_thresholds(expit(found.predictions), found.label_ids, head.labels)
    metrics = measure_of(head, thresholds)(found.predictions, found.label_ids)
    return RowScores(
        loss=found.metrics["eval_loss"],
        metrics=metrics,
        scores=score(found.predictions, found.label_ids, head, seed, thresholds),
        thresholds=thresholds,
        logged={**found.metrics, **{f"eval_{name}": value for name, value in metrics.items()}},
    )


def collated(rows: Any, tokenizer: Any, model: Any, batch_size: int, count: int) -> list[Any]:
    """Give so many batches as training would see them, with what the model takes."""
    columns = [name for name in rows.column_names if name in {*tokenizer.model_input_names, "labels"}]
    some = rows.select_columns(columns).select(range(min(len(rows), batch_size * count)))
    collate = transformers.DataCollatorWithPadding(tokenizer)
    starts = range(0, len(some), batch_size)
    return [collate([some[n] for n in range(start, min(start + batch_size, len(some)))]) for start in starts]


class Progress(transformers.TrainerCallback):  # type: ignore[misc]
    """A bar on stderr and a line of history a logged step."""

    def __init__(self, history_file: Path) -> None:
        self.history_file = history_file
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        if not state.is_world_process_zero:
            return
        seconds = 0.5 if sys.stderr.isatty() else 15  # a log file needs no film
        self.bar = tqdm(total=state.max_steps, desc="train", unit="step", mininterval=seconds, dynamic_ncols=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write the history line, and show the loss.

        Raises:
            RecipeError: The training has diverged.
        """
        try:
            check_figures(logs or {}, args, state.global_step)
        except RecipeError:
            if self.bar is not None:
                self.bar.close()
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
        """Close the bar, if it is open: what is said next begins a line of its own."""
        if self.bar is not None:
            self.bar.close()
