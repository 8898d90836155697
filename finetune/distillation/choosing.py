"""Try students of several choices of layers for a few steps."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ftx.finetune.distillation.objective import soft_loss
from ftx.finetune.distillation.student import make_student
from ftx.finetune.evaluation import trainer_logits
from ftx.finetune.model.hub import Pretrained
from ftx.finetune.model.objective import Loss
from ftx.finetune.recipe import Distillation, Recipe
from ftx.finetune.trainer.fitting import fit
from ftx.finetune.trainer.processes import agreed, is_first_process, say
from ftx.finetune.trainer.setup import build_trainer
from ftx.text import Text

__all__ = ["Candidate", "Trial", "try_layers"]

# Rows that compare the choices; no trial learns from them.
MOST_ROWS = 1000
SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A choice of layers that was tried.

    Attributes:
        keep: The teacher's layers, counted from 0.
        loss: Mean divergence from the teacher on training text that the trial did not learn from.
    """

    keep: tuple[int, ...]
    loss: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What every trial has in common.

    Attributes:
        recipe: The values of the run.
        distill: Its `[distill]` section.
        teacher: What students are made of: the teacher, or a narrower copy of it.
        texts: The texts to learn from. Held-out text is for the verdict alone.
        rows: The same, tokenised, with the teacher's logits in `labels`.
        teacher_logits: The teacher's logits. *Shape:* `(len(texts), num_labels)`.
        loss: What to minimise.
        precision: fp32, fp16 or bf16.
        staging: A folder for a trial's files, which is removed after it.
    """

    recipe: Recipe
    distill: Distillation
    teacher: Pretrained
    texts: list[Text]
    rows: Any
    teacher_logits: NDArray[np.float32]
    loss: Loss
    precision: str
    staging: Path


def try_layers(keep: tuple[int, ...], trial: Trial) -> Candidate:
    """Train a student of these layers for a few steps, and compare it with its teacher on other rows."""
    order = np.random.default_rng(trial.recipe.seed).permutation(len(trial.texts))
    apart, learnt = np.split(order, [max(1, min(MOST_ROWS, int(SHARE * len(order))))])
    steps = trial.distill.candidate_steps
    recipe = replace(
        trial.recipe,
        max_steps=steps,
        save_steps=0,
        eval_steps=0,
        best_metric="",
        early_stopping=0,
        torch_compile=False,
    )
    student = make_student(trial.teacher, keep)
    trial.staging.mkdir(parents=True, exist_ok=True)
    rows = trial.rows.select(learnt)
    trainer = build_trainer(
        recipe, student, rows, None, precision=trial.precision, staging=trial.staging, loss=trial.loss
    )
    fit(trainer, None)
    logits = trainer_logits(student.model, student.tokenizer, [trial.texts[n] for n in apart], recipe.max_length)
    ours, theirs = torch.from_numpy(logits), torch.from_numpy(trial.teacher_logits[apart])
    loss = float(soft_loss(ours, theirs, student.head, trial.distill.temperature)) / len(apart)
    if is_first_process():
        shutil.rmtree(trial.staging, ignore_errors=True)
    say(f"Layers {', '.join(map(str, keep))}: divergence from the teacher {loss:.4f} after {steps} steps")
    found: Candidate = agreed(Candidate(keep=keep, loss=loss))
    return found
