"""Choose the number format of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ftx.errors import RecipeError
from ftx.machine import cpu_flags

if TYPE_CHECKING:
    from ftx.finetune.model.bf16_trial import Bf16Trial

__all__ = ["choose_precision"]

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 with AVX-512 or AMX, Arm
# bf16 must be clearly faster, and step the same way.
MIN_SPEEDUP = 1.2
MIN_STEP_SEC = 0.05  # shorter steps are over soon anyhow, and what else the machine does would decide
MAX_LOSS_CHANGE = 0.01
MIN_GRADIENT_COSINE = 0.99


def choose_precision(
    asked: str, *, cuda: bool, cuda_bf16: bool, trial: Callable[[], Bf16Trial] | None = None
) -> tuple[str, str]:
    """Choose fp32, fp16 or bf16, and say why.

    Args:
        asked: One of `recipe.PRECISIONS`.
        cuda: Whether a CUDA GPU is there.
        cuda_bf16: Whether it computes in bf16.
        trial: Tries bf16 on the CPU; called only for `auto`, without CUDA, on a CPU that computes in bf16.

    Returns:
        The precision, and the reason.

    Raises:
        RecipeError: What was asked for is not possible here.
    """
    if asked == "auto":
        if cuda:
            return "fp16", "a CUDA GPU is there"
        if trial is None or not cpu_flags() & BF16_FLAGS:
            return "fp32", "no CUDA GPU is there"
        return judge(trial())
    if asked == "fp16" and not cuda:
        raise RecipeError("precision fp16 needs a CUDA GPU and none is there: use --precision auto or fp32")
    if asked == "bf16" and not (cuda_bf16 if cuda else cpu_flags() & BF16_FLAGS):
        place = "this GPU" if cuda else "this CPU (no AVX512-BF16, no AMX)"
        raise RecipeError(f"precision bf16 is not supported by {place}: use --precision auto or fp32")
    return asked, "asked for"


def judge(tried: Bf16Trial) -> tuple[str, str]:
    """Choose between fp32 and bf16 by a trial on the CPU."""
    speed = f"at least {tried.speedup:.2f} times as fast as fp32 here"
    if tried.step_sec < MIN_STEP_SEC:
        return "fp32", "no CUDA GPU is there, and the steps are too short to compare with bf16"
    if tried.speedup < MIN_SPEEDUP:
        return "fp32", f"no CUDA GPU is there, and bf16 is {speed}"
    if not (tried.loss_change <= MAX_LOSS_CHANGE and tried.gradient_cosine >= MIN_GRADIENT_COSINE):  # a NaN fails
        return "fp32", (
            f"no CUDA GPU is there; bf16 is {speed}, but moves the loss by {tried.loss_change:.1%} "
            f"(gradient cosine {tried.gradient_cosine:.3f})"
        )
    return "bf16", f"no CUDA GPU is there, and bf16 is {speed}, gradient cosine {tried.gradient_cosine:.3f}"
