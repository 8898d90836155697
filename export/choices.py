"""The options of an export that are choices."""

from __future__ import annotations

from ftx.export.quantization.scheme import SCHEMES, TARGETS
from ftx.machine import instruction_sets, int8_can_saturate

__all__ = ["ChoiceError", "check_choices", "target_here"]

DEVICES = ("cpu", "cuda")
QUANTIZE = ("auto", "fast", "none", *SCHEMES)


class ChoiceError(ValueError):
    """An option has an invalid value."""


def check_choices(quantize: str, target: str | None, min_agreement: float, device: str) -> None:
    """Check the options before anything is loaded.

    Raises:
        ChoiceError: One has an invalid value.
    """
    for name, value, known in (
        ("--quantize", quantize, QUANTIZE),
        ("--target", target or "any", tuple(TARGETS)),
        ("--device", device, DEVICES),
    ):
        if value not in known:
            raise ChoiceError(f"{name} {value}: expected one of {', '.join(known)}")
    if not 0.5 <= min_agreement <= 1:
        raise ChoiceError(f"--min-agreement {min_agreement:g}: expected a share from 0.5 to 1, like 0.995")


def target_here() -> str:
    """Name the target that is this machine's CPU."""
    if "arm64" in instruction_sets():
        return "arm64"
    return "avx2" if int8_can_saturate() else "vnni"
