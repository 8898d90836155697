"""Make a student of a teacher's embeddings, some of its encoder layers, its pooler and its head."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from ftx.errors import ModelError, RecipeError
from ftx.finetune.model.hub import Pretrained
from ftx.finetune.model.objective import encoder_layers
from ftx.finetune.recipe import Distillation

__all__ = ["count_layers", "layer_choices", "make_student"]


def count_layers(teacher: Pretrained, distill: Distillation) -> int:
    """Count a teacher's encoder layers, and check that the student's are fewer.

    Raises:
        ModelError: The teacher has no layers where ftx looks for them, or only one.
        RecipeError: The student would have as many layers, or one that the teacher lacks.
    """
    count = len(encoder_layers(teacher.model))
    if count < 2:
        raise ModelError(
            f"{type(teacher.model).__name__} has {count} layers to choose from, expected two or more: distil another"
        )
    most = count if distill.narrower else count - 1
    if distill.layers > most:
        raise RecipeError(
            f"layers is {distill.layers}, expected 1 to {most}: the teacher has {count}, and a student of as many is "
            "smaller only with --ffn-share or --heads"
        )
    if distill.keep and distill.keep[-1] >= count:
        raise RecipeError(f"keep has layer {distill.keep[-1]}, expected 0 to {count - 1}: they are counted from 0")
    return count


def layer_choices(layers: int, teacher_layers: int) -> list[tuple[int, ...]]:
    """List the layers that a student may start from: evenly spread; the first ones; the first ones and the last.

    Spread layers are those of DistilBERT (Sanh et al. 2019), the first ones are best for some tasks (Sajjad et al.
    2023, "On the effect of dropping layers of pre-trained transformer models").
    """
    spread = tuple(int(n) for n in np.linspace(0, teacher_layers - 1, layers).round())
    first = tuple(range(layers))
    return list(dict.fromkeys([spread, first, (*first[:-1], teacher_layers - 1)]))


def make_student(teacher: Pretrained, keep: tuple[int, ...]) -> Pretrained:
    """Copy a teacher with some of its encoder layers only."""
    model = copy.deepcopy(teacher.model)
    layers = encoder_layers(model)
    for number in reversed(range(len(layers))):
        if number not in keep:
            del layers[number]
    model.config.num_hidden_layers = len(keep)
    if pruned := getattr(model.config, "pruned_heads", None):
        model.config.pruned_heads = {place: pruned[number] for place, number in enumerate(keep) if number in pruned}
    return replace(teacher, model=model)
