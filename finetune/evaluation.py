"""Score a checkpoint, or anything else that returns logits, on labelled rows, as training scores its held-out ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ftx.errors import DataError, ModelError, require
from ftx.finetune.data.hub import hub_split_rows
from ftx.finetune.data.targets import examples
from ftx.finetune.model.head import MULTI_LABEL, Head
from ftx.heldout import find_held_out
from ftx.hub import is_data_set_id
from ftx.manifest import Manifest
from ftx.run_folder import find_checkpoint
from ftx.tables.bad_rows import BadRows
from ftx.tables.columns import Columns
from ftx.tables.labelled import read_tables
from ftx.tables.lines import exists
from ftx.text import Text

if TYPE_CHECKING:
    from ftx.finetune.scoring.scores import Scores

__all__ = ["Classifier", "Evaluation", "evaluate"]

SEED = 42  # of the bootstrap
HELD_OUT_COLUMNS = Columns(text="text", label="label")


class Classifier(Protocol):
    """What `evaluate` needs of a model; an `ftx.Predictor` is one."""

    path: Path
    manifest: Manifest

    def logits(self, texts: Any) -> NDArray[np.float32]:
        """Compute logits. *Shape:* `(len(texts), num_labels)`."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a model on labelled rows.

    Attributes:
        model: The checkpoint or the file.
        data: The file or folder of the rows.
        rows: Number of rows.
        bad_rows: Bad rows that were skipped.
        problem_type: The kind of head.
        metrics: By the names in `metrics.METRICS`.
        scores: Details behind the metrics.
        thresholds: For multi-label: the probability from which each label is predicted, as stored with the model.
    """

    model: str
    data: str
    rows: int
    bad_rows: int
    problem_type: str
    metrics: dict[str, float]
    scores: Scores
    thresholds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, the metrics beside the rest."""
        values = asdict(self)
        return {**values, **values.pop("metrics")}


def evaluate(
    model: str | Path | Classifier,
    data: str | Path | None = None,
    *,
    columns: dict[str, Any] | None = None,
    skip_bad_rows: int = 0,
) -> Evaluation:
    """Score a model on labelled rows. For a `Classifier`, neither PyTorch nor transformers nor datasets is needed.

    Args:
        model: A run folder, a checkpoint folder, or a `Classifier` such as `ftx.Predictor("model.onnx")`.
        data: A table (CSV, TSV, JSON lines, Parquet), a folder of them, or a hub data set, `NAME[:CONFIG][:SPLIT]`;
            default: the run's held-out rows.
        columns: Fields of `Columns` that differ from the run's own, or, without a run, from `text` and `label`.
        skip_bad_rows: Rows that may be unusable without being an error.

    Raises:
        ModelError, DataError, OnnxFileError: See there.
        MissingExtraError: scikit-learn is not installed, or for a checkpoint another package of training.
    """
    if (
        data is not None and str(data) and not exists(str(data)) and not is_data_set_id(str(data))
    ):  # before PyTorch is loaded
        raise DataError(f"{data!s:.300} can't be read: No such file or directory; name labelled rows with --data FILE")
    require("evaluate", "scipy", "sklearn")
    from ftx.finetune.scoring.measures import measured
    from ftx.finetune.scoring.scores import compute_scores

    if isinstance(model, (str, Path)):
        require("train", "torch", "transformers", "datasets", "evaluate", "accelerate")
        asked = checkpoint_model(find_checkpoint(Path(model)))
        own = HELD_OUT_COLUMNS if data is None else columns_of_run(asked.path)
        data = find_held_out(asked.path) if data is None else data
    elif data is None:
        raise DataError("There is nothing to evaluate on: name labelled rows with --data FILE")
    else:
        asked, own = classifier_model(model), HELD_OUT_COLUMNS
    if own is HELD_OUT_COLUMNS and asked.text_pair:
        own = replace(own, text_pair="text_pair")
    where = replace(own, **(columns or {}), lists=asked.head.problem_type == MULTI_LABEL)
    if asked.text_pair is not None and asked.text_pair != bool(where.text_pair):
        asks = "pairs of texts: name" if asked.text_pair else "one text at a time: omit"
        raise DataError(f"{asked.path} reads {asks} the second's column, --text-pair-column")
    if str(data) == "":
        raise DataError("data is '', expected a file or folder of labelled rows")
    bad_rows = BadRows(limit=skip_bad_rows)
    read = (
        hub_split_rows(str(data), where, bad_rows)
        if is_data_set_id(str(data))
        else read_tables(Path(data), where, bad_rows)
    )
    rows = examples(list(read), asked.head, bad_rows)
    if not rows:
        raise DataError(f"{data} is empty; expected rows of labelled text")
    logits = asked.logits([text for text, _ in rows])
    if not np.isfinite(logits).all():
        count = int((~np.isfinite(logits)).any(axis=-1).sum())
        raise ModelError(
            f"{asked.path} gives no number for {count} of {len(rows)} rows: its weights are damaged, or its training "
            "diverged; train it again"
        )
    targets = np.asarray([target for _, target in rows])
    return Evaluation(
        model=str(asked.path),
        data=str(data),
        rows=len(rows),
        bad_rows=len(bad_rows.rows),
        problem_type=asked.head.problem_type,
        metrics=measured(logits, targets, asked.head, asked.thresholds),
        scores=compute_scores(logits, targets, asked.head, SEED, asked.thresholds),
        thresholds=asked.thresholds,
    )


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model to evaluate, in PyTorch or ONNX."""

    path: Path
    head: Head
    thresholds: dict[str, float]
    text_pair: bool | None  # None: its maker did not say
    logits: Callable[[list[Text]], NDArray[np.float32]]


def classifier_model(classifier: Classifier) -> Model:
    """Wrap a predictor."""
    manifest = classifier.manifest
    return Model(
        path=classifier.path,
        head=Head(problem_type=manifest.problem_type, labels=manifest.labels),
        thresholds=manifest.thresholds,
        text_pair=manifest.text_pair,
        logits=classifier.logits,
    )


def checkpoint_model(checkpoint: Path) -> Model:
    """Load a checkpoint.

    Raises:
        ModelError: It can't be loaded, or its files don't say what its predictions mean.
    """
    from ftx.finetune.model.hub import load_checkpoint, load_tokenizer, positions

    tokenizer, model = load_tokenizer(str(checkpoint)), load_checkpoint(checkpoint)
    config = model.config
    guessed = "regression" if config.num_labels == 1 else "single_label_classification"  # as transformers does
    labels = [config.id2label.get(n) for n in range(config.num_labels)]
    thresholds = getattr(config, "thresholds", None) or {}
    length = tokenizer.model_max_length
    for file, key, value, expected, holds in (
        ("config.json", "id2label", labels, "a name for each label", None not in labels),
        ("config.json", "id2label", labels, "no name twice", len(set(map(str, labels))) == len(labels)),
        ("config.json", "thresholds", thresholds, "a share from 0 to 1 by label", are_shares(thresholds)),
        ("tokenizer_config.json", "model_max_length", length, "a number above 2", is_number(length) and length > 2),
    ):
        if not holds:
            raise ModelError(f"{checkpoint / file}: {key} is {value!r:.200}, expected {expected}")
    max_length = int(min(length, positions(config)))
    return Model(
        path=checkpoint,
        head=Head(problem_type=config.problem_type or guessed, labels=[str(label) for label in labels]),
        thresholds=thresholds,
        text_pair=getattr(config, "text_pair", None),
        logits=lambda texts: trainer_logits(model, tokenizer, texts, max_length),
    )


def is_number(value: Any) -> bool:
    """Tell whether a value of JSON is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def are_shares(thresholds: Any) -> bool:
    """Tell whether thresholds are shares by name."""
    return isinstance(thresholds, dict) and all(is_number(one) and 0 <= one <= 1 for one in thresholds.values())


def columns_of_run(checkpoint: Path) -> Columns:
    """Return the columns that a run was trained on, which other data of its owner is likely to have, too."""
    from ftx.finetune.data.labelled_text import columns_of
    from ftx.finetune.recipe import load_recipe

    recipe = checkpoint.resolve().parent / "recipe.toml"
    return columns_of(load_recipe(str(recipe))) if recipe.is_file() else HELD_OUT_COLUMNS


def trainer_logits(model: Any, tokenizer: Any, texts: list[Text], max_length: int) -> NDArray[np.float32]:
    """Compute logits with the Trainer, on a GPU if there is one. *Shape:* `(len(texts), num_labels)`."""
    import transformers

    from ftx.finetune.model.precision import on_cpu
    from ftx.finetune.model.tokens import tokenise
    from ftx.finetune.trainer.setup import forget_earlier_runs

    transformers.logging.set_verbosity_error()
    forget_earlier_runs()
    rows = tokenise([(text, 0) for text in texts], tokenizer, max_length)
    order = np.argsort(rows["length"], kind="stable")
    logits = np.empty((len(texts), model.config.num_labels), dtype=np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=scratch, per_device_eval_batch_size=64, report_to=[], disable_tqdm=True, use_cpu=on_cpu()
            ),
            processing_class=tokenizer,
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
        )
        logits[order] = trainer.predict(rows.remove_columns("labels").select(order)).predictions
    return logits
