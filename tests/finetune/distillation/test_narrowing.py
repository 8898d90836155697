from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForSequenceClassification, DistilBertConfig, DistilBertForSequenceClassification

import ftx
from ftx.cli import ftx as command_line
from ftx.errors import ModelError, RecipeError
from ftx.finetune import Distillation
from ftx.finetune.data.labelled_text import load_labelled_text
from ftx.finetune.distillation.narrowing import narrow
from ftx.finetune.distillation.objective import distilling_loss, taught_rows
from ftx.finetune.model.hub import Pretrained, load_pretrained
from ftx.finetune.model.tokens import tokenise
from ftx.finetune.recipe import load_recipe

HALF = Distillation(layers=4, ffn_share=0.5, heads=2)
SHORT: dict[str, Any] = {"candidate_steps": 0, "max_steps": 2, "save_steps": 0}
Narrow = Callable[..., Pretrained]


@pytest.fixture(scope="module")
def teacher(teacher_run: Path) -> Pretrained:
    recipe = replace(load_recipe(str(teacher_run / "recipe.toml")), model=str(teacher_run / "checkpoint"))
    return load_pretrained(recipe, load_labelled_text(recipe).head)


@pytest.fixture(scope="module")
def narrowed(teacher_run: Path) -> Narrow:
    """Narrow a teacher by the training text of the run."""
    recipe = load_recipe(str(teacher_run / "recipe.toml"))
    data = load_labelled_text(recipe)
    targets = [target for _, target in data.train]

    def make(teacher: Pretrained, distill: Distillation = HALF) -> Pretrained:
        rows = tokenise(data.train, teacher.tokenizer, recipe.max_length).remove_columns("labels")
        logits = np.zeros((len(targets), len(data.head.labels)), np.float32)
        rows = rows.add_column("labels", taught_rows(targets, 0, logits, data.head).tolist())
        loss = distilling_loss(recipe, replace(distill, hard_weight=1.0), targets, data.head)
        return narrow(teacher, rows, loss, distill, 0)

    return make


def logits_of(model: Any, tokenizer: Any) -> torch.Tensor:
    batch = tokenizer(["The film was a great!", "The plot was b awful!"], padding=True, return_tensors="pt")
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits
    return found


def test_a_narrow_model_is_its_teacher_without_what_was_dropped(teacher: Pretrained, narrowed: Narrow) -> None:
    """Heads and neurons that are silenced in the teacher are as good as gone."""
    before = logits_of(teacher.model, teacher.tokenizer)
    model = narrowed(teacher).model
    assert torch.equal(logits_of(teacher.model, teacher.tokenizer), before)
    assert model.config.intermediate_size == 32
    dropped = model.config.pruned_heads
    assert {len(heads) for heads in dropped.values()} == {2}
    with torch.no_grad():
        for place, (whole, small) in enumerate(
            zip(teacher.model.bert.encoder.layer, model.bert.encoder.layer, strict=True)
        ):
            assert small.attention.self.query.weight.shape == (16, 32)
            rows = whole.intermediate.dense.weight
            kept = [bool((row == small.intermediate.dense.weight).all(1).any()) for row in rows]
            assert sum(kept) == 32
            whole.output.dense.weight[:, [n for n, one in enumerate(kept) if not one]] = 0
            for head in dropped[place]:
                whole.attention.output.dense.weight[:, 8 * head : 8 * head + 8] = 0
    torch.testing.assert_close(logits_of(model, teacher.tokenizer), logits_of(teacher.model, teacher.tokenizer))


def test_what_the_loss_needs_is_kept(teacher_run: Path, narrowed: Narrow) -> None:
    """Neurons that nothing reads have no gradient, and go first."""
    recipe = replace(load_recipe(str(teacher_run / "recipe.toml")), model=str(teacher_run / "checkpoint"))
    teacher = load_pretrained(recipe, load_labelled_text(recipe).head)
    unread = list(range(0, 64, 2))
    with torch.no_grad():
        for layer in teacher.model.bert.encoder.layer:
            layer.output.dense.weight[:, unread] = 0
            layer.attention.output.dense.weight[:, :16] = 0
    small = narrowed(teacher)
    assert small.model.config.pruned_heads == {layer: [0, 1] for layer in range(4)}
    for whole, layer in zip(teacher.model.bert.encoder.layer, small.model.bert.encoder.layer, strict=True):
        assert torch.equal(layer.intermediate.dense.weight, whole.intermediate.dense.weight[1::2])
    torch.testing.assert_close(logits_of(small.model, teacher.tokenizer), logits_of(teacher.model, teacher.tokenizer))


def test_distilbert_can_be_narrowed(teacher: Pretrained, narrowed: Narrow, tmp_path: Path) -> None:
    config = DistilBertConfig(
        vocab_size=len(teacher.tokenizer), dim=32, hidden_dim=64, n_heads=4, n_layers=2, num_labels=2
    )
    model = DistilBertForSequenceClassification(config)
    small = narrowed(replace(teacher, model=model)).model
    small.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert again.distilbert.transformer.layer[0].ffn.lin1.weight.shape == (32, 32)
    assert again.distilbert.transformer.layer[1].attention.q_lin.weight.shape == (16, 32)
    assert torch.equal(logits_of(again, teacher.tokenizer), logits_of(small, teacher.tokenizer))


def test_what_can_t_be_narrowed(teacher: Pretrained, narrowed: Narrow) -> None:
    with pytest.raises(RecipeError, match="heads is 5, expected 1 to 4, as many as the teacher has"):
        narrowed(teacher, replace(HALF, heads=5))
    with pytest.raises(ModelError, match="fewer heads than its architecture already: omit --heads"):
        narrowed(narrowed(teacher))
    again = narrowed(narrowed(teacher), replace(HALF, heads=0)).model
    assert again.config.intermediate_size == 16
    assert again.bert.encoder.layer[0].attention.self.num_attention_heads == 2


def test_a_narrow_student_is_a_run(teacher_run: Path, tmp_path: Path) -> None:
    """It can be evaluated, exported, verified, and distilled again into fewer layers."""
    result = CliRunner().invoke(
        command_line,
        ["distill", str(teacher_run), "--layers", "4", "--ffn-share", "0.5", "--heads", "2", "--epochs", "2",
         "--output", str(tmp_path / "narrow")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (
        "student    4 of 4 layers: 0, 1, 2, 3, each with 2 attention heads and 0.5 of the feed-forward" in result.stdout
    )
    report = json.loads((tmp_path / "narrow/distillation.json").read_text())
    assert (report["ffn_share"], report["heads"]) == (0.5, 2)
    assert ftx.evaluate(run=tmp_path / "narrow").metrics == report["metrics"]
    exported = ftx.export(tmp_path / "narrow", tmp_path / "onnx", quantize="static")
    assert exported.fp32.worst.max_abs_logit_diff < 1e-4
    assert (tmp_path / "onnx/model_quantized.onnx").is_file()
    said = "a student of 4 layers, each with 2 attention heads and 0.5 of the feed-forward neurons, distilled from"
    assert said in (tmp_path / "onnx/parity.html").read_text()
    fewer = ftx.distill(tmp_path / "narrow", keep=[1, 3], output=tmp_path / "fewer", **SHORT)
    assert len(fewer.layers) == 2
    checkpoints = [json.loads((tmp_path / name / "checkpoint/config.json").read_text()) for name in ("narrow", "fewer")]
    was, now = (one["pruned_heads"] for one in checkpoints)
    assert now == {"0": was["1"], "1": was["3"]}
    assert ftx.evaluate(run=tmp_path / "fewer").metrics == fewer.metrics


def test_as_many_layers_are_for_narrower_ones_only(teacher_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="smaller only with --ffn-share or --heads"):
        ftx.distill(teacher_run, layers=4, output=tmp_path / "run", **SHORT)
