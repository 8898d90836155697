"""Training: rows a second of ftx and of padding="max_length", the tutorials' way, from the same weights."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ftx.bench.statistics import Interval, ratio_interval
from ftx.turns import announced, take_turns

__all__ = ["TrainingSpeed", "measure_training"]

PADDED_LENGTH = 128
TRAIN_ROWS = 512
BATCH_SIZE = 32
ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class TrainingSpeed:
    """How fast both ways train an epoch, in fp32.

    Attributes:
        rows: Rows of the epoch.
        batch_size: Rows in a batch.
        mean_tokens: Mean tokens in a row.
        rows_per_sec: Of ftx, whose batches are padded to their longest text.
        padded_length: Tokens to which the other way pads every row: 128, or what the model reads.
        padded_rows_per_sec: Padded to as many.
        speedup: The median of the ratios within a round.
        speedup_interval: Its 95 % interval.
    """

    rows: int
    batch_size: int
    mean_tokens: float
    rows_per_sec: float
    padded_length: int
    padded_rows_per_sec: float
    speedup: float
    speedup_interval: Interval


def measure_training(checkpoint: Path, rows: Path, threads: int, noise: float) -> TrainingSpeed:
    """Train an epoch both ways, in turn, each time from the checkpoint's weights.

    Args:
        checkpoint: The model.
        rows: Labelled texts, as `RUN/eval.jsonl` has them.
        threads: PyTorch's.
        noise: The spread of the machine's speed.
    """
    import torch
    import transformers

    from ftx.finetune import Recipe
    from ftx.finetune.data.labelled_text import load_labelled_text
    from ftx.finetune.model.hub import Pretrained, load_model, load_tokenizer, positions
    from ftx.finetune.model.tokens import tokenise
    from ftx.finetune.trainer.setup import build_trainer

    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    length = min(PADDED_LENGTH, positions(transformers.AutoConfig.from_pretrained(checkpoint)))
    recipe = Recipe(
        model=str(checkpoint), dataset=str(rows), train_rows=TRAIN_ROWS, eval_rows=1, train_batch_size=BATCH_SIZE,
        max_length=length, save_steps=0,
    )  # fmt: skip
    data = load_labelled_text(recipe)
    tokenizer, weights = load_tokenizer(str(checkpoint)), load_model(str(checkpoint), data.head)

    def by_length(scratch: Path) -> Any:
        train_set = tokenise(data.train, tokenizer, length)
        pretrained = Pretrained(model=deepcopy(weights), tokenizer=tokenizer, head=data.head)
        return build_trainer(recipe, pretrained, train_set, train_set.select([0]), precision="fp32", staging=scratch)

    def padded(scratch: Path) -> Any:
        import datasets

        texts, targets = zip(*data.train, strict=True)
        train_set = datasets.Dataset.from_dict({"text": list(texts), "labels": list(targets)}).map(
            lambda batch: tokenizer(batch["text"], truncation=True, padding="max_length", max_length=length),
            batched=True,
            remove_columns=["text"],
        )
        arguments = transformers.TrainingArguments(
            output_dir=str(scratch), num_train_epochs=1, per_device_train_batch_size=BATCH_SIZE,
            learning_rate=recipe.learning_rate, save_strategy="no", report_to=[], disable_tqdm=True,
            dataloader_pin_memory=False, use_cpu=True,
        )  # fmt: skip
        return transformers.Trainer(model=deepcopy(weights), args=arguments, train_dataset=train_set)

    ways = {"ftx": by_length, "padded": padded}
    times = take_turns({name: partial(one_epoch, way) for name, way in ways.items()}, announced(ROUNDS))
    ratios = np.array(times["padded"]) / np.array(times["ftx"])
    count = len(data.train)
    return TrainingSpeed(
        rows=count,
        batch_size=BATCH_SIZE,
        mean_tokens=float(np.mean(tokenise(data.train, tokenizer, length)["length"])),
        rows_per_sec=count / float(np.median(times["ftx"])),
        padded_length=length,
        padded_rows_per_sec=count / float(np.median(times["padded"])),
        speedup=float(np.median(ratios)),
        speedup_interval=ratio_interval(ratios, noise),
    )


def one_epoch(way: Callable[[Path], Any], number: int) -> float:
    """Train an epoch, in whichever round, and give its seconds; tokenising does not count."""
    with tempfile.TemporaryDirectory() as scratch:
        trainer = way(Path(scratch))
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began
