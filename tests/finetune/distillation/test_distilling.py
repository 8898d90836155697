from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import ftx
from ftx.cli import ftx as command_line
from ftx.errors import DataError, ModelError, OutputError, RecipeError
from ftx.finetune import Distillation, Recipe, distill, load_recipe, train
from ftx.finetune.distillation.student import layer_choices
from ftx.heldout import read_held_out
from ftx.output.record import is_intact, read_record
from tests.conftest import build_tiny, tiny_recipe
from tests.schemas import FOLDER

SHORT: dict[str, Any] = {"candidate_steps": 0, "max_steps": 2, "save_steps": 0}


@pytest.fixture(scope="module")
def student_run(teacher_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("student") / "run"
    ftx.distill(teacher_run, layers=2, candidate_steps=4, epochs=2.0, output=output)
    return output


def report_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "distillation.json").read_text())
    return found


def test_a_student_s_run_is_a_run(teacher_run: Path, student_run: Path) -> None:
    names = {path.name for path in teacher_run.iterdir()}
    assert {path.name for path in student_run.iterdir()} == names | {"distillation.json"}
    assert all(is_intact(student_run, *entry) for entry in read_record(student_run / "SHA256SUMS").items())
    config = json.loads((student_run / "checkpoint/config.json").read_text())
    assert config["num_hidden_layers"] == 2
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    weights = load_file(student_run / "checkpoint/model.safetensors")
    assert {name.split(".")[3] for name in weights if ".layer." in name} == {"0", "1"}
    recipe = load_recipe(str(student_run / "recipe.toml"))
    assert recipe.model == str(teacher_run / "checkpoint")
    assert recipe.distill and recipe.distill.keep == tuple(report_of(student_run)["layers"])
    assert ftx.evaluate(run=student_run).metrics == report_of(student_run)["metrics"]


def test_a_student_learns_what_its_teacher_knows(teacher_run: Path, student_run: Path) -> None:
    report = report_of(student_run)
    assert report["texts"] == 120
    assert report["teacher_metrics"]["accuracy"] == ftx.evaluate(run=teacher_run).metrics["accuracy"] > 0.9
    assert report["metrics"]["accuracy"] > 0.9
    assert report["agreement"] > 0.9
    assert report["verdict"] in ("passes", "near", "fails")
    lost = report["teacher_metrics"]["accuracy"] - report["metrics"]["accuracy"]
    assert report["loss_points"] == pytest.approx(100 * lost)
    low, high = report["loss_interval_points"]
    assert low <= report["loss_points"] <= high
    assert set(report["class_f1_losses_points"]) == {"negative", "positive"}
    assert [tuple(one["keep"]) for one in report["candidates"]] == layer_choices(2, 4) == [(0, 3), (0, 1)]
    best = min(report["candidates"], key=lambda one: one["loss"])
    assert report["layers"] == best["keep"]


def test_student_and_teacher_are_compared_on_what_the_teacher_never_saw(
    teacher_run: Path, student_run: Path, tmp_path: Path
) -> None:
    held_out = read_held_out(teacher_run / "eval.jsonl")
    assert read_held_out(student_run / "eval.jsonl") == held_out
    ftx.distill(teacher_run, layers=1, seed=7, **SHORT, output=tmp_path / "run")
    assert read_held_out(tmp_path / "run/eval.jsonl") == held_out
    assert report_of(tmp_path / "run")["train_rows"] == 360


def test_the_recipe_of_a_student_repeats_it(student_run: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(student_run / "recipe.toml"))
    train(recipe, tmp_path / "again")
    weights = [(run / "checkpoint/model.safetensors").read_bytes() for run in (student_run, tmp_path / "again")]
    assert weights[0] == weights[1]
    changed = {"run", "candidates"}  # the layers were chosen, and stand in the recipe
    first, again = (
        {k: v for k, v in report_of(run).items() if k not in changed} for run in (student_run, tmp_path / "again")
    )
    assert first == again


RESUMED: dict[str, Any] = {"layers": 2, "candidate_steps": 4, "epochs": 2.0, "save_steps": 10}
# The first trial ends with step 4; the student's first checkpoint is that of step 10.
STOPS = [3, 7, 25]


def stop_at(step: int, stop: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Have a run stop after a step, of a trial's or of the student's training."""
    from ftx.finetune.trainer.progress import Progress

    plain = Progress.on_step_end

    def ended(self: Progress, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        plain(self, args, state, control, **kwargs)
        if state.global_step == step:
            stop()

    patch.setattr(Progress, "on_step_end", ended)


def interrupt() -> None:
    raise KeyboardInterrupt


def killed(teacher: Path, output: Path, step: int) -> None:
    """Distil, and be killed after a step."""
    with pytest.MonkeyPatch.context() as patch:
        stop_at(step, lambda: os.kill(os.getpid(), signal.SIGKILL), patch)
        ftx.distill(teacher, **RESUMED, output=output)


def resumes_without_its_teacher(teacher: Path, output: Path, student: Path, patch: pytest.MonkeyPatch) -> None:
    """Resume, and compare with a student that was not interrupted."""
    from ftx.finetune.distillation import teaching

    def asked(*arguments: Any) -> None:
        raise AssertionError("the teacher was asked again")

    patch.setattr(teaching, "trainer_logits", asked)
    ftx.distill(teacher, **RESUMED, output=output, resume=True)
    weights = [(run / "checkpoint/model.safetensors").read_bytes() for run in (student, output)]
    assert weights[0] == weights[1]
    assert {path.name for path in output.iterdir()} == {path.name for path in student.iterdir()}
    lines = ((run / "history.jsonl").read_text().splitlines() for run in (student, output))
    steps = [[json.loads(line)["step"] for line in run] for run in lines]
    assert steps[0] == steps[1]
    assert [path.name for path in output.parent.iterdir()] == [output.name]


@pytest.mark.parametrize("step", STOPS)
def test_an_interrupted_student_resumes_without_asking_its_teacher_again(
    student_run: Path, teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, step: int,
) -> None:  # fmt: skip
    output = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(step, interrupt, patch)
        ftx.distill(teacher_run, **RESUMED, output=output)
    done = "20 steps" if step == 25 else "the teacher's logits"
    assert f"{done} are done and kept: continue with --resume" in caplog.text
    with pytest.raises(OutputError, match=f"is unfinished, with {done} done: continue with --resume"):
        ftx.distill(teacher_run, **RESUMED, output=output)
    resumes_without_its_teacher(teacher_run, output, student_run, monkeypatch)
    with pytest.raises(RecipeError, match="the same values, or start over"):
        ftx.distill(teacher_run, **{**RESUMED, "layers": 1}, output=output, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("step", STOPS[:2])
def test_a_student_that_is_killed_resumes_without_asking_its_teacher_again(
    student_run: Path, teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    output = tmp_path / "run"
    process = multiprocessing.get_context("spawn").Process(target=killed, args=(teacher_run, output, step))
    process.start()
    process.join(1800)
    assert process.exitcode == -signal.SIGKILL
    resumes_without_its_teacher(teacher_run, output, student_run, monkeypatch)


def test_a_teacher_is_asked_again_about_other_texts_and_when_it_has_changed(teacher_run: Path, tmp_path: Path) -> None:
    from ftx.finetune.distillation.teaching import cached_logits
    from ftx.finetune.model.head import Head
    from ftx.finetune.model.hub import load_pretrained
    from ftx.finetune.trainer.unfinished import TEACHER_LOGITS

    recipe = load_recipe(str(teacher_run / "recipe.toml"))
    head = Head(problem_type="single_label_classification", labels=["negative", "positive"])
    teacher = load_pretrained(replace(recipe, model=str(teacher_run / "checkpoint")), head)
    texts = ["The movie was great!", "The plot was dull!"]

    def kept(texts: list[str]) -> tuple[Any, str]:
        found = cached_logits(tmp_path / "trainer", teacher, list(texts), 32)
        [file] = (tmp_path / "trainer").glob(TEACHER_LOGITS)
        return found.tolist(), file.name

    first, name = kept(texts)
    assert kept(texts) == (first, name)
    other, other_name = kept(texts[::-1])
    assert (other, other_name != name) == (first[::-1], True)
    with torch.no_grad():
        teacher.model.classifier.bias += 1
    changed, _ = kept(texts[::-1])
    assert np.asarray(changed) == pytest.approx(np.asarray(other) + 1, abs=1e-5)


@pytest.mark.parametrize(
    ("problem_type", "pairs", "measure"),
    [
        ("multi_label_classification", False, "f1_macro"),
        ("regression", False, "pearson"),
        ("single_label_classification", True, "accuracy"),
    ],
)
def test_every_head_and_pairs_are_distilled_from_a_checkpoint_of_any_maker(
    tiny_model: Callable[[str], Path], labelled: Callable[..., Path], tmp_path: Path,
    problem_type: str, pairs: bool, measure: str,
) -> None:  # fmt: skip
    output = tmp_path / "run"
    report = ftx.distill(
        tiny_model(problem_type), layers=1, **SHORT, dataset=labelled(problem_type, pairs=pairs), max_length=48,
        text_pair_column="second" if pairs else None, output=output,
    )  # fmt: skip
    assert (report.measure, report.problem_type, report.layers) == (measure, problem_type, (0,))
    assert report.texts == 48 and report.verdict == "not enough text" and not report.failed
    assert report.to_dict()["metrics"] == ftx.evaluate(run=output).metrics
    assert (report.calibration_error is None) == (problem_type != "single_label_classification")
    assert bool(report.class_f1_losses_points) == (problem_type != "regression")


def test_a_multi_label_run_is_compared_at_its_own_thresholds(
    tiny_model: Callable[[str], Path], labelled: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in labelled("multi_label_classification").read_text().splitlines()]
    lines = [f"{row['text']},{int('funny' in row['label'])},{int('sad' in row['label'])}" for row in rows]
    (tmp_path / "tags.csv").write_text("\n".join(["sentence,funny,sad", *lines]) + "\n")
    recipe = tiny_recipe(
        tiny_model("multi_label_classification"), tmp_path / "tags.csv", Recipe, epochs=1.0, max_length=48,
        text_column="sentence", label_columns=("funny", "sad"),
    )  # fmt: skip
    train(recipe, tmp_path / "teacher")
    report = ftx.distill(tmp_path / "teacher", layers=1, **SHORT, output=tmp_path / "run")
    assert (report.measure, report.texts, report.train_rows) == ("f1_macro", 120, 360)
    assert report.teacher_metrics == ftx.evaluate(run=tmp_path / "teacher").metrics
    assert report.metrics == ftx.evaluate(run=tmp_path / "run").metrics
    assert report.verdict in ("passes", "near", "fails")


def test_unlabelled_text_is_learnt_from_but_never_held_out_text(teacher_run: Path, tmp_path: Path) -> None:
    held_out = read_held_out(teacher_run / "eval.jsonl").texts
    new = [f"The {word} was so {word}." for word in ("film", "plot", "cast")]
    (tmp_path / "more.txt").write_text("\n".join([*held_out[:5], *new, new[0].upper()]) + "\n")
    output = tmp_path / "run"
    values = {**SHORT, "layers": 1, "unlabelled": tmp_path / "more.txt"}
    report = ftx.distill(teacher_run, **values, output=output)
    assert (report.train_rows, report.unlabelled_rows, report.texts) == (360, 3, 120)
    without = ftx.distill(teacher_run, **{**values, "unlabelled": None}, output=tmp_path / "without")
    assert without.unlabelled_rows == 0
    assert load_recipe(str(output / "recipe.toml")).distill.unlabelled == str(tmp_path / "more.txt")  # type: ignore[union-attr]
    (tmp_path / "pairs.jsonl").write_text('{"text": "a", "text_pair": "b"}\n')
    with pytest.raises(DataError, match="does not hold single texts, which the teacher reads"):
        ftx.distill(teacher_run, **{**values, "unlabelled": tmp_path / "pairs.jsonl"}, output=tmp_path / "pairs")


def test_unlabelled_text_has_columns_of_its_own_and_may_be_a_hub_data_set(
    teacher_run: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from ftx import hub

    sentences = tmp_path / "sentences.jsonl"
    sentences.write_text(reviews.read_text().replace('"text"', '"sentence"'))
    (tmp_path / "more.txt").write_text("The music was so so.\n")
    values = {**SHORT, "layers": 1, "dataset": sentences, "text_column": "sentence"}
    checkpoint = teacher_run / "checkpoint"
    found = ftx.distill(checkpoint, **values, unlabelled=tmp_path / "more.txt", output=tmp_path / "file")
    assert found.unlabelled_rows == 1
    rows = datasets.Dataset.from_dict({"body": ["The cast was so so.", "The plot was so so."], "label": [-1, -1]})
    monkeypatch.setattr(hub, "data_set_splits", lambda name: {"train": rows})
    values |= {"unlabelled": "org/more", "trim_vocab": "org/more"}
    found = ftx.distill(checkpoint, **values, unlabelled_column="body", output=tmp_path / "hub")
    assert found.unlabelled_rows == 2
    section = load_recipe(str(tmp_path / "hub/recipe.toml")).distill
    assert section and (section.unlabelled, section.unlabelled_column) == ("org/more", "body")
    with pytest.raises(
        DataError, match="no column 'text'; the columns are body, label: name yours with --unlabelled-c"
    ):
        ftx.distill(checkpoint, **values, output=tmp_path / "other")


def test_a_student_starts_from_its_teacher_s_weights(teacher_run: Path, tmp_path: Path) -> None:
    values = {**SHORT, "max_steps": 1, "learning_rate": 1e-12}
    ftx.distill(teacher_run, keep=[1, 3], **values, output=tmp_path / "run")
    theirs, ours = (load_file(run / "checkpoint/model.safetensors") for run in (teacher_run, tmp_path / "run"))
    for name, weights in ours.items():
        source = name.replace("layer.1.", "layer.3.").replace("layer.0.", "layer.1.")
        assert weights.sub(theirs[source]).abs().max() < 1e-6, name
    assert len(ours) < len(theirs)


def test_a_student_is_exported_and_distilled_again(student_run: Path, tmp_path: Path) -> None:
    report = ftx.export(student_run, tmp_path / "onnx", quantize="none")
    assert not report.failed
    assert ftx.Predictor(tmp_path / "onnx")(["The movie was a great!"])[0].label == "positive"
    again = ftx.distill(student_run, layers=1, **SHORT, output=tmp_path / "run")
    assert (again.layers, again.teacher_layers) == ((0,), 2)


def test_an_export_shows_both_links_of_the_chain(student_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(student_run, tmp_path / "run")
    lost = report_of(run)
    report = ftx.export(run, quantize="fast")
    link = json.loads((run / "onnx/parity.json").read_text())["from_teacher"]
    assert (link["value"], link["teacher_value"]) == (lost["metrics"]["accuracy"], lost["teacher_metrics"]["accuracy"])
    assert {name: lost[name] for name in link if name in lost and name != "layers"} == {
        name: value for name, value in link.items() if name in lost and name != "layers"
    }
    assert (link["layers"], link["teacher_layers"]) == (2, 4)
    page, card = ((run / "onnx" / name).read_text() for name in ("parity.html", "README.md"))
    assert "teacher to student" in page and f"student to {report.reduced.file if report.reduced else ''}" in page
    assert "## Distillation" in card and "distilled from one of 4" in card
    for text in (page, card):
        assert f"{lost['loss_points']:+.2f}" in text
        assert f"{lost['calibration_error']:.4f}" in text
        assert f"{lost['class_f1_losses_points']['positive']:+.2f}" in text
    (run / "distillation.json").write_text('{"measure": 3}')
    with pytest.raises(ModelError, match=r"distillation.json can't be used: measure is 3, expected a string; distil"):
        ftx.export(run, tmp_path / "onnx")


def test_distillation_json_follows_its_schema(student_run: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FOLDER / "distillation.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(report_of(student_run))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**report_of(student_run), "texts": "many"}, schema)


def test_a_student_that_lost_too_much_is_status_1_and_kept(teacher_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    arguments = ["distill", str(teacher_run), "--keep", "3", "--max-steps", "1", "--learning-rate", "1e-9"]
    result = CliRunner().invoke(command_line, [*arguments, "--output", str(output), "--json"])
    report = json.loads(result.stdout)
    assert report["loss_points"] > 10, "the last layer alone should not do"
    assert (result.exit_code, report["verdict"]) == (1, "fails")
    assert report == report_of(output)
    again = CliRunner().invoke(command_line, [*arguments, "--output", str(output), "--resume"])
    assert again.exit_code == 1
    assert "verdict    fails" in again.stdout
    allowed = CliRunner().invoke(
        command_line, [*arguments, "--output", str(tmp_path / "allowed"), "--max-loss", "100", "--json"]
    )
    assert (allowed.exit_code, json.loads(allowed.stdout)["verdict"]) == (0, "passes")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"layers": 4}, "layers is 4, expected 1 to 3: the teacher has 4"),
        ({"keep": [1, 4]}, "keep has layer 4, expected 0 to 3"),
        ({"keep": [2, 1]}, r"keep is \(2, 1\), expected layers in ascending order"),
        ({"keep": [1], "layers": 2}, "layers is 2, but distill.keep has 1 layers"),
        ({}, "layers is 0, expected how many layers"),
        ({"layers": 1, "temperature": 0.0}, "temperature is 0.0, expected a number from 0.1 to 100"),
        ({"layers": 1, "hard_weight": 1.5}, "hard_weight is 1.5, expected a number from 0 to 1"),
    ],
)
def test_a_student_that_can_not_be_is_refused(
    teacher_run: Path, tmp_path: Path, values: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RecipeError, match=reason):
        ftx.distill(teacher_run, **values, output=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_must_have_been_trained(teacher_run: Path, reviews: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    bare = shutil.copytree(teacher_run / "checkpoint", tmp_path / "bare")
    config = BertConfig.from_pretrained(bare)
    BertModel(config).save_pretrained(bare)
    with pytest.raises(ModelError, match="its classifier is not trained"):
        ftx.distill(bare, layers=1, dataset=reviews, output=tmp_path / "run")
    with pytest.raises(ModelError, match="has another head than one of 3 labels"):
        ftx.distill(teacher_run, layers=1, labels=["negative", "positive", "mixed"], output=tmp_path / "run")
    with pytest.raises(RecipeError, match=r"is no run of ftx train: name labelled text .* --dataset"):
        ftx.distill(bare, layers=1, output=tmp_path / "run")
    one = build_tiny(tmp_path / "one", "single_label_classification", ["negative", "positive"], layers=1)
    with pytest.raises(ModelError, match="has 1 layers to choose from"):
        ftx.distill(one, layers=1, dataset=reviews, output=tmp_path / "run", max_length=32)
    recipe = tiny_recipe(one, reviews, Recipe)
    with pytest.raises(RecipeError, match=r"no \[distill\] section"):
        distill(recipe, tmp_path / "run")


def test_the_section_of_a_recipe_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    head = 'model = "m"\ndataset = "d"\n[distill]\n'
    path.write_text(head + "keep = [0, 2]\ntemperature = 3\n")
    assert load_recipe(str(path)).distill == Distillation(keep=(0, 2), temperature=3.0, layers=2)
    assert replace(load_recipe(str(path)), distill=None) == Recipe(model="m", dataset="d")
    for content, reason in (
        ("depth = 3\n", r"\[distill\] has unknown values depth; expected layers, keep"),
        ("keep = [-1]\n", r"distill.keep is \[-1\], expected a list of integers from 0"),
        (
            'layers = 1\nunlabelled_column = "body"\n',
            "unlabelled_column is 'body', expected unlabelled text to read it from",
        ),
        ("layers = 1\nmax_loss = nan\n", "distill.max_loss is nan, expected a number from 0 to 100"),
    ):
        path.write_text(head + content)
        with pytest.raises(RecipeError, match=reason):
            load_recipe(str(path))
