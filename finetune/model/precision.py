"""Choose the number format of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ftx.errors import RecipeError
from ftx.finetune.model.bf16_trial import Bf16Trial, first_batches, remembered, try_bf16
from ftx.finetune.model.hub import Pretrained
from ftx.finetune.recipe import Recipe
from ftx.machine import cpu_flags

__all__ = ["Precision", "choose_precision", "device_name", "on_cpu", "precision_for"]

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 with AVX-512 or AMX, Arm
# bf16 must be clearly faster, with nearly the same gradients.
MIN_SPEEDUP = 1.2
MIN_STEP_SEC = 0.05  # the load of the machine decides about shorter steps, and there is little to gain
MAX_LOSS_CHANGE = 0.01
MIN_GRADIENT_COSINE = 0.99


class Precision(NamedTuple):
    """fp32, fp16 or bf16, and the reason for it."""

    name: str
    reason: str


def precision_for(recipe: Recipe, pretrained: Pretrained, train_set: Any) -> Precision:
    """Choose the number format for a recipe on this machine; on a CPU a trial may decide.

    Raises:
        RecipeError: The format asked for is not supported here.
    """
    batch_size = recipe.train_batch_size

    def trial() -> Bf16Trial:
        return try_bf16(pretrained.model, first_batches(train_set, pretrained.tokenizer, batch_size))

    cuda = torch.cuda.is_available()
    return choose_precision(
        recipe.precision,
        cuda=cuda,
        cuda_bf16=cuda and torch.cuda.is_bf16_supported(),
        trial=(lambda: remembered(pretrained.model, batch_size, trial)) if on_cpu() else None,
    )


def choose_precision(
    asked: str, *, cuda: bool, cuda_bf16: bool, trial: Callable[[], Bf16Trial] | None = None
) -> Precision:
    """Choose fp32, fp16 or bf16.

    Args:
        asked: A recipe's precision.
        cuda: Whether there is a CUDA GPU.
        cuda_bf16: Whether it supports bf16.
        trial: Tries bf16 on the CPU; called only for `auto`, without CUDA, on a CPU that supports bf16.

    Raises:
        RecipeError: The format asked for is not supported here.
    """
    if asked == "auto":
        if cuda:
            return Precision("fp16", "a CUDA GPU is there")
        if trial is None or not cpu_flags() & BF16_FLAGS:
            return Precision("fp32", "no CUDA GPU is there")
        return judge(trial())
    if asked == "fp16" and not cuda:
        raise RecipeError("precision fp16 needs a CUDA GPU and none is there: use --precision auto or fp32")
    if asked == "bf16" and not (cuda_bf16 if cuda else cpu_flags() & BF16_FLAGS):
        place = "this GPU" if cuda else "this CPU (no AVX512-BF16, no AMX)"
        raise RecipeError(f"precision bf16 is not supported by {place}: use --precision auto or fp32")
    return Precision(asked, "asked for")


def judge(tried: Bf16Trial) -> Precision:
    """Choose between fp32 and bf16 by a trial on the CPU."""
    speed = f"about {tried.speedup:.2f} times as fast as fp32 here"
    if tried.step_sec < MIN_STEP_SEC:
        return Precision("fp32", "no CUDA GPU is there, and the steps are too short to compare with bf16")
    if tried.speedup < MIN_SPEEDUP:
        return Precision("fp32", f"no CUDA GPU is there, and bf16 is {speed}")
    if not (tried.loss_change <= MAX_LOSS_CHANGE and tried.gradient_cosine >= MIN_GRADIENT_COSINE):  # true for NaN
        return Precision(
            "fp32",
            f"no CUDA GPU is there; bf16 is {speed}, but changes the loss by {tried.loss_change:.1%} "
            f"(gradient cosine {tried.gradient_cosine:.3f})",
        )
    return Precision("bf16", f"no CUDA GPU is there, and bf16 is {speed}, gradient cosine {tried.gradient_cosine:.3f}")


def on_cpu() -> bool:
    """Tell whether there is no accelerator."""
    return torch.accelerator.current_accelerator() is None


def device_name() -> str:
    """Name the device to train on: a CUDA GPU's name, the kind of another accelerator, or `cpu`."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    accelerator = torch.accelerator.current_accelerator()
    return accelerator.type if accelerator else "cpu"
