"""A run killed at any point can be resumed, and ends as an uninterrupted one does. The kills are real (SIGKILL)."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftx.errors import OutputError, RecipeError
from ftx.finetune import Recipe, load_recipe, train
from ftx.finetune.trainer.checkpoints import EpochSampler
from ftx.finetune.trainer.unfinished import COMPLETE, complete_checkpoints, newest_intact, unfinished_steps
from ftx.output.place import beside
from ftx.output.publishing import is_finished
from ftx.output.record import write_record
from tests.conftest import tiny_recipe

KILLS = 20
LONGEST_SEC = 1800  # ends a hang


@pytest.fixture(scope="module")
def recipe(tiny_model: Callable[[str], Path], reviews: Path) -> Recipe:
    """54 steps in six epochs; a checkpoint after every second one."""
    model = tiny_model("single_label_classification")
    made: Recipe = tiny_recipe(model, reviews, Recipe, epochs=6.0, save_steps=2, logging_steps=2)
    return made


@pytest.fixture(scope="module")
def unbroken(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "run"
    train(recipe, output)
    return output


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes with torch and transformers already loaded, so that a kill hits the training."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ftx.finetune", "torch", "transformers", "ftx.finetune.trainer.setup"])
    return context


def history(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    timings = ("runtime", "per_second", "total_flos", "train_loss")
    return [{key: value for key, value in line.items() if not any(t in key for t in timings)} for line in lines]


def assert_same_end(run: Path, unbroken: Path) -> None:
    ours, theirs = (json.loads((folder / "metrics.json").read_text()) for folder in (run, unbroken))
    assert ours["steps"] == theirs["steps"] == 54
    for name in ("eval_loss", "train_loss", "accuracy"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-6), name
    assert [line["step"] for line in history(run)] == [line["step"] for line in history(unbroken)]
    for one, other in zip(history(run), history(unbroken), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    weights = [(folder / "checkpoint/model.safetensors").read_bytes() for folder in (run, unbroken)]
    assert weights[0] == weights[1]
    assert {path.name for path in run.iterdir()} == {path.name for path in unbroken.iterdir()}


def die_half_written(path: Any) -> None:
    """Write half a record, and kill this process."""
    with Path(path).open("ab") as file:
        file.write(b"{half")
        file.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def train_and_die(recipe: Recipe, output: Path, point: str, count: int) -> None:
    """Train, and be killed when a point of the work is reached for the count-th time."""
    import torch

    from ftx.finetune.trainer import checkpoints
    from ftx.finetune.trainer.progress import Progress

    passed = 0

    def dying(plain: Callable[..., Any], place: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed < count:
                return plain(*arguments, **keywords)
            return die_half_written(place(*arguments)) if place else os.kill(os.getpid(), signal.SIGKILL)

        return wrapped

    if point == "step":
        Progress.on_step_end = dying(Progress.on_step_end)  # type: ignore[method-assign]
    elif point == "history":
        Progress.on_log = dying(Progress.on_log, lambda self, *_: self.history_file)  # type: ignore[method-assign]
    elif point == "file":  # of a checkpoint
        torch.save = dying(torch.save, lambda _, path: path)
    elif point == "whole":  # all files of a checkpoint are written, but not its mark
        checkpoints.write_record = dying(checkpoints.write_record)
    else:  # a checkpoint is in place, and an older one not yet removed
        checkpoints.drop_older = dying(checkpoints.drop_older)
    train(recipe, output, resume=True)


@pytest.mark.slow
def test_twenty_kills_at_random_points(processes: Any, recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    chance = random.Random(7)
    output = tmp_path / "run"
    staging = beside(output, "partial")
    points = {"step": 40, "history": 20, "file": 60, "whole": 20, "older": 20}
    reached, kills, within_saves = 0, 0, 0
    while kills < KILLS:
        point = list(points)[kills % len(points)]
        count = chance.randint(1, points[point])
        process = processes.Process(target=train_and_die, args=(recipe, output, point, count))
        process.start()
        process.join(LONGEST_SEC)
        if output.exists():  # the run finished before the kill
            assert process.exitcode == 0
            assert_same_end(output, unbroken)
            output.rename(tmp_path / f"done-{kills}-{count}")
            reached = 0
            continue
        assert process.exitcode == -signal.SIGKILL, point
        kills += 1
        within_saves += any((staging / "trainer/saving").glob("checkpoint-*"))
        steps = unfinished_steps(staging)
        assert steps >= reached or is_finished(staging), "a kill lost a checkpoint that was complete"
        reached = steps
    assert within_saves >= 2 * KILLS // len(points)
    last = processes.Process(target=train, args=(recipe, output), kwargs={"resume": True})
    last.start()
    last.join(LONGEST_SEC)
    assert last.exitcode == 0
    assert_same_end(output, unbroken)
    assert not staging.exists()


def interrupted(recipe: Recipe, output: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Interrupt a run after some steps, as Ctrl-C does."""
    from ftx.finetune.trainer.progress import Progress

    plain = Progress.on_step_end

    def stop(self: Progress, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        plain(self, args, state, control, **kwargs)
        if state.global_step == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "on_step_end", stop)
        train(recipe, output)


@pytest.mark.parametrize("after", [13, 18, 19])
def test_an_interrupted_run_resumes_within_and_between_epochs(
    recipe: Recipe, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    output = tmp_path / "run"
    interrupted(recipe, output, monkeypatch, after)
    assert unfinished_steps(beside(output, "partial")) == (after - 1) // 2 * 2
    with pytest.raises(OutputError, match=r"unfinished, with .* steps done: continue with --resume"):
        train(recipe, output)
    with pytest.raises(RecipeError, match=r"unfinished run has epochs = 6\.0"):
        train(replace(recipe, epochs=7.0), output, resume=True)
    train(recipe, output, resume=True)
    assert_same_end(output, unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_relative_paths_mean_the_same_from_any_folder(
    recipe: Recipe, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere, output = tmp_path / "home", tmp_path / "elsewhere", tmp_path / "runs/run"
    home.mkdir()
    elsewhere.mkdir()
    shutil.copy(recipe.dataset, home / "x.jsonl")
    shutil.copytree(recipe.model, home / "model")
    relative = replace(recipe, dataset="./x.jsonl", model="model")
    monkeypatch.chdir(home)
    interrupted(relative, output, monkeypatch, 13)
    train(relative, output, resume=True)  # the same values as before
    assert_same_end(output, unbroken)
    interrupted(relative, output.with_name("again"), monkeypatch, 13)
    monkeypatch.chdir(elsewhere)
    begun = load_recipe(str(beside(output.with_name("again"), "partial") / "recipe.toml"))
    assert (begun.dataset, begun.model) == (str(home / "x.jsonl"), str(home / "model"))
    train(begun, output.with_name("again"), resume=True)
    assert_same_end(output.with_name("again"), unbroken)
    assert load_recipe(str(output / "recipe.toml")) == load_recipe(str(output.with_name("again") / "recipe.toml"))


def test_a_run_killed_after_its_last_step_resumes(
    recipe: Recipe, unbroken: Path, after_all_steps: Path, tmp_path: Path
) -> None:
    staging = shutil.copytree(after_all_steps, beside(tmp_path / "run", "partial"))
    assert unfinished_steps(staging) == 54
    train(recipe, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", unbroken)


def test_a_finished_run_killed_before_its_rename_is_put_into_place(
    recipe: Recipe, unbroken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(unbroken, beside(tmp_path / "run", "partial"))
    report = train(recipe, tmp_path / "run", resume=True)
    assert report.steps == 54
    assert "finished by an earlier command, which was ended before it could publish it" in caplog.text
    assert_same_end(tmp_path / "run", unbroken)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_overwrite_starts_over(recipe: Recipe, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "run"
    interrupted(recipe, output, monkeypatch, 13)
    train(recipe, output, overwrite=True)
    assert_same_end(output, unbroken)


def test_a_checkpoint_without_its_mark_is_ignored(tmp_path: Path) -> None:
    for step, complete in ((2, True), (10, True), (12, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if complete:
            (folder / "COMPLETE").touch()
    assert complete_checkpoints(tmp_path) == [tmp_path / "checkpoint-10", tmp_path / "checkpoint-2"]


@pytest.fixture(scope="module")
def after_12_steps(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The staging folder of a run interrupted after 13 steps, with checkpoints at 10 and 12."""
    output = tmp_path_factory.mktemp("after-12") / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupted(recipe, output, patch, 13)
    return beside(output, "partial")


@pytest.fixture(scope="module")
def after_all_steps(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The staging folder of a run interrupted after its last step and its evaluation."""
    from ftx.finetune import training

    def killed(**values: Any) -> None:
        raise KeyboardInterrupt

    output = tmp_path_factory.mktemp("after-all") / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "TrainingReport", killed)
        train(recipe, output)
    return beside(output, "partial")


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2 if how == "cut" else 0])


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "missing"])
def test_any_damage_of_the_newest_checkpoint_is_detected(after_12_steps: Path, tmp_path: Path, how: str) -> None:
    whole = after_12_steps / "trainer"
    assert newest_intact(whole) == (whole / "checkpoint-12", {})
    names = [path.name for path in (whole / "checkpoint-12").iterdir()]
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth"} < set(names)
    for name in set(names) - ({COMPLETE} if how == "missing" else set()):
        folder = shutil.copytree(whole, tmp_path / name)
        damage(folder / "checkpoint-12" / name, how)
        found, damaged = newest_intact(folder)
        assert found == folder / "checkpoint-10", name
        assert set(damaged) == {"checkpoint-12"}


def test_a_checkpoint_whose_best_one_is_damaged_is_not_resumed(tmp_path: Path) -> None:
    for step, best in ((2, 2), (4, 2), (6, 6), (8, 6)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
        (folder / "model.safetensors").write_text("weights")
        write_record(folder, COMPLETE)
    assert newest_intact(tmp_path) == (tmp_path / "checkpoint-8", {})
    damage(tmp_path / "checkpoint-6/model.safetensors", "flipped")
    found, damaged = newest_intact(tmp_path)
    assert found == tmp_path / "checkpoint-4"
    assert damaged == dict.fromkeys(["checkpoint-8", "checkpoint-6"], "model.safetensors of checkpoint-6")


@pytest.mark.parametrize(("name", "how"), [("model.safetensors", "flipped"), ("scheduler.pt", "empty")])
def test_a_run_resumes_from_the_newest_intact_checkpoint(
    recipe: Recipe, unbroken: Path, after_12_steps: Path, tmp_path: Path, name: str, how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    staging = shutil.copytree(after_12_steps, beside(tmp_path / "run", "partial"))
    damage(staging / "trainer/checkpoint-12" / name, how)
    caplog.set_level("INFO", "ftx")
    train(recipe, tmp_path / "run", resume=True)
    said = caplog.text
    assert f"checkpoint-12 is discarded, as it is damaged: {name} of checkpoint-12\n" in said
    assert "Resuming after 10 steps\n" in said
    assert_same_end(tmp_path / "run", unbroken)


def test_a_run_with_only_damaged_checkpoints_is_refused_and_kept(
    recipe: Recipe, after_12_steps: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    staging = shutil.copytree(after_12_steps, beside(tmp_path / "run", "partial"))
    for checkpoint in (staging / "trainer").glob("checkpoint-*"):
        damage(checkpoint / "optimizer.pt", "cut")
    words = r"every checkpoint is damaged: optimizer\.pt of checkpoint-12; .* of checkpoint-10; start over with --over"
    with pytest.raises(OutputError, match=words):
        train(recipe, tmp_path / "run", resume=True)
    assert "--resume" not in caplog.text
    assert unfinished_steps(staging) == 12


@pytest.mark.parametrize(
    "name", ["checkpoint/tokenizer.json", "checkpoint/config.json", "metrics.json", "training.svg"]
)
def test_a_disk_that_is_full_at_the_end_loses_no_work(
    recipe: Recipe, unbroken: Path, after_all_steps: Path, tmp_path: Path, name: str
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    output, staging = tmp_path / "run", beside(tmp_path / "run", "partial")
    shutil.copytree(after_all_steps, staging)
    (staging / name).parent.mkdir(exist_ok=True)
    (staging / name).symlink_to("/dev/full")
    words = "No space left on device.*; free some space and continue with --resume: 54 steps are done and kept"
    with pytest.raises(OutputError, match=words):
        train(recipe, output, resume=True)
    (staging / name).unlink()
    train(recipe, output, resume=True)
    assert_same_end(output, unbroken)


def test_a_disk_that_fills_up_keeps_the_older_checkpoints(
    recipe: Recipe, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    plain, saves = torch.save, []

    def full(*arguments: Any, **keywords: Any) -> None:
        saves.append(1)
        if len(saves) > 10:  # three files a checkpoint
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        plain(*arguments, **keywords)

    output = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(OutputError, match=r"file write failed.*--resume"):
        patch.setattr(torch, "save", full)
        train(recipe, output)
    assert unfinished_steps(beside(output, "partial")) > 0
    train(recipe, output, resume=True)
    assert_same_end(output, unbroken)


def test_the_order_of_the_rows_depends_on_seed_and_epoch_alone() -> None:
    import torch

    sampler = EpochSampler(8, list(range(100)), seed=3)
    first = list(sampler)
    torch.rand(5)
    assert list(sampler) == first
    assert sorted(first) == list(range(100))
    sampler.set_epoch(1)
    assert list(sampler) != first
    other = EpochSampler(8, list(range(100)), seed=4)
    assert list(other) != first
