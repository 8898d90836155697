"""The Hugging Face Trainer as ftx sets it up: dynamic padding, length grouping, progress on stderr."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from tqdm import tqdm

from ftx.finetune.checkpoints import CrashSafeTrainer
from ftx.finetune.metrics import ClassificationMetrics
from ftx.finetune.objective import freeze_layers, loss_function
from ftx.finetune.recipe import Recipe

__all__ = ["build_trainer", "tokenise"]


def tokenise(rows: list[tuple[str, int]], tokenizer: Any, max_length: int) -> Any:
    """Make a data set of token ids and labels; padding waits for the batch.

    Returns:
        A `datasets.Dataset` with what the tokenizer gives, `labels`, `length` (tokens kept) and `token_count` (tokens
        of the whole text).
    """
    rows_set = datasets.Dataset.from_dict({"text": [text for text, _ in rows], "labels": [label for _, label in rows]})

    def encode(batch: dict[str, Any]) -> dict[str, Any]:
        encoded = tokenizer(batch["text"], truncation=True, max_length=max_length)
        special = tokenizer.num_special_tokens_to_add()
        # What was cut off comes along for free, with special tokens of its own.
        whole = [len(one) + sum(len(rest) - special for rest in one.overflowing) for one in encoded.encodings]
        return {**encoded, "length": [len(ids) for ids in encoded["input_ids"]], "token_count": whole}

    datasets.disable_progress_bars()
    return rows_set.map(encode, batched=True, remove_columns=["text"], keep_in_memory=True)


def build_trainer(
    recipe: Recipe,
    *,
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
        model: The model to train, in place.
        tokenizer: Its tokenizer.
        train_set: Tokenised rows to learn from.
        eval_set: Tokenised rows held out.
        precision: fp32, fp16 or bf16.
        scratch: A folder for the Trainer's own files.
        history_file: Gets one JSON line a logged step.
    """
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
        group_by_length=True,
        logging_steps=recipe.logging_steps,
        eval_strategy="steps" if eval_steps else "no",
        eval_steps=eval_steps or None,
        save_strategy="steps" if save_steps else "no",
        save_steps=save_steps or 1,
        load_best_model_at_end=bool(recipe.best_metric),
        metric_for_best_model=recipe.best_metric or None,
        greater_is_better=recipe.best_metric != "loss" if recipe.best_metric else None,
        restore_callback_states_from_checkpoint=True,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=recipe.seed,
        data_seed=recipe.seed,
    )
    metrics = ClassificationMetrics(keep_in_memory=True)

    def compute_metrics(output: Any) -> Any:
        return metrics.compute(predictions=np.argmax(output.predictions, axis=-1), references=output.label_ids)

    freeze_layers(model, recipe.freeze_layers)
    trainer = CrashSafeTrainer(
        model=model,
        compute_loss_func=loss_function(recipe, train_set["labels"], model.config.num_labels),
        args=arguments,
        train_dataset=train_set,
        eval_dataset=eval_set,
        processing_class=tokenizer,
        # Tensor cores want lengths that are multiples of 8.
        data_collator=transformers.DataCollatorWithPadding(
            tokenizer, pad_to_multiple_of=None if precision == "fp32" else 8
        ),
        compute_metrics=compute_metrics,
    )
    # Its own printer writes to stdout, which is for data.
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(Progress(history_file))
    if recipe.early_stopping:
        trainer.add_callback(transformers.EarlyStoppingCallback(recipe.early_stopping))
    return trainer


class Progress(transformers.TrainerCallback):  # type: ignore[misc]
    """A bar on stderr and a line of history a logged step."""

    def __init__(self, history_file: Path) -> None:
        self.history_file = history_file
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        seconds = 0.5 if sys.stderr.isatty() else 15  # a log file needs no film
        self.bar = tqdm(total=state.max_steps, desc="train", unit="step", mininterval=seconds, dynamic_ncols=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write the history line, and show the loss."""
        with self.history_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")
        if self.bar is not None and logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar.close()
