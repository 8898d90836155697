"""Fine-tune a classifier with the Hugging Face Trainer and write the run folder."""

from __future__ import annotations

import json
import platform
import shutil
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from ftx.errors import OutputError, RecipeError
from ftx.finetune.data_profile import DataProfile, profile
from ftx.finetune.head import Head
from ftx.finetune.labelled_text import LabelledText
from ftx.finetune.processes import agreed, is_first_process, say
from ftx.finetune.recipe import Recipe, load_recipe
from ftx.finetune.scores import Scores
from ftx.finetune.unfinished import TRAINER_FOLDER, newest_checkpoint, steps, unfinished_steps
from ftx.heldout import HELD_OUT_FILE, write_held_out
from ftx.output import check_free, staged_folder, staging_of

__all__ = ["TrainingReport", "train"]

# What a run folder holds; `onnx` and its staging too, because an export of an older checkpoint must not outlive it.
OWNED = {
    "checkpoint", "recipe.toml", "metrics.json", "history.jsonl", "training.svg", "bad_rows.jsonl", HELD_OUT_FILE,
    "onnx", ".onnx.partial", ".onnx.old",
}  # fmt: skip
VERSIONED = ("ftx-toolkit", "torch", "transformers", "datasets", "tokenizers", "accelerate")


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """How a run went; `RUN/metrics.json`.

    Attributes:
        run: The run folder.
        problem_type: The kind of head.
        labels: Label names.
        train_rows: Rows learnt from.
        eval_rows: Rows held out.
        steps: Optimiser steps.
        train_sec: Seconds of training, without loading, since the start or the resumption.
        train_samples_per_sec: Rows a second while training.
        device: `cpu`, or the GPU's name.
        processes: Processes that trained together.
        precision: fp32, fp16 or bf16.
        precision_reason: Why that one.
        train_loss: Mean loss over the logged steps.
        eval_loss: Loss on the held-out rows.
        metrics: On the held-out rows, by the names in `metrics.METRICS`; in metrics.json they stand beside the others.
        scores: What stands behind them.
        thresholds: For multi-label: the probability from which each label is given, tuned on the held-out rows.
        data: What the data is like.
    """

    run: str
    problem_type: str
    labels: list[str]
    train_rows: int
    eval_rows: int
    steps: int
    train_sec: float
    train_samples_per_sec: float
    device: str
    processes: int
    precision: str
    precision_reason: str
    train_loss: float
    eval_loss: float
    metrics: dict[str, float]
    scores: Scores
    thresholds: dict[str, float]
    data: DataProfile

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values, the metrics beside the rest."""
        values = asdict(self)
        return {**values, **values.pop("metrics")}


def train(recipe: Recipe, output: str | Path, *, overwrite: bool = False, resume: bool = False) -> TrainingReport:
    """Fine-tune by a recipe.

    Several processes that `torchrun` or `accelerate launch` started train together: the first one writes, and each
    returns the same report.

    Args:
        recipe: What to train, on what, and how.
        output: The run folder to write; see README for what it holds.
        overwrite: Whether a run that is there may be replaced.
        resume: Whether to go on from the newest checkpoint of an unfinished run, if there is one.

    Returns:
        The metrics on the held-out rows, and what the training took.

    Raises:
        RecipeError, DataError, ModelError, FetchError, OutputError: See there.
    """
    output = Path(output)
    if is_first_process():
        check_free(output, overwrite=overwrite, what="run", resume=resume, resumable=unfinished_steps)

    import huggingface_hub
    import torch
    import transformers
    from accelerate import PartialState
    from safetensors import SafetensorError

    from ftx.finetune.hub import load_model, load_tokenizer
    from ftx.finetune.labelled_text import load_labelled_text
    from ftx.finetune.trainer import build_trainer, score_rows, tokenise

    transformers.logging.set_verbosity_error()
    huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    processes = PartialState()
    accelerator = torch.accelerator.current_accelerator()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else accelerator.type if accelerator else "cpu"
    with processes.local_main_process_first():  # it fills the caches
        data = load_labelled_text(recipe)
        tokenizer = load_tokenizer(recipe.model)
        transformers.set_seed(recipe.seed)  # the head's new weights
        model = load_model(recipe.model, data.head)
    head = data.head
    model.config.text_pair = bool(recipe.text_pair_column)
    vars(model.config).pop("thresholds", None)  # those of the head that was there before
    tokenizer.model_max_length = recipe.max_length  # whoever loads the checkpoint cuts texts as training did
    train_set, eval_set = (tokenise(rows, tokenizer, recipe.max_length) for rows in (data.train, data.held_out))
    look = profile(data, [*train_set["token_count"], *eval_set["token_count"]], recipe.max_length)
    say(look.to_text())

    with run_folder(output, overwrite=overwrite, resume=resume) as staging:
        processes.wait_for_everyone()
        scratch, history_file = staging / TRAINER_FOLDER, staging / "history.jsonl"
        checkpoint_to_resume = newest_checkpoint(scratch)
        if checkpoint_to_resume:
            recipe = begun_recipe(staging / "recipe.toml", recipe)
        precision, why = agreed(is_first_process() and precision_for(recipe, model, tokenizer, train_set))
        say(f"Training {recipe.model} in {precision} ({why}) on {device}{several(processes.num_processes)}")
        if is_first_process():
            if checkpoint_to_resume:
                cut_history(history_file, steps(checkpoint_to_resume))
                say(f"Resuming after {steps(checkpoint_to_resume)} steps")
            write_recipe(staging / "recipe.toml", recipe, head, precision, model)
        trainer = build_trainer(
            recipe,
            head=head,
            model=model,
            tokenizer=tokenizer,
            train_set=train_set,
            eval_set=eval_set,
            precision=precision,
            scratch=scratch,
            history_file=history_file,
        )
        began = time.perf_counter()
        outcome = trainer.train(resume_from_checkpoint=checkpoint_to_resume and str(checkpoint_to_resume))
        train_sec = time.perf_counter() - began
        held_out = score_rows(trainer, eval_set, head, recipe.seed, tune=True)
        trainer.log(held_out.logged)
        if held_out.thresholds:
            model.config.thresholds = held_out.thresholds
        report = TrainingReport(
            run=str(output),
            problem_type=head.problem_type,
            labels=head.labels,
            train_rows=len(data.train),
            eval_rows=len(data.held_out),
            steps=outcome.global_step,
            train_sec=train_sec,
            train_samples_per_sec=outcome.metrics["train_samples_per_second"],
            device=device,
            processes=processes.num_processes,
            precision=precision,
            precision_reason=why,
            train_loss=mean_loss(trainer.state.log_history, outcome.training_loss),
            eval_loss=held_out.loss,
            metrics=held_out.metrics,
            scores=held_out.scores,
            thresholds=held_out.thresholds,
            data=look,
        )
        if is_first_process():
            try:
                trainer.save_model(str(staging / "checkpoint"))  # the tokenizer too
            except SafetensorError as error:  # a full disk, for one, is no OSError there
                raise OutputError(
                    f"{output} could not be written: {error}; make room, or choose another --output"
                ) from error
            write_run(staging, report, data)
            shutil.rmtree(scratch)  # last: until here a killed run can be resumed
    processes.wait_for_everyone()
    return report


def run_folder(output: Path, *, overwrite: bool, resume: bool) -> AbstractContextManager[Path]:
    """Give the folder to write the run into; only the first process makes it and puts it into its place."""
    if not is_first_process():
        return nullcontext(staging_of(output))
    return staged_folder(
        output, overwrite=overwrite, owned=OWNED, what="run", resume=resume, resumable=unfinished_steps
    )


def several(count: int) -> str:
    """Say that several processes train together."""
    return f", {count} processes" if count > 1 else ""


def precision_for(recipe: Recipe, model: Any, tokenizer: Any, train_set: Any) -> tuple[str, str]:
    """Choose the number format, and say why."""
    import torch

    from ftx.finetune.bf16_trial import STEPS, remembered, try_bf16
    from ftx.finetune.precision import choose_precision
    from ftx.finetune.trainer import collated, on_cpu

    def trial() -> Any:
        batch_size = recipe.train_batch_size
        return remembered(
            model, batch_size, lambda: try_bf16(model, collated(train_set, tokenizer, model, batch_size, STEPS + 1))
        )

    cuda = torch.cuda.is_available()
    cuda_bf16 = cuda and torch.cuda.is_bf16_supported()
    return choose_precision(recipe.precision, cuda=cuda, cuda_bf16=cuda_bf16, trial=trial if on_cpu() else None)


def write_run(staging: Path, report: TrainingReport, data: LabelledText) -> None:
    """Write what a run folder holds beside checkpoint, recipe and history."""
    from ftx.finetune.curves import draw_run

    (staging / "checkpoint/training_args.bin").unlink()  # a pickle, and recipe.toml says it all
    data.bad_rows.write(staging / "bad_rows.jsonl")
    write_held_out(staging / HELD_OUT_FILE, ((text, data.head.label(target)) for text, target in data.held_out))
    (staging / "metrics.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    draw_run(staging / "history.jsonl", report.labels, report.scores, staging / "training.svg")


def begun_recipe(path: Path, recipe: Recipe) -> Recipe:
    """Check that an unfinished run was begun with the same values, and give the recipe with what it found out then.

    Raises:
        RecipeError: It was not.
    """
    begun = load_recipe(str(path))
    found_out = ("labels", "problem_type", "precision")
    recipe = replace(
        recipe, **{name: getattr(begun, name) for name in found_out if getattr(recipe, name) in ((), "auto")}
    )
    was, now = begun.to_dict(), recipe.to_dict()
    if differing := [name for name in now if was[name] != now[name]]:
        values = ", ".join(f"{name} = {was[name]!r}" for name in differing)
        raise RecipeError(
            f"The unfinished run has {values}: resume it with the same values, or begin anew with --overwrite"
        )
    return recipe


def cut_history(path: Path, last_step: int) -> None:
    """Drop the lines behind the step that is resumed after, and the last look behind the end: they come again."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        if not line.endswith("\n") or json.loads(line)["step"] > last_step or "train_runtime" in json.loads(line):
            break
        kept.append(line)
    path.write_text("".join(kept), encoding="utf-8")


def mean_loss(lines: list[dict[str, Any]], unlogged: float) -> float:
    """Average the losses of a history; each stands for as many steps as lie between it and the one before.

    The Trainer's own mean, `unlogged`, counts from a resumption on: it serves where no loss was logged.
    """
    points = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    if not points:
        return unlogged
    weights = [step - before for (step, _), before in zip(points, [0, *(step for step, _ in points)], strict=False)]
    return float(sum(w * loss for w, (_, loss) in zip(weights, points, strict=True)) / max(1, sum(weights)))


def write_recipe(path: Path, recipe: Recipe, head: Head, precision: str, model: Any) -> None:
    """Write every value as it was used, with the versions that used it: `ftx train --recipe FILE` does it again."""
    import tomli_w

    found_out = {"labels": head.labels, "problem_type": head.problem_type, "precision": precision}
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONED}
    if commit := getattr(model.config, "_commit_hash", None):
        versions["model_commit"] = commit
    path.write_text(tomli_w.dumps({**recipe.to_dict(), **found_out, "versions": versions}), encoding="utf-8")
