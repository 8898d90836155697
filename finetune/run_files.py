"""The files of a run folder beside its checkpoint."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from ftx.errors import OutputError, RecipeError
from ftx.finetune.data.labelled_text import LabelledText
from ftx.finetune.model.head import Head
from ftx.finetune.recipe import Recipe, load_recipe
from ftx.finetune.report import TrainingReport
from ftx.finetune.trainer.unfinished import TRAINER_FOLDER
from ftx.heldout import HELD_OUT_FILE, write_held_out
from ftx.output import Kind
from ftx.output.record import replace_text

__all__ = ["KIND", "begun_recipe", "cut_history", "finished_report", "mean_loss", "write_recipe", "write_run"]

# What transformers saves of a model and of the tokenizers of BERT and its kin.
CHECKPOINT = (
    "config.json", "generation_config.json", "model.safetensors", "model-*.safetensors", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "spm.model", "sentencepiece.bpe.model", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip
OWNED = {
    "recipe.toml", "metrics.json", "history.jsonl", "training.svg", "bad_rows.jsonl", HELD_OUT_FILE,
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


def write_run(staging: Path, report: TrainingReport, data: LabelledText) -> None:
    """Write what a run folder holds beside checkpoint, recipe and history."""
    from ftx.finetune.scoring.curves import draw_run

    (staging / "checkpoint/training_args.bin").unlink()  # a pickle, and recipe.toml says it all
    data.bad_rows.write(staging / "bad_rows.jsonl")
    write_held_out(staging / HELD_OUT_FILE, ((text, data.head.label(target)) for text, target in data.held_out))
    (staging / "metrics.json").write_text(json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    draw_run(staging / "history.jsonl", report.labels, report.scores, staging / "training.svg")


def begun_recipe(path: Path, recipe: Recipe, what: str = "unfinished run") -> Recipe:
    """Check that a run was begun with the same values, and give the recipe with what it found out then.

    Raises:
        RecipeError: It was not.
    """
    begun = load_recipe(str(path))
    found_out = ("labels", "problem_type", "precision")
    recipe = replace(
        recipe, **{name: getattr(begun, name) for name in found_out if getattr(recipe, name) in ((), "auto")}
    )
    was, now = begun.to_dict(), recipe.anchored().to_dict()
    if differing := [name for name in now if was[name] != now[name]]:
        values = ", ".join(f"{name} = {was[name]!r}" for name in differing)
        raise RecipeError(f"The {what} has {values}: resume it with the same values, or begin anew with --overwrite")
    return recipe


def finished_report(run: Path, recipe: Recipe) -> TrainingReport:
    """Read how a finished run went, if it is one of this recipe.

    Raises:
        RecipeError: It was begun with other values.
        OutputError: It can't be read.
    """
    begun_recipe(run / "recipe.toml", recipe, "finished run")
    try:
        return TrainingReport.from_dict(json.loads((run / "metrics.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{run / 'metrics.json'} can't be read: {error}; begin anew with --overwrite") from error


def cut_history(path: Path, last_step: int) -> None:
    """Drop the lines behind the step that is resumed after, and the last look behind the end: they come again."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        if not line.endswith("\n") or json.loads(line)["step"] > last_step or "train_runtime" in json.loads(line):
            break
        kept.append(line)
    replace_text(path, "".join(kept))


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
    """Write every value as it was used, with the versions that used it: `ftx train --recipe FILE` does it again.

    Paths are absolute, so that it does from any folder.
    """
    import tomli_w

    found_out = {"labels": head.labels, "problem_type": head.problem_type, "precision": precision}
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONED}
    if commit := getattr(model.config, "_commit_hash", None):
        versions["model_commit"] = commit
    replace_text(path, tomli_w.dumps({**recipe.anchored().to_dict(), **found_out, "versions": versions}))
