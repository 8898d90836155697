"""Choose the number format of training."""

from __future__ import annotations

from ftx.errors import RecipeError
from ftx.machine import cpu_flags

__all__ = ["choose_precision"]


def choose_precision(asked: str, *, cuda: bool, cuda_bf16: bool) -> tuple[str, str]:
    """Choose fp32, fp16 or bf16, and say why.

    Args:
        asked: One of `recipe.PRECISIONS`.
        cuda: Whether a CUDA GPU is there.
        cuda_bf16: Whether it computes in bf16.

    Returns:
        The precision, and the reason.

    Raises:
        RecipeError: What was asked for is not possible here.
    """
    if asked == "auto":
        return ("fp16", "a CUDA GPU is there") if cuda else ("fp32", "no CUDA GPU is there")
    if asked == "fp16" and not cuda:
        raise RecipeError("precision fp16 needs a CUDA GPU and none is there: use --precision auto or fp32")
    if asked == "bf16" and not (cuda_bf16 if cuda else cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"}):
        place = "this GPU" if cuda else "this CPU (no AVX512-BF16, no AMX)"
        raise RecipeError(f"precision bf16 is not supported by {place}: use --precision auto or fp32")
    return asked, "asked for"
