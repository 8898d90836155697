"""The order in which forms of a model are tried. It depends on the model and on what passed, never on the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ftx.export.quantization.scheme import SCHEMES, Scheme

__all__ = ["FIRST", "Worst", "order"]

# The best on the models that ftx was made with. Its worst operators are those that are rescued.
FIRST = SCHEMES["static"]
# How many of the worst operators are rescued, in each way. Outliers in fp32 cost next to nothing. What costs more is
# tried only while nothing passes: it is slower, and blocks are not quite the same from batch to batch.
CHEAP = {"outliers": (1, 2, 4, 8)}
DEAR = {"blockwise": (4, 8), "fp32": (4, 8, 16, 32, 64)}


@dataclass(frozen=True, kw_only=True)
class Worst:
    """The linear operators of a graph that int8 hurts most.

    Attributes:
        operators: All of them, the worst first. Each can be left in fp32.
        products: Those that are not part of a fused attention, in the same order. These can be rescued in any way.
    """

    operators: tuple[str, ...]
    products: tuple[str, ...]


def order(worst: Worst | None, *, one_passes: bool) -> list[Scheme]:
    """List the forms in the order in which they are tried.

    Args:
        worst: The operators that int8 hurts most; None where this is not known: nothing is rescued then.
        one_passes: Whether some form passes already. Then only forms that may be faster follow; else the forms that
            nearly always pass come before those that are merely different.
    """
    alternatives = [scheme for scheme in SCHEMES.values() if scheme != FIRST]
    if one_passes:
        return [FIRST, *rescued(worst, CHEAP), *alternatives]
    blockwise = SCHEMES["blockwise"]
    others = [scheme for scheme in alternatives if scheme != blockwise]
    by_blocks, by_fp32 = ({rescue: counts} for rescue, counts in DEAR.items())
    return [FIRST, *rescued(worst, CHEAP), *rescued(worst, by_blocks), blockwise, *rescued(worst, by_fp32), *others]


def rescued(worst: Worst | None, counts_by_rescue: Mapping[str, tuple[int, ...]]) -> list[Scheme]:
    """Give the first form with ever more of its worst operators rescued."""
    if worst is None:
        return []
    found = []
    for rescue, counts in counts_by_rescue.items():
        nodes = worst.operators if rescue == "fp32" else worst.products
        for count in counts:
            # With every operator in fp32 it would be no int8 file.
            if count <= len(nodes) and (rescue != "fp32" or count < len(worst.operators)):
                name = f"{FIRST.name}-{rescue}-x{count}"
                found.append(replace(FIRST, name=name, rescue=rescue, rescued_nodes=nodes[:count]))
    return found
