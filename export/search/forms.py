"""The forms of a model, and the order in which they are tried: by the model and by what passed, never by the clock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ftx.export.quantization.scheme import SCHEMES, Scheme
from ftx.export.search.timing import Run

__all__ = ["FIRST_SCHEME", "Form", "Worst", "order", "untried"]

# The best on the models that ftx was developed with. The mixed-precision forms are variants of it.
FIRST_SCHEME = SCHEMES["static"]
# Where those variants of it fail that cost next to nothing: somewhat slower, but nothing is clipped on any text.
SECOND_SCHEME = SCHEMES["dynamic-per-token"]
# How many of the worst operators fall back, in each way. Outliers in fp32 cost next to nothing. What costs more is
# tried only while nothing passes: it is slower, and blocks are not quite the same from batch to batch.
CHEAP = {"outliers": (1, 2, 4, 8)}
COSTLY = {"blockwise": (4, 8), "fp32": (4, 8, 16, 32, 64)}


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form of the model, ready to run.

    Attributes:
        name: What it is called.
        kind: `int8`: one that may be chosen; `fp32`; `peer`: another toolkit's, for comparison.
        size_bytes: Of its file.
        run: Computes logits.
        depends_on_batch: Whether activations are scaled over the whole batch, or may be.
        scheme: How it was quantised, where ftx did it.
        made: How another toolkit did, as JSON values, where the form may be chosen.
    """

    name: str
    kind: str
    size_bytes: int
    run: Run
    depends_on_batch: bool = False
    scheme: Scheme | None = None
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def details(self) -> dict[str, Any]:
        """How it was made, as JSON values."""
        return self.scheme.to_dict() if self.scheme else self.made or {"scheme": self.name}


@dataclass(frozen=True, kw_only=True)
class Worst:
    """The linear operators of a graph that int8 hurts most.

    Attributes:
        operators: All of them, the worst first. Each can stay in fp32.
        products: Those that are not part of a fused attention, in the same order. These can fall back in any way.
    """

    operators: tuple[str, ...]
    products: tuple[str, ...]


def untried(
    tried: Collection[str], worst: Callable[[bool], Worst | None], one_passes: Callable[[], bool]
) -> Iterator[Scheme]:
    """Give the forms in their order, which is looked up anew for each: what was found meanwhile may change it.

    Args:
        tried: The names of the forms that were tried, which grows meanwhile.
        worst: Finds the operators that int8 hurts most; is told whether a form passes.
        one_passes: Tells whether a form passes.
    """
    while True:
        passes = one_passes()
        left = [scheme for scheme in order(worst(passes), one_passes=passes) if scheme.name not in tried]
        if not left:
            return
        yield left[0]


def order(worst: Worst | None, *, one_passes: bool) -> list[Scheme]:
    """List the forms in the order in which they are tried.

    Args:
        worst: The operators that int8 hurts most; None where this is not known: then no form has mixed precision.
        one_passes: Whether some form passes already. Then only forms that may be faster follow; else the forms that
            nearly always pass come before those that are merely different.
    """
    best = [FIRST_SCHEME, *mixed(worst, CHEAP), SECOND_SCHEME]
    alternatives = [scheme for scheme in SCHEMES.values() if scheme not in best]
    if one_passes:
        return [*best, *alternatives]
    blockwise = SCHEMES["blockwise"]
    others = [scheme for scheme in alternatives if scheme != blockwise]
    by_blocks, by_fp32 = ({fallback: counts} for fallback, counts in COSTLY.items())
    return [*best, *mixed(worst, by_blocks), blockwise, *mixed(worst, by_fp32), *others]


def mixed(worst: Worst | None, counts_by_fallback: Mapping[str, tuple[int, ...]]) -> list[Scheme]:
    """Give the first form in mixed precision, with more and more of its worst operators falling back."""
    if worst is None:
        return []
    found = []
    for fallback, counts in counts_by_fallback.items():
        nodes = worst.operators if fallback == "fp32" else worst.products
        for count in counts:
            # With every operator in fp32 it would be no int8 file.
            if count <= len(nodes) and (fallback != "fp32" or count < len(worst.operators)):
                name = f"{FIRST_SCHEME.name}-{fallback}-x{count}"
                found.append(replace(FIRST_SCHEME, name=name, fallback=fallback, fallback_nodes=nodes[:count]))
    return found
