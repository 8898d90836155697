"""Write checkpoints safely: into a folder of their own, marked as complete, then renamed into place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.trainer_pt_utils import LengthGroupedSampler

from ftx.errors import OutputError
from ftx.finetune.trainer.unfinished import COMPLETE, damage, step_of
from ftx.output.record import sync, write_record

__all__ = ["CrashSafeTrainer"]

# The newest one, and one more in case the newest gets damaged.
KEPT = 2


class CrashSafeTrainer(transformers.Trainer):  # type: ignore[misc]
    """The Hugging Face Trainer with atomic checkpoints and a reproducible order of the rows.

    The Trainer writes the files of a checkpoint in place, so that a kill leaves a broken one; and it draws the order of
    the rows from the global random state, so that a resumed epoch would see them in another order.
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
            # Each process writes its random state into the folder, after it is cleared and before it is moved.
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
        # The recorded path is that before the rename, or that of a run that has been moved since.
        best = Path(self.args.output_dir) / f"checkpoint-{self.state.best_global_step}"
        if found := damage(best):
            raise OutputError(f"The best checkpoint is damaged: {found}; start over with --overwrite")
        self.state.best_model_checkpoint = str(best)
        super()._load_best_model()

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # The train_dataset passed here lacks `length`, which is no input of the model.
        # Rows are grouped by length per optimiser step, over all devices, whose number then does not change the order.
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return EpochSampler(batch_size, self.train_dataset["length"], self.args.seed)


class EpochSampler(LengthGroupedSampler):  # type: ignore[misc]
    """Group rows of similar length, in an order that depends only on the seed and the epoch."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths), generator=torch.Generator())
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this before it iterates."""
        self.epoch = epoch

    def __iter__(self) -> Any:
        # Seed 1 in epoch 0 must differ from seed 0 in epoch 1.
        self.generator.manual_seed((self.seed << 20) + self.epoch)
        return super().__iter__()


def drop_older(home: Path, best_step: int | None) -> None:
    """Keep the newest checkpoints and the best one."""
    for path in sorted(home.glob("checkpoint-*"), key=step_of)[:-KEPT]:
        if step_of(path) != best_step:
            shutil.rmtree(path, ignore_errors=True)
