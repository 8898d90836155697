"""Narrow a model: keep the attention heads and feed-forward neurons of each layer that matter most on training text."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Linear, Parameter

from ftx.errors import ModelError, RecipeError
from ftx.finetune.model.hub import Pretrained
from ftx.finetune.model.objective import Loss, encoder_layers
from ftx.finetune.recipe import Distillation
from ftx.finetune.trainer.processes import agreed, say

__all__ = ["narrow"]

# Rows on which heads and neurons are compared, sampled at random.
ROWS, BATCH_SIZE = 512, 16
# Kernels multiply that many numbers at a time.
NEURONS_STEP = 16


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What is narrowed in an encoder layer.

    Attributes:
        heads: How many attention heads it has.
        attended: Multiplies what the heads give.
        entering: Computes the feed-forward neurons.
        leaving: Multiplies them.
    """

    heads: int
    attended: Linear
    entering: Linear
    leaving: Linear


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept of a layer: heads and neurons, counted from 0, in ascending order."""

    heads: tuple[int, ...]
    neurons: tuple[int, ...]


def narrow(teacher: Pretrained, rows: Any, loss: Loss, distill: Distillation, seed: int) -> Pretrained:
    """Copy a model with fewer heads and feed-forward neurons in each layer.

    Args:
        teacher: The model.
        rows: Tokenised training rows, with what `loss` compares in `labels`.
        loss: Its loss on the true labels.
        distill: How many are kept.
        seed: Chooses the rows on which they are compared.

    Raises:
        ModelError: Its layers can't be narrowed.
        RecipeError: It has fewer heads than are to be kept.
    """
    layers = [parts_of(layer, teacher.model) for layer in encoder_layers(teacher.model)]
    heads = distill.heads or layers[0].heads
    if heads > layers[0].heads:
        raise RecipeError(f"heads is {heads}, expected 1 to {layers[0].heads}, as many as the teacher has")
    if distill.heads and getattr(teacher.model.config, "pruned_heads", None):
        raise ModelError("The teacher has fewer heads than its architecture already: omit --heads")
    size = layers[0].entering.out_features
    neurons = max(1, round(size * distill.ffn_share))
    if neurons >= NEURONS_STEP:
        neurons -= neurons % NEURONS_STEP
    say(f"Each layer keeps {heads} of {layers[0].heads} attention heads, {neurons} of {size} feed-forward neurons")
    chosen: list[Kept] = agreed(
        [
            Kept(heads=largest(by_head, heads), neurons=largest(by_neuron, neurons))
            for by_head, by_neuron in importance(teacher, layers, rows, loss, seed)
        ]
    )
    model = copy.deepcopy(teacher.model)
    for layer, kept in zip(encoder_layers(model), chosen, strict=True):
        parts = parts_of(layer, model)
        places = torch.tensor(kept.neurons, device=parts.entering.weight.device)
        parts.entering.weight = Parameter(parts.entering.weight.detach()[places].clone())
        if parts.entering.bias is not None:
            parts.entering.bias = Parameter(parts.entering.bias.detach()[places].clone())
        parts.leaving.weight = Parameter(parts.leaving.weight.detach()[:, places].clone())
        parts.entering.out_features = parts.leaving.in_features = neurons
    setattr(model.config, "hidden_dim" if hasattr(model.config, "hidden_dim") else "intermediate_size", neurons)
    every = set(range(layers[0].heads))
    if dropped := {
        place: sorted(every - set(kept.heads)) for place, kept in enumerate(chosen) if every - set(kept.heads)
    }:
        model.prune_heads(dropped)
    return replace(teacher, model=model)


def parts_of(layer: Any, model: Any) -> Parts:
    """Find the parts of a layer of BERT, of an architecture built like it, or of DistilBERT.

    Raises:
        ModelError: It is built otherwise.
    """
    attention: Any = getattr(layer, "attention", None)
    if hasattr(attention, "prune_heads"):
        if hasattr(attention, "out_lin") and hasattr(layer, "ffn"):
            return Parts(
                heads=attention.n_heads, attended=attention.out_lin, entering=layer.ffn.lin1, leaving=layer.ffn.lin2
            )
        if hasattr(attention, "self") and hasattr(layer, "intermediate"):
            return Parts(
                heads=attention.self.num_attention_heads, attended=attention.output.dense,
                entering=layer.intermediate.dense, leaving=layer.output.dense,
            )  # fmt: skip
    raise ModelError(
        f"The layers of {type(model).__name__} can't be narrowed, expected BERT, RoBERTa, XLM-RoBERTa, ELECTRA or "
        "DistilBERT: omit --ffn-share and --heads"
    )


def largest(scores: Tensor, count: int) -> tuple[int, ...]:
    """Give the places of the largest scores, in ascending order."""
    return tuple(sorted(scores.topk(count).indices.tolist()))


def importance(
    teacher: Pretrained, layers: list[Parts], rows: Any, loss: Loss, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Estimate by how much the loss would change without each head and neuron: |gradient · value|, summed over tokens.

    Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning"; Michel et al. 2019, "Are Sixteen Heads
    Really Better than One?".

    Returns:
        By layer, the scores of its heads, of shape `(heads,)`, and of its neurons, of shape `(neurons,)`.
    """
    model, tokenizer = teacher.model, teacher.tokenizer
    picked = np.random.default_rng(seed).permutation(len(rows))[:ROWS]
    read = inspect.signature(model.forward).parameters
    names = [name for name in rows.column_names if name in tokenizer.model_input_names and name in read]
    scores = [
        (torch.zeros(one.heads, device=model.device), torch.zeros(one.entering.out_features, device=model.device))
        for one in layers
    ]

    def watch(score: Tensor) -> Callable[..., None]:
        """Add up a layer's scores: the values that enter a product, by head or neuron."""

        def add(values: Tensor, gradient: Tensor) -> None:
            products = (values * gradient).detach().float()
            score.add_(products.reshape(-1, len(score), products.shape[-1] // len(score)).sum(-1).abs().sum(0))

        def before(module: Any, inputs: tuple[Tensor, ...]) -> None:
            inputs[0].register_hook(lambda gradient: add(inputs[0], gradient))  # type: ignore[no-untyped-call]

        return before

    hooks = [
        module.register_forward_pre_hook(watch(score))
        for one, pair in zip(layers, scores, strict=True)
        for module, score in zip((one.attended, one.leaving), pair, strict=True)
    ]
    training = model.training
    model.eval()
    try:
        for start in range(0, len(picked), BATCH_SIZE):
            some = rows.select(picked[start : start + BATCH_SIZE])
            batch = tokenizer.pad({name: some[name][:] for name in names}, return_tensors="pt").to(model.device)
            truth = torch.tensor(some["labels"][:], dtype=torch.float32, device=model.device)
            with torch.enable_grad():
                loss(model(**batch), truth).backward()
            model.zero_grad(set_to_none=True)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return scores
