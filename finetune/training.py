"""Fine-tune a classifier with the Hugging Face Trainer and write the run folder."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from ftx.finetune.data.profile import profile
from ftx.finetune.recipe import Recipe
from ftx.finetune.report import TrainingReport
from ftx.finetune.run_files import (
    KIND,
    begun_recipe,
    cut_history,
    finished_report,
    mean_loss,
    write_recipe,
    write_run,
)
from ftx.finetune.trainer.processes import agreed, is_first_process, say
from ftx.finetune.trainer.unfinished import TRAINER_FOLDER, newest_sound_checkpoint, steps, unfinished_steps
from ftx.output import FinishedError, KeptError, explained, staged_folder, staging_of

__all__ = ["TrainingReport", "train"]


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
    with ExitStack() as place:
        staging = enter(place, output, overwrite=overwrite, resume=resume)
        report = fine_tune(recipe, output, staging)
    agreed(None)  # nobody goes on before the first process has put the run into its place
    return report


def enter(place: ExitStack, output: Path, *, overwrite: bool, resume: bool) -> Path | None:
    """Give the folder to write the run into, which only the first process makes and puts into its place.

    Returns:
        It, or None where the run is finished.
    """
    if not is_first_process():
        place.enter_context(explained(output, within=staging_of(output)))
        return staging_of(output)
    folder = staged_folder(output, kind=KIND, overwrite=overwrite, resume=resume, resumable=unfinished_steps)
    try:
        return place.enter_context(folder)
    except FinishedError:
        return None


def fine_tune(recipe: Recipe, output: Path, staging: Path | None) -> TrainingReport:
    """Write a run into its staging folder; where there is none, because it is finished, say how it went."""
    import huggingface_hub
    import torch
    import transformers
    from accelerate import PartialState

    from ftx.finetune.data.labelled_text import load_labelled_text
    from ftx.finetune.model.hub import load_model, load_tokenizer
    from ftx.finetune.model.tokens import check_max_length, tokenise
    from ftx.finetune.trainer.setup import build_trainer, score_rows

    transformers.logging.set_verbosity_error()
    huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    processes = PartialState()
    if agreed(staging is None) or staging is None:
        say(f"{output} is finished: nothing is left to do")
        return finished_report(output, recipe)
    scratch, history_file = staging / TRAINER_FOLDER, staging / "history.jsonl"
    checkpoint_to_resume = agreed(sound_checkpoint(output, scratch) if is_first_process() else None)
    accelerator = torch.accelerator.current_accelerator()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else accelerator.type if accelerator else "cpu"
    with processes.local_main_process_first():  # it fills the caches
        data = load_labelled_text(recipe)
        tokenizer = load_tokenizer(recipe.model)
        transformers.set_seed(recipe.seed)  # the head's new weights
        model = load_model(recipe.model, data.head)
    head = data.head
    check_max_length(recipe, model.config, tokenizer)
    model.config.text_pair = bool(recipe.text_pair_column)
    vars(model.config).pop("thresholds", None)  # those of the head that was there before
    tokenizer.model_max_length = recipe.max_length  # whoever loads the checkpoint cuts texts as training did
    train_set, eval_set = (tokenise(rows, tokenizer, recipe.max_length) for rows in (data.train, data.held_out))
    look = profile(data, [*train_set["token_count"], *eval_set["token_count"]], recipe.max_length)
    say(look.to_text())

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
    with closing(trainer.progress):
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
        trainer.save_model(str(staging / "checkpoint"))  # the tokenizer too
        write_run(staging, report, data)
    return report


def sound_checkpoint(output: Path, scratch: Path) -> Path | None:
    """Find the checkpoint to resume from, and drop newer ones that are damaged.

    Raises:
        OutputError: All are damaged.
    """
    found, damaged = newest_sound_checkpoint(scratch)
    if damaged and not found:
        raise KeptError(
            f"{output} can't be resumed, for every checkpoint is damaged: {'; '.join(damaged.values())}; "
            "begin anew with --overwrite"
        )
    for name, what in damaged.items():
        say(f"{name} is left out, for it is damaged: {what}")
        shutil.rmtree(scratch / name)
    return found


def several(count: int) -> str:
    """Say that several processes train together."""
    return f", {count} processes" if count > 1 else ""


def precision_for(recipe: Recipe, model: Any, tokenizer: Any, train_set: Any) -> tuple[str, str]:
    """Choose the number format, and say why."""
    import torch

    from ftx.finetune.model.bf16_trial import STEPS, remembered, try_bf16
    from ftx.finetune.model.precision import choose_precision
    from ftx.finetune.trainer.setup import collated, on_cpu

    def trial() -> Any:
        batch_size = recipe.train_batch_size
        return remembered(
            model, batch_size, lambda: try_bf16(model, collated(train_set, tokenizer, model, batch_size, STEPS + 1))
        )

    cuda = torch.cuda.is_available()
    cuda_bf16 = cuda and torch.cuda.is_bf16_supported()
    return choose_precision(recipe.precision, cuda=cuda, cuda_bf16=cuda_bf16, trial=trial if on_cpu() else None)
