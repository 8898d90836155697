"""Fine-tune a classifier with the Hugging Face Trainer and write the run folder."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ftx.errors import OutputError, RecipeError
from ftx.finetune.data_profile import DataProfile, profile
from ftx.finetune.recipe import Recipe, load_recipe
from ftx.finetune.scores import Scores, score
from ftx.finetune.unfinished import TRAINER_FOLDER, newest_checkpoint, steps, unfinished_steps
from ftx.heldout import HELD_OUT_FILE, write_held_out
from ftx.output import check_free, staged_folder

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
        labels: Label names.
        train_rows: Rows learnt from.
        eval_rows: Rows held out.
        steps: Optimiser steps.
        train_sec: Seconds of training, without loading, since the start or the resumption.
        train_samples_per_sec: Rows a second while training.
        device: `cpu`, or the GPU's name.
        precision: fp32, fp16 or bf16.
        precision_reason: Why that one.
        train_loss: Mean loss over the logged steps.
        eval_loss: Loss on the held-out rows.
        accuracy: Share of the held-out rows that come out right.
        f1_macro: Mean F1 over the labels.
        mcc: Matthews correlation coefficient.
        scores: What stands behind the accuracy.
        data: What the data is like.
    """

    run: str
    labels: list[str]
    train_rows: int
    eval_rows: int
    steps: int
    train_sec: float
    train_samples_per_sec: float
    device: str
    precision: str
    precision_reason: str
    train_loss: float
    eval_loss: float
    accuracy: float
    f1_macro: float
    mcc: float
    scores: Scores
    data: DataProfile


def train(recipe: Recipe, output: str | Path, *, overwrite: bool = False, resume: bool = False) -> TrainingReport:
    """Fine-tune by a recipe.

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
    check_free(output, overwrite=overwrite, what="run", resume=resume, resumable=unfinished_steps)

    import huggingface_hub
    import torch
    import transformers
    from safetensors import SafetensorError

    from ftx.finetune.curves import draw_run
    from ftx.finetune.hub import load_model, load_tokenizer
    from ftx.finetune.labelled_text import load_labelled_text
    from ftx.finetune.precision import choose_precision
    from ftx.finetune.trainer import build_trainer, tokenise

    transformers.logging.set_verbosity_error()
    huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.is_available()
    precision, why = choose_precision(recipe.precision, cuda=cuda, cuda_bf16=cuda and torch.cuda.is_bf16_supported())
    accelerator = torch.accelerator.current_accelerator()
    device = torch.cuda.get_device_name() if cuda else accelerator.type if accelerator else "cpu"
    data = load_labelled_text(recipe)
    tokenizer = load_tokenizer(recipe.model)
    tokenizer.model_max_length = recipe.max_length  # whoever loads the checkpoint cuts texts as training did
    train_set, eval_set = (tokenise(rows, tokenizer, recipe.max_length) for rows in (data.train, data.held_out))
    look = profile(data, [*train_set["token_count"], *eval_set["token_count"]], recipe.max_length)
    look.say()
    transformers.set_seed(recipe.seed)  # the head's new weights
    model = load_model(recipe.model, data.labels, "single_label_classification")
    say(f"Training {recipe.model} in {precision} ({why}) on {device}")

    with staged_folder(
        output, overwrite=overwrite, owned=OWNED, what="run", resume=resume, resumable=unfinished_steps
    ) as staging:
        scratch = staging / TRAINER_FOLDER
        checkpoint_to_resume = newest_checkpoint(scratch)
        if checkpoint_to_resume:
            check_same_recipe(staging / "recipe.toml", recipe)
            cut_history(staging / "history.jsonl", steps(checkpoint_to_resume))
            say(f"Resuming after {steps(checkpoint_to_resume)} steps")
        write_recipe(staging / "recipe.toml", recipe, data.labels)
        trainer = build_trainer(
            recipe,
            model=model,
            tokenizer=tokenizer,
            train_set=train_set,
            eval_set=eval_set,
            precision=precision,
            scratch=scratch,
            history_file=staging / "history.jsonl",
        )
        began = time.perf_counter()
        outcome = trainer.train(resume_from_checkpoint=checkpoint_to_resume and str(checkpoint_to_resume))
        train_sec = time.perf_counter() - began
        held_out = trainer.predict(eval_set, metric_key_prefix="eval")
        trainer.log(held_out.metrics)
        details = score(held_out.predictions, held_out.label_ids, data.labels, recipe.seed)

        checkpoint = staging / "checkpoint"
        try:
            trainer.save_model(str(checkpoint))  # the tokenizer too
        except SafetensorError as error:  # a full disk, for one, is no OSError there
            raise OutputError(
                f"{output} could not be written: {error}; make room, or choose another --output"
            ) from error
        (checkpoint / "training_args.bin").unlink()  # a pickle, and recipe.toml says it all
        report = TrainingReport(
            run=str(output),
            labels=data.labels,
            train_rows=len(data.train),
            eval_rows=len(data.held_out),
            steps=outcome.global_step,
            train_sec=train_sec,
            train_samples_per_sec=outcome.metrics["train_samples_per_second"],
            device=device,
            precision=precision,
            precision_reason=why,
            train_loss=mean_loss(staging / "history.jsonl"),
            eval_loss=held_out.metrics["eval_loss"],
            accuracy=held_out.metrics["eval_accuracy"],
            f1_macro=held_out.metrics["eval_f1_macro"],
            mcc=held_out.metrics["eval_mcc"],
            scores=details,
            data=look,
        )
        data.bad_rows.write(staging / "bad_rows.jsonl")
        write_held_out(staging / HELD_OUT_FILE, ((text, data.labels[number]) for text, number in data.held_out))
        (staging / "metrics.json").write_text(json.dumps(asdict(report), indent=2) + "\n")
        draw_run(staging / "history.jsonl", data.labels, details.confusion_matrix, staging / "training.svg")
        shutil.rmtree(scratch)  # last: until here a killed run can be resumed
    return report


def check_same_recipe(path: Path, recipe: Recipe) -> None:
    """Check that an unfinished run was begun with the same values.

    Raises:
        RecipeError: It was not.
    """
    begun = load_recipe(str(path)).to_dict()
    differing = [name for name, value in recipe.to_dict().items() if name != "labels" and begun[name] != value]
    if differing:
        was = ", ".join(f"{name} = {begun[name]!r}" for name in differing)
        raise RecipeError(
            f"The unfinished run has {was}: resume it with the same values, or begin anew with --overwrite"
        )


def cut_history(path: Path, last_step: int) -> None:
    """Drop the lines behind the step that is resumed after, and the last look behind the end: they come again."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        if not line.endswith("\n") or json.loads(line)["step"] > last_step or "train_runtime" in json.loads(line):
            break
        kept.append(line)
    path.write_text("".join(kept), encoding="utf-8")


def mean_loss(path: Path) -> float:
    """Average the losses of a history; each stands for as many steps as lie between it and the one before."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    points = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    weights = [step - before for (step, _), before in zip(points, [0, *(step for step, _ in points)], strict=False)]
    return float(sum(w * loss for w, (_, loss) in zip(weights, points, strict=True)) / max(1, sum(weights)))


def say(line: str) -> None:
    """Tell the user on stderr."""
    print(line, file=sys.stderr)


def write_recipe(path: Path, recipe: Recipe, labels: list[str]) -> None:
    """Write every value as it was used, with the versions that used it: `ftx train --recipe FILE` does it again."""
    import tomli_w

    values: dict[str, Any] = {**recipe.to_dict(), "labels": labels}
    values["versions"] = {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONED}
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
