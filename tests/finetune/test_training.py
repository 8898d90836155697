from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ftx.errors import ModelError, OutputError, RecipeError
from ftx.finetune import Recipe, load_recipe, train
from ftx.finetune.run_files import KIND
from ftx.finetune.training import warn_of_few_steps
from ftx.heldout import read_held_out
from ftx.output.record import is_intact, read_record
from tests.conftest import tiny_recipe


def test_the_files_of_a_run_folder(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir()}
    assert names == {
        "checkpoint", "recipe.toml", "metrics.json", "history.jsonl", "training.svg", "eval.jsonl", "SHA256SUMS",
    }  # fmt: skip
    assert all(is_intact(tiny_run, *entry) for entry in read_record(tiny_run / "SHA256SUMS").items())
    checkpoint = {path.name for path in (tiny_run / "checkpoint").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= checkpoint
    assert not [name for name in checkpoint if name.endswith((".bin", ".pt", ".pkl"))]
    config = json.loads((tiny_run / "checkpoint/config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["problem_type"] == "single_label_classification"
    assert json.loads((tiny_run / "checkpoint/tokenizer_config.json").read_text())["model_max_length"] == 32
    assert "<svg" in (tiny_run / "training.svg").read_text()
    assert [path.name for path in tiny_run.parent.iterdir()] == [tiny_run.name]


def test_every_file_that_a_run_writes_is_known_in_advance(tiny_run: Path) -> None:
    files = read_record(tiny_run / "SHA256SUMS")
    assert len(files) > 8
    assert [name for name in files if not any(fnmatch(name, pattern) for pattern in KIND.owned)] == []


def test_overwriting_a_run_that_was_exported_keeps_what_is_the_users_own(
    tiny_run: Path, tiny_export: Path, tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.copytree(tiny_export, run / "onnx")
    mine = ["notes.txt", "checkpoint/notes.txt", "onnx/notes.txt", "bench/bench.md"]
    for name in mine:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("mine")
    run.chmod(0o700)
    before = {path.name for path in tiny_run.iterdir()}
    report = train(
        tiny_recipe(tiny_model("single_label_classification"), reviews, Recipe, epochs=1.0), run, overwrite=True
    )
    assert json.loads((run / "metrics.json").read_text())["steps"] == report.steps == 9
    assert [(run / name).read_text() for name in mine] == ["mine"] * 4
    assert [path.name for path in (run / "onnx").iterdir()] == ["notes.txt"]
    assert {path.name for path in run.iterdir()} == before | {"notes.txt", "onnx", "bench"}
    assert run.stat().st_mode & 0o777 == 0o700
    (run / "metrics.json").write_text("{}")
    with pytest.raises(OutputError, match=r"holds metrics\.json, which is not ftx's, or was changed since"):
        train(tiny_recipe(tiny_model("single_label_classification"), reviews, Recipe), run, overwrite=True)
    assert (run / "metrics.json").read_text() == "{}"


def test_resuming_a_finished_run_returns_its_report(
    tiny_run: Path, caplog: pytest.LogCaptureFixture, tiny_model: Callable[[str], Path], reviews: Path
) -> None:
    caplog.set_level("INFO", "ftx")
    recipe = tiny_recipe(tiny_model("single_label_classification"), reviews, Recipe)
    report = train(recipe, tiny_run, resume=True)
    assert json.loads(json.dumps(report.to_dict())) == json.loads((tiny_run / "metrics.json").read_text())
    assert "is finished: nothing is left to do" in caplog.text
    with pytest.raises(RecipeError, match=r"finished run has epochs = 4\.0"):
        train(replace(recipe, epochs=5.0), tiny_run, resume=True)


def test_the_tiny_model_learns(tiny_run: Path) -> None:
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    assert metrics["accuracy"] >= 0.9
    assert metrics["train_rows"] == 72
    assert metrics["eval_rows"] == 24 == len(read_held_out(tiny_run / "eval.jsonl"))
    assert metrics["steps"] == 36
    low, high = metrics["scores"]["accuracy_interval"]
    assert 0 <= low <= metrics["accuracy"] <= high <= 1
    assert sum(map(sum, metrics["scores"]["confusion_matrix"])) == 24
    assert set(metrics["scores"]["classes"]) == {"negative", "positive"}
    history = [json.loads(line) for line in (tiny_run / "history.jsonl").read_text().splitlines()]
    assert history[-1]["eval_accuracy"] == metrics["accuracy"]
    losses = [line["loss"] for line in history if "loss" in line]
    assert losses[-1] < losses[0]


def test_a_repeat_gives_the_same_metrics(tiny_run: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_run / "recipe.toml"))
    again = train(recipe, tmp_path / "again")
    first = json.loads((tiny_run / "metrics.json").read_text())
    for name in ("accuracy", "f1_macro", "mcc", "eval_loss", "train_loss", "steps"):
        assert again.to_dict()[name] == first[name], name
    assert (tmp_path / "again/eval.jsonl").read_text() == (tiny_run / "eval.jsonl").read_text()


def test_transformers_pipeline_reads_the_checkpoint(tiny_run: Path) -> None:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(tiny_run / "checkpoint"), device="cpu")
    assert [answer["label"] for answer in classify(["The movie was great!", "The plot was awful!"])] == [
        "positive",
        "negative",
    ]


@pytest.mark.parametrize("damage", ["missing", "truncated", "no tokenizer"])
def test_a_damaged_model_is_a_clear_error_and_nothing_is_written(
    tmp_path: Path, tiny_model: Callable[[str], Path], reviews: Path, damage: str
) -> None:
    model = shutil.copytree(tiny_model("single_label_classification"), tmp_path / "model")
    if damage == "missing":
        (model / "model.safetensors").unlink()
    elif damage == "truncated":
        (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:1000])
    else:
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
            (model / name).unlink()
    with pytest.raises(ModelError, match=r"can't be loaded|has no tokenizer"):
        train(tiny_recipe(model, reviews, Recipe), tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_fine_tuned_model_can_be_fine_tuned_again_under_another_head(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model("multi_label_classification"), tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "thresholds": {"funny": 0.3}, "text_pair": True}))
    train(tiny_recipe(model, reviews, Recipe, max_steps=1), tmp_path / "run")
    config = json.loads((tmp_path / "run/checkpoint/config.json").read_text())
    assert "thresholds" not in config
    assert config["text_pair"] is False
    assert config["id2label"] == {"0": "negative", "1": "positive"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's compiler about torch itself
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_model_trains_and_is_saved_as_an_eager_one(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(tiny_model("single_label_classification"), reviews, Recipe, max_steps=6)
    eager = train(recipe, tmp_path / "eager")
    compiled = train(replace(recipe, torch_compile=True), tmp_path / "compiled")
    assert compiled.train_loss == pytest.approx(eager.train_loss, rel=0.05)
    names = [set(load_file(tmp_path / run / "checkpoint/model.safetensors")) for run in ("eager", "compiled")]
    assert names[0] == names[1]


@pytest.mark.parametrize(("batch_size", "warned"), [(96, True), (95, False)])
def test_a_batch_of_all_rows_is_warned_of(batch_size: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ftx")
    recipe = Recipe(model="m", dataset="d", train_batch_size=batch_size)
    warn_of_few_steps(recipe, rows=96, processes=1)
    assert ("an epoch is one step" in caplog.text) == warned
