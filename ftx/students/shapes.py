"""The sizes of student that a search tries: how many layers, and how wide they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ftx.errors import RecipeError

__all__ = ["Shape", "find_shapes", "label_of"]

MOST_DEPTHS = 5
# The width that is tried of itself: with half the heads it is as fast as half the layers, and was more accurate.
NARROW_SHARE = 0.375
# Whose layers `finetune/distillation/narrowing.py` can narrow.
NARROWABLE = frozenset({"bert", "distilbert", "electra", "roberta", "xlm-roberta"})


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A student's size.

    Attributes:
        layers: How many layers it has.
        ffn_share: Share of each layer's feed-forward neurons.
        heads: Attention heads of each layer; 0: as many as the teacher's.
    """

    layers: int
    ffn_share: float = 1.0
    heads: int = 0

    @property
    def folder(self) -> str:
        """The name of its run's folder."""
        neurons = f"-ffn-{self.ffn_share:g}" if self.ffn_share < 1 else ""
        return f"{self.layers}-layers{neurons}{f'-heads-{self.heads}' if self.heads else ''}"


def label_of(layers: int, ffn_share: float, heads: int) -> str:
    """Name a size in a few words."""
    parts = [f"{heads} heads" if heads else "", f"{ffn_share:.3g} FFN" if ffn_share < 1 else ""]
    return ", ".join(filter(None, [f"{layers} layer{'' if layers == 1 else 's'}", *parts]))


def find_shapes(
    teacher: str, config: dict[str, Any], layers: Sequence[int], ffn_share: Sequence[float], heads: Sequence[int]
) -> list[Shape]:
    """List the students to try: each depth in each width, the largest first.

    Args:
        teacher: Its name, for messages.
        config: The teacher's config.json.
        layers: Depths; empty: with widths the teacher's, else all that are less, or five where there are more, and
            beside them the teacher's own in one width.
        ffn_share: Shares of the feed-forward neurons; empty: all.
        heads: Numbers of attention heads, 0: all; empty: all.

    Raises:
        RecipeError: The teacher does not have so many layers or heads, or its layers can't be narrowed.
    """
    depth, width = (
        whole(teacher, config, what, names)
        for what, names in (
            ("layers", ("num_hidden_layers", "n_layers")),
            ("attention heads", ("num_attention_heads", "n_heads")),
        )
    )
    narrowable = config.get("model_type") in NARROWABLE
    if (ffn_share or heads) and not narrowable:
        raise RecipeError(
            f"{teacher} is of type {config.get('model_type')}, whose layers can't be narrowed, expected one of "
            f"{', '.join(sorted(NARROWABLE))}: omit --ffn-share and --heads"
        )
    depths = set(layers) or ({depth} if ffn_share or heads else set(default_depths(depth)))
    most = depth if ffn_share or heads else depth - 1
    if not depths or not all(0 < one <= most for one in depths):
        raise RecipeError(
            f"layers {', '.join(map(str, sorted(depths)))}: expected depths from 1 to {most}, as {teacher} has {depth}"
        )
    if not all(0 < one <= 1 for one in ffn_share):
        raise RecipeError(f"ffn_share {', '.join(map(str, ffn_share))}: expected shares above 0 and at most 1")
    if not all(0 <= one <= width for one in heads):
        raise RecipeError(
            f"heads {', '.join(map(str, heads))}: expected at most {width}, as many as {teacher} has, or 0 for all"
        )
    found = {
        Shape(layers=count, ffn_share=share, heads=0 if number == width else number)
        for count, share, number in product(depths, ffn_share or [1.0], heads or [0])
    }
    if not layers and not ffn_share and not heads and narrowable and width > 1 and not config.get("pruned_heads"):
        found.add(Shape(layers=depth, ffn_share=NARROW_SHARE, heads=width // 2))
    found.discard(Shape(layers=depth))
    if not found:
        raise RecipeError(f"{teacher} is of that size itself: name fewer layers, neurons or heads")
    return sorted(found, key=lambda one: (-one.layers, -one.ffn_share, -(one.heads or width)))


def default_depths(layers: int) -> list[int]:
    """Give depths to try for a teacher of so many layers, the deepest first."""
    if layers - 1 <= MOST_DEPTHS:
        return list(range(layers - 1, 0, -1))
    return [round(layers * part / (MOST_DEPTHS + 1)) for part in range(MOST_DEPTHS, 0, -1)]


def read_config(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint's config.json.

    Raises:
        RecipeError: It can't be read.
    """
    try:
        found = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise RecipeError(f"{checkpoint}/config.json can't be read: {error}") from error
    return found


def whole(teacher: str, config: dict[str, Any], what: str, names: tuple[str, ...]) -> int:
    """Read a count from a config by one of its names.

    Raises:
        RecipeError: It is not there.
    """
    for name in names:
        if isinstance(config.get(name), int):
            return int(config[name])
    raise RecipeError(f"The config.json of {teacher} does not say how many {what} it has, as {' or '.join(names)}")
