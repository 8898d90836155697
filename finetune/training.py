"""Fine-tune a classifier with the Hugging Face Trainer and write the run folder."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftx.errors import RecipeError
from ftx.finetune.recipe import Recipe
from ftx.finetune.report import TrainingReport
from ftx.finetune.run_files import KIND, begin_run, finished_report, resumed_recipe, write_run
from ftx.finetune.trainer.processes import agreed, is_first_process, join_processes, say
from ftx.finetune.trainer.unfinished import checkpoint_to_resume, unfinished
from ftx.output import FinishedError, explained, staged_folder, staging_of

if TYPE_CHECKING:
    from ftx.finetune.data.labelled_text import LabelledText
    from ftx.finetune.distillation.teaching import Lesson
    from ftx.finetune.distillation.verdict import DistillationReport

__all__ = ["TrainingReport", "distill", "train"]


def train(recipe: Recipe, output: str | Path, *, overwrite: bool = False, resume: bool = False) -> TrainingReport:
    """Fine-tune a model as a recipe says.

    Several processes started by `torchrun` or `accelerate launch` train together: the first one writes, and each
    returns the same report.

    Args:
        recipe: What to train, on what data, and how.
        output: The run folder to write; see docs/training.md for what it holds.
        overwrite: Whether to replace an existing run.
        resume: Whether to resume an unfinished run from its newest checkpoint, if there is one.

    Returns:
        The metrics on the held-out rows, and what training took.

    Raises:
        RecipeError, DataError, ModelError, FetchError, OutputError: See there.
    """
    output = Path(output)
    with ExitStack() as place:
        staging = enter(place, output, overwrite=overwrite, resume=resume)
        join_processes()
        if agreed(staging is None) or staging is None:
            say(f"{output} is finished: nothing is left to do")
            report = finished_report(output, recipe)
        else:
            report = fine_tune(recipe, output, staging)
    agreed(None)  # no process returns before the first one has put the run into its place
    return report


def enter(place: ExitStack, output: Path, *, overwrite: bool, resume: bool) -> Path | None:
    """Return the folder to write the run into, which only the first process creates and puts into its place.

    Returns:
        The folder, or None where the run is finished.
    """
    if not is_first_process():
        place.enter_context(explained(output, within=staging_of(output)))
        return staging_of(output)
    folder = staged_folder(output, kind=KIND, overwrite=overwrite, resume=resume, resumable=unfinished)
    try:
        return place.enter_context(folder)
    except FinishedError:
        return None


def fine_tune(recipe: Recipe, output: Path, staging: Path) -> TrainingReport:
    """Train, evaluate on the held-out rows, and write the run into its staging folder."""
    import huggingface_hub
    import transformers

    from ftx.finetune.data.labelled_text import load_labelled_text
    from ftx.finetune.data.profile import profile
    from ftx.finetune.distillation.teaching import prepare
    from ftx.finetune.model.hub import load_pretrained
    from ftx.finetune.model.precision import device_name, precision_for
    from ftx.finetune.model.tokens import check_max_length, check_token_types, tokenise
    from ftx.finetune.trainer.fitting import evaluate_held_out, fit
    from ftx.finetune.trainer.setup import build_trainer

    transformers.logging.set_verbosity_error()
    huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    processes = join_processes()
    checkpoint = agreed(checkpoint_to_resume(output, staging) if is_first_process() else None)
    with processes.local_main_process_first():  # it fills the caches
        data = load_labelled_text(recipe)
        pretrained = load_pretrained(recipe, data.head)
    check_max_length(recipe, pretrained)
    train_set, eval_set = (
        tokenise(rows, pretrained.tokenizer, recipe.max_length) for rows in (data.train, data.held_out)
    )
    check_token_types(train_set, pretrained)
    look = profile(data, [*train_set["token_count"], *eval_set["token_count"]], recipe.max_length)
    say(look.to_text())
    warn_of_few_steps(recipe, len(data.train), processes.num_processes)

    if checkpoint:
        recipe = resumed_recipe(staging / "recipe.toml", recipe)
    precision = agreed(is_first_process() and precision_for(recipe, pretrained, train_set))
    several = f", {processes.num_processes} processes" if processes.num_processes > 1 else ""
    what = "Distilling" if recipe.distill else "Training"
    say(f"{what} {recipe.model} in {precision.name} ({precision.reason}) on {device_name()}{several}")
    lesson = None
    if recipe.distill:
        lesson = prepare(recipe, recipe.distill, pretrained, data, train_set, precision=precision.name, staging=staging)
        recipe, pretrained, train_set = lesson.recipe, lesson.student, lesson.train_set
        if lesson.trimmed:
            eval_set = tokenise(data.held_out, pretrained.tokenizer, recipe.max_length)
    if is_first_process():
        begin_run(staging, recipe, pretrained, precision.name, checkpoint)
    trainer = build_trainer(
        recipe,
        pretrained,
        train_set,
        eval_set,
        precision=precision.name,
        staging=staging,
        loss=lesson.loss if lesson else None,
    )
    fitted = fit(trainer, checkpoint)
    held_out = evaluate_held_out(trainer, eval_set, data.head, recipe.seed)
    report = TrainingReport(
        run=str(output),
        problem_type=data.head.problem_type,
        labels=data.head.labels,
        train_rows=len(data.train),
        eval_rows=len(data.held_out),
        steps=fitted.steps,
        train_sec=fitted.train_sec,
        train_samples_per_sec=fitted.train_samples_per_sec,
        device=device_name(),
        processes=processes.num_processes,
        precision=precision.name,
        precision_reason=precision.reason,
        train_loss=fitted.train_loss,
        eval_loss=held_out.eval_loss,
        metrics=held_out.metrics,
        scores=held_out.scores,
        thresholds=held_out.thresholds,
        data=look,
    )
    if report.weakness:
        say(f"WARNING: {report.weakness}")
    if lesson:
        write_verdict(lesson, data, report, staging)
    if is_first_process():
        trainer.save_model(str(staging / "checkpoint"))  # with the tokenizer
        write_run(staging, report, data)
    return report


def write_verdict(lesson: Lesson, data: LabelledText, report: TrainingReport, staging: Path) -> None:
    """Compare a student with its teacher on the held-out rows, and write distillation.json."""
    from ftx.finetune.distillation.verdict import judge
    from ftx.finetune.evaluation import trainer_logits
    from ftx.lineage import DISTILLATION_FILE

    student, texts = lesson.student, [text for text, _ in data.held_out]
    found = judge(
        lesson,
        trainer_logits(student.model, student.tokenizer, texts, lesson.recipe.max_length),
        np.asarray([target for _, target in data.held_out]),
        report.thresholds,
        run=report.run,
        train_rows=report.train_rows,
    )
    if found.failed:
        say(f"WARNING: the student loses {found.loss_points:.2f} points of {found.measure}, more than it may")
    if is_first_process():
        (staging / DISTILLATION_FILE).write_text(json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n")


def distill(recipe: Recipe, output: str | Path, *, overwrite: bool = False, resume: bool = False) -> DistillationReport:
    """Distil a model as a recipe with a `[distill]` section says: `train`, and what the student lost.

    Args:
        recipe: Its model is the teacher.
        output: The student's run folder.
        overwrite: Whether to replace an existing run.
        resume: Whether to resume an unfinished run.

    Raises:
        RecipeError, DataError, ModelError, FetchError, OutputError: See there.
    """
    from ftx.finetune.distillation.verdict import read_report

    if recipe.distill is None:
        raise RecipeError("The recipe has no [distill] section, which says how many layers the student is to have")
    train(recipe, output, overwrite=overwrite, resume=resume)
    found: DistillationReport = agreed(read_report(Path(output)) if is_first_process() else None)
    return found


def warn_of_few_steps(recipe: Recipe, rows: int, processes: int) -> None:
    """Warn where a batch holds all rows, so that an epoch is a single step."""
    at_once = recipe.train_batch_size * recipe.gradient_accumulation_steps * processes
    if at_once >= rows > 1 and not recipe.max_steps:
        say(
            f"WARNING: a step takes {at_once} texts, and there are {rows} to train on: an epoch is one step, too few "
            "to learn from; 8 to 64 is usual: set it with --batch-size"
        )
