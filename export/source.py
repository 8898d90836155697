"""What to export: a run, a checkpoint folder of any maker, or a hub id; checked before PyTorch is loaded."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from ftx import typed
from ftx.errors import DataError, ModelError
from ftx.heldout import HeldOut
from ftx.hub import first_line
from ftx.hub_ids import is_model_id
from ftx.manifest import read_id2label
from ftx.run_folder import check_tokenizer, find_checkpoint
from ftx.tables.lines import exists

__all__ = ["LEAST_TEXTS", "check_enough", "check_files", "config_head", "default_output", "find_source"]

log = logging.getLogger(__name__)

FILES = ["*.json", "*.txt", "*.model"]
LEAST_TEXTS, ENOUGH_TEXTS = 20, 200
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
# By the name of huggingface_hub's exception.
HUB_ERRORS = {
    "GatedRepoError": "it is gated: ask for access on its page, log in with hf auth login, and try again",
    "RevisionNotFoundError": "it has no such revision: check what stands after the @",
    "RepositoryNotFoundError": "the hub has no such model, or it is private: check the name, or hf auth login",
    "LocalEntryNotFoundError": "the hub can't be reached, and the model is not in its cache: check the connection",
    "OfflineModeIsEnabled": "the hub is switched off by HF_HUB_OFFLINE, and the model is not in its cache",
}


def find_source(source: str) -> Path:
    """Resolve a run, a checkpoint folder or a hub id (`NAME`, `ORG/NAME`, either with `@REVISION`) to a checkpoint.

    Of a hub's repository only configuration, tokenizer and weights are fetched; safetensors where there are any.

    Raises:
        ModelError: It is none of these, or it can't be fetched.
    """
    if exists(source) or not is_model_id(source):
        return find_checkpoint(Path(source))
    first, slash, _ = source.partition("/")
    if slash and (first == "runs" or exists(first)):
        raise ModelError(
            f"There is no folder {source!r}: check the path, or train a model first with ftx train --output {source}"
        )
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    log.info(f"Fetching {source} from the hub")
    try:
        for weights in ("*.safetensors*", "pytorch_model*"):
            folder = Path(
                snapshot_download(
                    name, revision=revision or None, allow_patterns=[*FILES, weights], ignore_patterns=["*/*"]
                )
            )
            if any(folder.glob(weights)):
                break
    except Exception as error:  # the hub's and its client's errors have no common base
        kinds = [kind.__name__ for kind in type(error).__mro__]
        said = next((HUB_ERRORS[kind] for kind in kinds if kind in HUB_ERRORS), first_line(error))
        raise ModelError(f"{source!r} is no folder here, and no model that the hub gives: {said}") from error
    return find_checkpoint(folder)


def default_output(source: str) -> Path:
    """Return the export folder: `onnx` in a local folder, `exports/NAME` for a hub id."""
    if exists(source) or not is_model_id(source):
        return Path(source) / "onnx"
    return Path("exports") / source.partition("@")[0].rpartition("/")[2]


def config_head(checkpoint: Path) -> tuple[dict[int, str], str]:
    """Read label names and problem type from config.json; transformers omits the default names, LABEL_0 and LABEL_1.

    Raises:
        ModelError: It can't be read, or the model has no classifier head.
    """
    path = checkpoint / "config.json"
    try:
        config = typed.read_object(path.read_bytes())
        kinds = [str(one) for one in typed.listed(config.get("architectures") or [], "architectures")]
        labels = read_id2label(config.get("id2label") or {})
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be used: {error!s:.300}") from error
    if kinds and not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise ModelError(
            f"{checkpoint} has no classifier head (its architecture is {json.dumps(kinds[0])}): it makes embeddings or "
            "words; fine-tune it first, with ftx train --model"
        )
    labels = labels or {column: f"LABEL_{column}" for column in range(2)}
    guessed = "regression" if len(labels) == 1 else "single_label_classification"  # as transformers does
    return labels, str(config.get("problem_type") or guessed)


def check_files(checkpoint: Path) -> None:
    """Check, before PyTorch is loaded, that there are weights and a tokenizer in a form that is read.

    Raises:
        ModelError: One is missing.
    """
    check_tokenizer(checkpoint)
    if not any(any(checkpoint.glob(pattern)) for pattern in WEIGHTS):
        raise ModelError(
            f"{checkpoint} has no weights that are read: expected model.safetensors or pytorch_model.bin; for "
            "TensorFlow's or Flax's, load them in transformers with from_tf or from_flax, and save_pretrained"
        )


def check_enough(held_out: HeldOut, where: Path, *, few: bool) -> None:
    """Check that there are enough texts for a statement about agreement, and say so where they are not many.

    Half of them chooses among int8 forms; the interval is that of the other half. If all of n agree, the exact interval
    goes from 0.025^(1/n) to 1 (Clopper and Pearson 1934).

    Raises:
        DataError: There are fewer than 20, or fewer than 20 different ones, and few was not requested.
    """
    texts = len(held_out)
    different = len(set(held_out.texts))
    if different < LEAST_TEXTS <= texts and not few:
        raise DataError(
            f"{where} has {texts} texts, but only {different} different, expected {LEAST_TEXTS} or more: check that "
            "--text-column names the texts, or --few to export all the same"
        )
    if texts < LEAST_TEXTS and not few:
        raise DataError(
            f"{where} has {texts} texts, expected {LEAST_TEXTS} or more, better {ENOUGH_TEXTS}: fewer say next to "
            "nothing about agreement; add texts, or --few to export all the same"
        )
    if texts < ENOUGH_TEXTS:
        half = max(1, texts // 2)
        log.warning(
            f"WARNING: only {texts} held-out texts: should all {half} that are reported on agree, the 95 % interval of "
            f"the agreement is {0.025 ** (1 / half):.3f} to 1; {ENOUGH_TEXTS} texts or more are better"
        )
