"""Checkpoints that a kill can't break: written beside, marked complete, renamed into place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.trainer_pt_utils import LengthGroupedSampler

from ftx.errors import OutputError
from ftx.finetune.trainer.unfinished import COMPLETE, damage, steps
from ftx.output.record import sync, write_record

__all__ = ["CrashSafeTrainer"]

# The newest, and one more in case its disk block goes bad.
KEPT = 2


class CrashSafeTrainer(transformers.Trainer):  # type: ignore[misc]
    """The Hugging Face Trainer with checkpoints that are whole or not there, and rows in an order that can be repeated.

    The Trainer writes a checkpoint file by file into its place, so that a kill leaves a broken newest one; and it draws
    the order of the rows from the global random state, so that a resumed epoch would see them in another order.
    """

    saving_to: Path | None = None
    progress: Any = None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.saving_to or self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        home = Path(self.args.output_dir)
        self.saving_to = home / "saving"
        try:
            if self.args.should_save:
                shutil.rmtree(self.saving_to, ignore_errors=True)
            # Each process writes its random state into the folder: not before it is clear, and all before it is moved.
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                name = f"checkpoint-{self.state.global_step}"
                write_record(self.saving_to / name, COMPLETE)
                shutil.rmtree(home / name, ignore_errors=True)
                (self.saving_to / name).rename(home / name)
                sync(home)
                drop_older(home, self.state.best_global_step)
            self.accelerator.wait_for_everyone()
        finally:
            self.saving_to = None

    def _load_best_model(self) -> None:
        # It was recorded where it was written, before it was renamed; or by a run that stood elsewhere.
        best = Path(self.args.output_dir) / f"checkpoint-{self.state.best_global_step}"
        if found := damage(best):
            raise OutputError(f"The best checkpoint is damaged: {found}; begin anew with --overwrite")
        self.state.best_model_checkpoint = str(best)
        super()._load_best_model()

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # The set that comes as an argument has lost the columns that the model does not take.
        # Rows of like length for a whole step, on all devices: as many processes as there are see one process's order.
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return EpochSampler(batch_size, self.train_dataset["length"], self.args.seed)


class EpochSampler(LengthGroupedSampler):  # type: ignore[misc]
    """Rows of like length together, in an order that depends on the seed and the epoch alone."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths), generator=torch.Generator())
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, as the Trainer does before it iterates."""
        self.epoch = epoch

    def __iter__(self) -> Any:
        # Seeds of neighbouring runs and epochs must not meet: seed 1, epoch 0 is not seed 0, epoch 1.
        self.generator.manual_seed((self.seed << 20) + self.epoch)
        return super().__iter__()


def drop_older(home: Path, best_step: int | None) -> None:
    """Keep the newest checkpoints and the best one."""
    for path in sorted(home.glob("checkpoint-*"), key=steps)[:-KEPT]:
        if steps(path) != best_step:
            shutil.rmtree(path, ignore_errors=True)
