from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftx.errors import RecipeError
from ftx.finetune import Recipe, load_recipe, train
from ftx.finetune.model import bf16_trial, precision
from ftx.finetune.model.bf16_trial import Bf16Trial, remembered, try_bf16
from ftx.finetune.model.precision import BF16_FLAGS, choose_precision
from ftx.machine import cpu_flags
from tests.conftest import tiny_recipe


@pytest.mark.parametrize(
    ("asked", "cuda", "bf16", "chosen"),
    [
        ("auto", True, True, "fp16"),
        ("auto", True, False, "fp16"),
        ("auto", False, False, "fp32"),
        ("fp32", True, True, "fp32"),
        ("fp16", True, False, "fp16"),
        ("bf16", True, True, "bf16"),
    ],
)
def test_the_precision_chosen_for_each_device(asked: str, cuda: bool, bf16: bool, chosen: str) -> None:
    found, reason = choose_precision(asked, cuda=cuda, cuda_bf16=bf16)
    assert found == chosen
    assert reason


def test_an_unsupported_precision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2"})
    for asked, cuda in (("fp16", False), ("bf16", False), ("bf16", True)):
        with pytest.raises(RecipeError, match=f"precision {asked}"):
            choose_precision(asked, cuda=cuda, cuda_bf16=False)


def test_bf16_on_a_cpu_that_supports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_bf16"})
    assert choose_precision("bf16", cuda=False, cuda_bf16=False)[0] == "bf16"


@pytest.mark.parametrize(
    ("speedup", "loss_change", "cosine", "chosen"),
    [
        (1.5, 0.001, 0.999, "bf16"),
        (1.1, 0.001, 0.999, "fp32"),
        (1.5, 0.05, 0.999, "fp32"),
        (1.5, 0.001, 0.9, "fp32"),
        (1.5, float("nan"), 0.999, "fp32"),
    ],
)
def test_a_cpu_trains_in_bf16_only_if_it_is_faster_with_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch, speedup: float, loss_change: float, cosine: float, chosen: str
) -> None:
    tried = Bf16Trial(step_sec=0.1, speedup=speedup, loss_change=loss_change, gradient_cosine=cosine)
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"amx_bf16"})
    found, reason = choose_precision("auto", cuda=False, cuda_bf16=False, trial=lambda: tried)
    assert found == chosen
    assert f"{speedup:.2f} times as fast" in reason
    short = replace(tried, step_sec=0.01)
    assert choose_precision("auto", cuda=False, cuda_bf16=False, trial=lambda: short)[0] == "fp32"
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_vnni"})
    assert choose_precision("auto", cuda=False, cuda_bf16=False, trial=lambda: tried)[0] == "fp32"


def test_a_trial_leaves_weights_and_random_state_unchanged(tiny_model: Callable[[str], Path]) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_model("single_label_classification"))
    model.train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.get_rng_state()
    ids = torch.randint(5, 40, (8, 12), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(8) % 2}
    tried = try_bf16(model, [batch] * 3)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert 0 < tried.loss_change < 0.02  # bf16 has 8 bits of precision: a slightly different loss
    assert 0.99 < tried.gradient_cosine < 1.0001
    assert tried.speedup > 0


def test_one_slow_step_does_not_choose_the_format(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    # Seconds in fp32 and in bf16; the first pair warms up.
    pairs = [(0.9, 9.0), (0.3, 0.2), (0.3, 1.5), (0.3, 0.2), (0.3, 0.2)]
    ticks = [tick for pair in pairs for seconds in pair for tick in (0.0, seconds)]
    monkeypatch.setattr(bf16_trial.time, "perf_counter", iter(ticks).__next__)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model("single_label_classification"))
    ids = torch.randint(5, 40, (8, 12), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(8) % 2}
    tried = try_bf16(model, [batch] * 5)
    assert tried.speedup == pytest.approx(1.5)
    assert precision.judge(tried)[0] == "bf16"


@pytest.mark.parametrize("jump_sec", [0.0, 3600.0, -3600.0])
def test_a_trial_passes_whatever_the_clock_says(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, jump_sec: float
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    clock = iter(range(10**6))
    monkeypatch.setattr(bf16_trial.time, "perf_counter", lambda: next(clock) * jump_sec)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model("single_label_classification"))
    ids = torch.randint(5, 40, (8, 12), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(8) % 2}
    tried = try_bf16(model, [batch] * 3)
    assert 0.99 < tried.gradient_cosine < 1.0001  # does not depend on the clock
    assert precision.judge(tried)[0] in ("fp32", "bf16")  # the choice may


def test_trials_are_cached_per_kind_of_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FTX_HOME", str(tmp_path / "cache"))
    model = SimpleNamespace(config=SimpleNamespace(model_type="bert", num_hidden_layers=2, hidden_size=8, vocab_size=9))
    found = [
        Bf16Trial(step_sec=0.1 * number, speedup=1.5, loss_change=0.001, gradient_cosine=0.999)
        for number in range(1, 5)
    ]
    left = iter(found)
    assert remembered(model, 8, lambda: next(left)) == found[0]
    assert remembered(model, 8, lambda: next(left)) == found[0]
    assert remembered(model, 16, lambda: next(left)) == found[1]
    assert remembered(model, 8, lambda: next(left)) == found[0]
    text = (tmp_path / "cache/bf16_trials.json").read_text()
    odd = (text.replace("0.1", '"fast"'), text.replace("1.5", "[]"), "[" * 100_000)
    for damage in ("{", "[]", "{}", *odd):
        (tmp_path / "cache/bf16_trials.json").write_text(damage)
        assert remembered(model, 8, lambda: found[3]) == found[3]
    lost = replace(found[3], loss_change=float("nan"))
    assert remembered(model, 32, lambda: lost) == lost
    assert "NaN" not in (tmp_path / "cache/bf16_trials.json").read_text()
    monkeypatch.setenv("FTX_HOME", "/proc/nowhere")
    assert remembered(model, 8, lambda: found[2]) == found[2]


@pytest.mark.skipif(not cpu_flags() & BF16_FLAGS, reason="this CPU does not compute in bf16")
def test_bf16_trains_on_a_cpu(tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_model("single_label_classification"), reviews, Recipe, precision="bf16")
    report = train(recipe, tmp_path / "run")
    assert report.precision == "bf16"
    assert report.metrics["accuracy"] >= 0.9
    assert load_recipe(str(tmp_path / "run/recipe.toml")).precision == "bf16"
    # The next run of the process is in fp32 again.
    losses = [train(replace(recipe, precision="fp32", max_steps=5), tmp_path / name).train_loss for name in "ab"]
    again = train(replace(recipe, max_steps=5), tmp_path / "c").train_loss
    assert losses[0] == losses[1] != again
