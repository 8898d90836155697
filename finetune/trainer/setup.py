"""Set up the Hugging Face Trainer: dynamic padding, batches of similar length, progress on stderr."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
import transformers

from ftx.finetune.model.hub import Pretrained
from ftx.finetune.model.objective import Loss, freeze_layers, loss_function
from ftx.finetune.model.precision import on_cpu
from ftx.finetune.recipe import Recipe
from ftx.finetune.scoring.metrics import SMALLER_IS_BETTER, check_best_metric, measure_of
from ftx.finetune.trainer.checkpoints import CrashSafeTrainer
from ftx.finetune.trainer.divergence import stop_if_diverged
from ftx.finetune.trainer.progress import Progress
from ftx.finetune.trainer.unfinished import TRAINER_FOLDER

__all__ = ["build_trainer", "forget_earlier_runs"]


def build_trainer(
    recipe: Recipe,
    pretrained: Pretrained,
    train_set: Any,
    eval_set: Any,
    *,
    precision: str,
    staging: Path,
    loss: Loss | None = None,
) -> Any:
    """Set up the Trainer for a recipe.

    Args:
        recipe: The values of the run.
        pretrained: The model, which is trained in place, with its tokenizer and head.
        train_set: Tokenised training rows.
        eval_set: Tokenised held-out rows.
        precision: fp32, fp16 or bf16.
        staging: The folder for history.jsonl and the Trainer's own files.
        loss: What to minimise; None: the recipe's loss.

    Raises:
        RecipeError: The metric, class weights or label smoothing of the recipe do not suit the head.
    """
    head, model, tokenizer = pretrained.head, pretrained.model, pretrained.tokenizer
    check_best_metric(recipe.best_metric, head)
    forget_earlier_runs()
    # The best checkpoint must be saved when it is evaluated, and every checkpoint when a line of history is written, so
    # that a resumed run writes the same lines as an uninterrupted one.
    eval_steps = recipe.eval_steps
    if recipe.best_metric:
        eval_steps = math.ceil(eval_steps / recipe.logging_steps) * recipe.logging_steps
    wanted = eval_steps if recipe.best_metric else recipe.save_steps
    save_steps = math.ceil(wanted / recipe.logging_steps) * recipe.logging_steps
    arguments = transformers.TrainingArguments(
        output_dir=str(staging / TRAINER_FOLDER),
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
        use_cpu=on_cpu(),  # bf16 is refused otherwise
        group_by_length=True,
        logging_steps=recipe.logging_steps,
        logging_nan_inf_filter=precision == "fp16",  # otherwise a NaN is replaced by the mean of the losses before it
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
        stop_if_diverged({"logit on held-out rows": output.predictions}, arguments, trainer.state.global_step)
        return measure(output.predictions, output.label_ids)

    freeze_layers(model, recipe.freeze_layers)
    trainer = CrashSafeTrainer(
        model=model,
        compute_loss_func=loss or loss_function(recipe, train_set["labels"], head),
        args=arguments,
        train_dataset=train_set,
        eval_dataset=eval_set,
        processing_class=tokenizer,
        # Tensor cores are fastest on lengths that are multiples of 8.
        data_collator=transformers.DataCollatorWithPadding(
            tokenizer, pad_to_multiple_of=None if precision == "fp32" else 8
        ),
        compute_metrics=measured,
    )
    # The default printer writes to stdout, which is for data.
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.progress = Progress(staging / "history.jsonl")
    trainer.add_callback(trainer.progress)
    if recipe.early_stopping:
        trainer.add_callback(transformers.EarlyStoppingCallback(recipe.early_stopping))
    return trainer


def forget_earlier_runs() -> None:
    """Clear what TrainingArguments set in the environment, or later runs of the process might be bf16 or compiled."""
    for name in [name for name in os.environ if name.startswith(("ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_"))]:
        del os.environ[name]
