"""The options of an export that are choices."""

from __future__ import annotations

from ftx.export.parity.gate import Gate
from ftx.export.quantization.scheme import NAMES, TARGETS
from ftx.export.search.peers import OPTIMUM
from ftx.export.search.search import SEARCHED
from ftx.machine import instruction_sets, int8_can_saturate

__all__ = ["ChoiceError", "check_choices", "gate_of", "target_here"]

DEVICES = ("cpu", "cuda")
QUANTIZE = (*SEARCHED, "none", *NAMES, OPTIMUM)


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


def gate_of(min_agreement: float, min_stress_agreement: float | None) -> Gate:
    """Make the gate; where the second limit is not given, it is no higher than the first.

    Raises:
        ChoiceError: The second limit is no share.
    """
    usual = min(Gate.min_stress_agreement, min_agreement)
    limit = usual if min_stress_agreement is None else min_stress_agreement
    if not 0 <= limit <= 1:
        raise ChoiceError(f"--min-stress-agreement {limit:g}: expected a share from 0 to 1, like 0.99")
    return Gate(min_agreement=min_agreement, min_stress_agreement=limit)


def target_here() -> str:
    """Name the target that is this machine's CPU."""
    if "arm64" in instruction_sets():
        return "arm64"
    return "avx2" if int8_can_saturate() else "vnni"
