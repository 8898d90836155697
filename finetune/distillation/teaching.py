"""Prepare a student's training: what the teacher says of every text, and which of its layers to start from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray

from ftx.errors import DataError
from ftx.finetune.data.labelled_text import LabelledText
from ftx.finetune.data.sentence_split import sentence_key
from ftx.finetune.distillation.choosing import Candidate, Trial, try_layers
from ftx.finetune.distillation.narrowing import narrow
from ftx.finetune.distillation.objective import distilling_loss, taught_rows
from ftx.finetune.distillation.student import count_layers, layer_choices, make_student
from ftx.finetune.distillation.vocabulary import Trimmed, compare_vocabularies, trim_vocabulary
from ftx.finetune.evaluation import trainer_logits
from ftx.finetune.model.hub import Pretrained
from ftx.finetune.model.objective import Loss
from ftx.finetune.model.tokens import tokenise
from ftx.finetune.recipe import Distillation, Recipe
from ftx.finetune.trainer.processes import agreed, is_first_process, say
from ftx.finetune.trainer.unfinished import TEACHER_LOGITS, TRAINER_FOLDER
from ftx.heldout import data_columns
from ftx.hub import read_source
from ftx.text import Text

__all__ = ["Lesson", "prepare"]

# Of an unlabelled hub data set, in this order, where none is named.
SPLITS = ("unsupervised", "train")


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a student is trained with.

    Attributes:
        recipe: The recipe, with the layers that were chosen.
        distill: Its `[distill]` section.
        student: The student, untrained.
        train_set: Tokenised rows, labelled and unlabelled, with the teacher's logits in `labels`.
        loss: What to minimise on them.
        teacher_logits: The teacher's logits on the held-out rows. *Shape:* `(num_rows, num_labels)`.
        teacher_thresholds: For multi-label: the teacher's thresholds, by label.
        teacher_layers: How many encoder layers the teacher has.
        candidates: The choices of layers that were tried; empty: none had to be.
        unlabelled_rows: How many unlabelled texts there are in train_set.
        trimmed: The student's vocabulary; None: it is the teacher's.
    """

    recipe: Recipe
    distill: Distillation
    student: Pretrained
    train_set: Any
    loss: Loss
    teacher_logits: NDArray[np.float32]
    teacher_thresholds: dict[str, float]
    teacher_layers: int
    candidates: list[Candidate]
    unlabelled_rows: int
    trimmed: Trimmed | None


def prepare(
    recipe: Recipe,
    distill: Distillation,
    teacher: Pretrained,
    data: LabelledText,
    train_set: Any,
    *,
    precision: str,
    staging: Path,
) -> Lesson:
    """Have the teacher label every text, choose the student's layers, and make the student.

    Args:
        recipe: The values of the run.
        distill: Its `[distill]` section.
        teacher: The teacher.
        data: Labelled text.
        train_set: Its training rows, tokenised.
        precision: fp32, fp16 or bf16.
        staging: The run's staging folder, in which the teacher's logits are kept for a resumption.

    Raises:
        ModelError, RecipeError: The student can't have these layers.
        DataError: The unlabelled text, or that of the vocabulary, can't be used.
    """
    teacher_layers = count_layers(teacher, distill)
    column = distill.unlabelled_column
    unlabelled = new_texts(distill.unlabelled, column, recipe, data) if distill.unlabelled else []
    spared = new_texts(distill.trim_vocab, column, recipe, data) if isinstance(distill.trim_vocab, str) else []
    taught = [*(text for text, _ in data.train), *unlabelled]
    texts = [*taught, *(text for text, _ in data.held_out)]
    logits = cached_logits(staging / TRAINER_FOLDER, teacher, texts, recipe.max_length)
    rows = train_set.remove_columns("labels")
    if unlabelled:
        more = tokenise([(text, 0) for text in unlabelled], teacher.tokenizer, recipe.max_length)
        rows = datasets.concatenate_datasets([rows, more.remove_columns("labels")])
    targets = [target for _, target in data.train]
    labels = taught_rows(targets, len(unlabelled), logits[: len(taught)], data.head)
    rows = rows.add_column("labels", labels.tolist())
    loss = distilling_loss(recipe, distill, targets, data.head)
    source = teacher
    if distill.narrower:
        truth = distilling_loss(recipe, replace(distill, hard_weight=1.0), targets, data.head)
        source = narrow(teacher, rows.select(range(len(targets))), truth, distill, recipe.seed)
    keep, candidates = distill.keep, []
    if not keep:
        choices = layer_choices(distill.layers, teacher_layers)
        keep = choices[0]
        if distill.candidate_steps and len(choices) > 1:
            trial = Trial(
                recipe=recipe,
                distill=distill,
                teacher=source,
                texts=taught,
                rows=rows,
                teacher_logits=logits[: len(taught)],
                loss=loss,
                precision=precision,
                staging=staging / TRAINER_FOLDER / "trial",
            )
            candidates = [try_layers(choice, trial) for choice in choices]
            keep = min(candidates, key=lambda one: one.loss).keep
    say(f"The student starts from layers {', '.join(map(str, keep))} of {teacher_layers}")
    chosen = replace(distill, keep=keep)
    student, trimmed = make_student(source, keep), None
    if distill.trim_vocab:
        student = trim_vocabulary(student, [*taught, *spared])
        trimmed = compare_vocabularies(student.tokenizer, teacher.tokenizer, [text for text, _ in data.held_out])
        say(f"The student has {trimmed.tokens:,} of {trimmed.teacher_tokens:,} tokens")
        again = tokenise([(text, 0) for text in taught], student.tokenizer, recipe.max_length)
        rows = again.remove_columns("labels").add_column("labels", rows["labels"])
    return Lesson(
        recipe=replace(recipe, distill=chosen),
        distill=chosen,
        student=student,
        train_set=rows,
        loss=loss,
        teacher_logits=logits[len(taught) :],
        teacher_thresholds=teacher.thresholds,
        teacher_layers=teacher_layers,
        candidates=candidates,
        unlabelled_rows=len(unlabelled),
        trimmed=trimmed,
    )


def new_texts(source: str, column: str, recipe: Recipe, data: LabelledText) -> list[Text]:
    """Read unlabelled text, without repeated sentences and those that are training or held-out text already.

    Args:
        source: A file, a folder of tables, or a hub data set.
        column: The column of the texts; empty: `text`, else the only one.
        recipe: Says whether the model reads pairs.
        data: Labelled text.

    Raises:
        DataError: It can't be read, or holds pairs where the model reads single texts, or the other way round.
    """
    columns = data_columns(column or None, None, recipe.text_pair_column or None)
    columns = replace(columns, label="", text_option="--unlabelled-column")
    found = read_source(source, columns, SPLITS).texts
    if isinstance(found[0], tuple) != bool(recipe.text_pair_column):
        expected = "pairs of texts" if recipe.text_pair_column else "single texts"
        raise DataError(f"{source} does not hold {expected}, which the teacher reads: name its columns")
    seen = {sentence_key(text) for text, _ in (*data.train, *data.held_out)}
    new = {key: text for text in found if "".join(text).strip() and (key := sentence_key(text)) not in seen}
    say(f"{source}: {len(new)} of {len(found)} texts are new; the others are repeated, or known already")
    return list(new.values())


def cached_logits(folder: Path, teacher: Pretrained, texts: list[Text], max_length: int) -> NDArray[np.float32]:
    """Compute a teacher's logits once, and read them from a file after that. *Shape:* `(len(texts), num_labels)`."""
    file = folder / TEACHER_LOGITS.replace("*", digest_of_question(teacher, texts, max_length))
    if (known := agreed(is_first_process() and read_logits(file, len(texts)))) is not False:
        return np.asarray(known)
    say(f"The teacher labels {len(texts)} texts")
    logits = trainer_logits(teacher.model, teacher.tokenizer, texts, max_length)
    if not np.isfinite(logits).all():
        raise DataError("the teacher gives no number for some of the texts: its weights are damaged; train it again")
    if is_first_process():
        folder.mkdir(exist_ok=True)
        for other in folder.glob(TEACHER_LOGITS):  # of other texts, or of a teacher that has been trained again
            other.unlink()
        beside = folder / "writing.npy"
        np.save(beside, logits)
        beside.replace(file)
    return logits


def digest_of_question(teacher: Pretrained, texts: list[Text], max_length: int) -> str:
    """Compute a digest of all that a teacher's logits depend on."""
    digest = hashlib.sha256(json.dumps([texts, max_length, teacher.tokenizer.get_vocab()], sort_keys=True).encode())
    for name, weights in teacher.model.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def read_logits(file: Path, rows: int) -> NDArray[np.float32] | bool:
    """Read the logits of an unfinished run; False: there are none, or they are damaged."""
    try:
        logits = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return logits if len(logits) == rows else False
