"""Read and write the files of a run folder, except its checkpoint."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from ftx.errors import OutputError, RecipeError
from ftx.finetune.data.labelled_text import LabelledText
from ftx.finetune.model.hub import Pretrained
from ftx.finetune.recipe import Recipe, load_recipe
from ftx.finetune.report import TrainingReport
from ftx.finetune.trainer.processes import say
from ftx.finetune.trainer.unfinished import TRAINER_FOLDER, step_of
from ftx.heldout import HELD_OUT_FILE, write_held_out
from ftx.output import Kind
from ftx.output.record import replace_text

__all__ = ["KIND", "begin_run", "finished_report", "resumed_recipe", "write_run"]

# What transformers saves of a model and of the tokenizers of BERT and its kin.
CHECKPOINT = (
    "config.json", "generation_config.json", "model.safetensors", "model-*.safetensors", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "spm.model", "sentencepiece.bpe.model", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip
OWNED = {
    "recipe.toml", "metrics.json", "distillation.json", "history.jsonl", "training.svg", "bad_rows.jsonl",
    HELD_OUT_FILE,
    *(f"checkpoint/{name}" for name in CHECKPOINT),
}  # fmt: skip
KIND = Kind(
    what="run",
    owned=frozenset(OWNED),
    mark="recipe.toml",
    scratch=TRAINER_FOLDER,
    # An export of an older checkpoint must not outlive it.
    inner={"onnx": Kind(what="export", owned=frozenset(), mark="parity.json")},
)
VERSIONED = ("ftx-toolkit", "torch", "transformers", "datasets", "tokenizers", "accelerate")


def begin_run(staging: Path, recipe: Recipe, pretrained: Pretrained, precision: str, checkpoint: Path | None) -> None:
    """Write recipe.toml, and truncate the history of a resumed run to its checkpoint, if it has one."""
    if checkpoint:
        truncate_history(staging / "history.jsonl", step_of(checkpoint))
        say(f"Resuming after {step_of(checkpoint)} steps")
    else:
        (staging / "history.jsonl").unlink(missing_ok=True)
    write_recipe(staging / "recipe.toml", recipe, pretrained, precision)


def write_recipe(path: Path, recipe: Recipe, pretrained: Pretrained, precision: str) -> None:
    """Write every value as it is used, with the versions of the libraries: `ftx train --recipe FILE` repeats the run.

    Paths are absolute, so that it can be repeated from any folder.
    """
    import tomli_w

    head = pretrained.head
    resolved = {"labels": head.labels, "problem_type": head.problem_type, "precision": precision}
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONED}
    if commit := getattr(pretrained.model.config, "_commit_hash", None):
        versions["model_commit"] = commit
    replace_text(path, tomli_w.dumps({**recipe.anchored().to_dict(), **resolved, "versions": versions}))


def truncate_history(path: Path, last_step: int) -> None:
    """Drop the lines after a step, and the last evaluation of a run that reached its end: they are written again."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        if not line.endswith("\n") or json.loads(line)["step"] > last_step or "train_runtime" in json.loads(line):
            break
        kept.append(line)
    replace_text(path, "".join(kept))


def write_run(staging: Path, report: TrainingReport, data: LabelledText) -> None:
    """Write the files of a finished run, except checkpoint, recipe and history."""
    from ftx.finetune.scoring.curves import draw_run

    (staging / "checkpoint/training_args.bin").unlink()  # a pickle; recipe.toml holds the values
    data.bad_rows.write(staging / "bad_rows.jsonl")
    write_held_out(staging / HELD_OUT_FILE, ((text, data.head.label(target)) for text, target in data.held_out))
    (staging / "metrics.json").write_text(json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    draw_run(staging / "history.jsonl", report.labels, report.scores, staging / "training.svg")


def resumed_recipe(path: Path, recipe: Recipe, what: str = "unfinished run") -> Recipe:
    """Check that a run was begun with the same recipe, and return it with the values that were resolved then.

    Raises:
        RecipeError: Another value was given then.
    """
    begun = load_recipe(str(path))
    resolved = ("labels", "problem_type", "precision")
    recipe = replace(
        recipe, **{name: getattr(begun, name) for name in resolved if getattr(recipe, name) in ((), "auto")}
    )
    if begun.distill and recipe.distill and recipe.distill.layers == begun.distill.layers and not recipe.distill.keep:
        recipe = replace(recipe, distill=replace(recipe.distill, keep=begun.distill.keep))
    was, now = begun.to_dict(), recipe.anchored().to_dict()
    if differing := [name for name in {**was, **now} if was.get(name) != now.get(name)]:
        values = ", ".join(f"{name} = {was.get(name)!r}" for name in differing)
        raise RecipeError(f"The {what} has {values}: resume it with the same values, or start over with --overwrite")
    return recipe


def finished_report(run: Path, recipe: Recipe) -> TrainingReport:
    """Read the report of a finished run.

    Raises:
        RecipeError: The run has another recipe.
        OutputError: The report can't be read.
    """
    resumed_recipe(run / "recipe.toml", recipe, "finished run")
    try:
        return TrainingReport.from_dict(json.loads((run / "metrics.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{run / 'metrics.json'} can't be read: {error}; start over with --overwrite") from error
