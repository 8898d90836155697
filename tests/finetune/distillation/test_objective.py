from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ftx.finetune.distillation.objective import distilling_loss, soft_loss, taught_rows
from ftx.finetune.model.head import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head
from ftx.finetune.recipe import Distillation, Recipe

CHANCE = torch.Generator().manual_seed(3)
HEADS = {
    SINGLE_LABEL: Head(problem_type=SINGLE_LABEL, labels=["a", "b", "c"]),
    MULTI_LABEL: Head(problem_type=MULTI_LABEL, labels=["a", "b", "c"]),
    REGRESSION: Head(problem_type=REGRESSION, labels=["stars"]),
}
TARGETS: dict[str, list[Any]] = {
    SINGLE_LABEL: [0, 1, 2, 1, 0, 2],
    MULTI_LABEL: [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]] * 3,
    REGRESSION: [0.5, -1.5, 2.0, 0.0, 3.25, 1.0],
}


def logits_of(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    size = (6, len(HEADS[kind].labels))
    return torch.randn(size, generator=CHANCE), torch.randn(size, generator=CHANCE)


def hard_loss(kind: str, logits: torch.Tensor) -> float:
    """The loss that transformers gives such a model."""
    truth = torch.tensor(TARGETS[kind])
    if kind == SINGLE_LABEL:
        return torch.nn.CrossEntropyLoss()(logits, truth).item()
    if kind == MULTI_LABEL:
        return torch.nn.BCEWithLogitsLoss()(logits, truth).item()
    return torch.nn.MSELoss()(logits.squeeze(), truth).item()


def truth_of(kind: str, teacher: torch.Tensor, unlabelled: int = 0) -> torch.Tensor:
    targets = TARGETS[kind][: 6 - unlabelled]
    return torch.tensor(taught_rows(targets, unlabelled, teacher.numpy(), HEADS[kind])).float()


def test_soft_labels_of_one_label_are_those_of_hinton() -> None:
    logits, teacher = logits_of(SINGLE_LABEL)
    soft = torch.softmax(teacher / 2, dim=1)
    divergence = (soft * (soft.log() - torch.softmax(logits / 2, dim=1).log())).sum()
    found = soft_loss(logits, teacher, HEADS[SINGLE_LABEL], 2.0)
    assert found.item() == pytest.approx(4 * divergence.item(), rel=1e-5)


def test_two_labels_are_as_one_with_a_sigmoid() -> None:
    """The divergence of a sigmoid is that of a softmax of the logit and 0."""
    logits, teacher = logits_of(REGRESSION)
    pairs = [torch.cat([one, torch.zeros_like(one)], dim=1) for one in (logits, teacher)]
    multi = soft_loss(logits, teacher, Head(problem_type=MULTI_LABEL, labels=["a"]), 3.0)
    single = soft_loss(pairs[0], pairs[1], Head(problem_type=SINGLE_LABEL, labels=["a", "b"]), 3.0)
    assert multi.item() == pytest.approx(single.item(), rel=1e-5)


@pytest.mark.parametrize("kind", HEADS)
def test_a_student_that_answers_as_its_teacher_has_no_soft_loss(kind: str) -> None:
    logits, teacher = logits_of(kind)
    assert soft_loss(teacher, teacher, HEADS[kind], 2.0).item() == pytest.approx(0, abs=1e-5)
    assert soft_loss(logits, teacher, HEADS[kind], 2.0).item() > 0.1


@pytest.mark.parametrize("kind", HEADS)
def test_the_loss_mixes_soft_and_true_labels(kind: str) -> None:
    logits, teacher = logits_of(kind)
    distill = Distillation(layers=1, hard_weight=0.25, temperature=2.0)
    loss = distilling_loss(Recipe(model="m", dataset="d"), distill, TARGETS[kind], HEADS[kind])
    outputs, truth = SimpleNamespace(logits=logits), truth_of(kind, teacher)
    soft = soft_loss(logits, teacher, HEADS[kind], 2.0).item() / 6
    expected = 0.25 * hard_loss(kind, logits) + 0.75 * soft
    assert loss(outputs, truth).item() == pytest.approx(expected, rel=1e-5)
    # As the Trainer counts: every value of twice as many rows.
    assert loss(outputs, truth, num_items_in_batch=2 * truth.numel()).item() == pytest.approx(expected / 2, rel=1e-5)
    # On held-out rows, which have no teacher's logits, it is the loss that training reports.
    held_out = torch.tensor(TARGETS[kind])
    assert loss(outputs, held_out).item() == pytest.approx(hard_loss(kind, logits), rel=1e-5)


@pytest.mark.parametrize("kind", HEADS)
def test_unlabelled_rows_learn_from_the_teacher_alone(kind: str) -> None:
    logits, teacher = logits_of(kind)
    logits.requires_grad_()
    distill = Distillation(layers=1, hard_weight=0.25)
    loss = distilling_loss(Recipe(model="m", dataset="d"), distill, TARGETS[kind][:4], HEADS[kind])
    for unlabelled in (2, 6):
        truth = truth_of(kind, teacher, unlabelled)
        assert np.isnan(truth.numpy()[:, 0]).sum() == unlabelled
        (gradient,) = torch.autograd.grad(loss(SimpleNamespace(logits=logits), truth), logits)
        (soft,) = torch.autograd.grad(0.75 * soft_loss(logits, teacher, HEADS[kind], 2.0) / 6, logits)
        assert torch.isfinite(gradient).all()
        assert torch.allclose(gradient[6 - unlabelled :], soft[6 - unlabelled :], atol=1e-6)
        assert unlabelled == 6 or not torch.allclose(gradient[:4], soft[:4], atol=1e-4)


def test_class_weights_are_those_of_the_true_labels() -> None:
    logits, teacher = logits_of(SINGLE_LABEL)
    recipe = Recipe(model="m", dataset="d", class_weights="balanced")
    targets = [0, 0, 0, 1, 2, 2]
    loss = distilling_loss(recipe, Distillation(layers=1, hard_weight=1.0), [*targets], HEADS[SINGLE_LABEL])
    weight = torch.tensor([2 / 3, 2.0, 1.0])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), weight=weight, reduction="sum") / 6
    truth = torch.tensor(taught_rows([*targets], 0, teacher.numpy(), HEADS[SINGLE_LABEL])).float()
    assert loss(SimpleNamespace(logits=logits), truth).item() == pytest.approx(expected.item(), rel=1e-5)
