"""What to export: a run, a checkpoint folder of any maker, or a hub id; checked before PyTorch is loaded."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

from ftx import typed
from ftx.errors import DataError, ModelError
from ftx.heldout import HeldOut
from ftx.manifest import read_id2label
from ftx.run_folder import find_checkpoint
from ftx.tables.lines import exists

__all__ = ["LEAST_TEXTS", "check_enough", "config_head", "default_output", "find_source"]

log = logging.getLogger(__name__)

HUB_ID = re.compile(r"(?:[\w.-]+/)?[\w.-]+(?:@[\w./-]+)?", re.ASCII)
LONGEST_HUB_ID = 96  # huggingface_hub's own limit
FILES = ["*.json", "*.txt", "*.model"]
LEAST_TEXTS, ENOUGH_TEXTS = 20, 200


def find_source(source: str) -> Path:
    """Resolve a run, a checkpoint folder or a hub id (`NAME`, `ORG/NAME`, either with `@REVISION`) to a checkpoint.

    Of a hub's repository only configuration, tokenizer and weights are fetched; safetensors where there are any.

    Raises:
        ModelError: It is none of these, or it can't be fetched.
    """
    if exists(source) or not is_hub_id(source):
        return find_checkpoint(Path(source))
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
        line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(
            f"{source!r} is no folder here, and no model that the hub gives: {line:.300}; check the name, log in for a "
            "gated model (hf auth login), or name a local folder"
        ) from error
    return find_checkpoint(folder)


def is_hub_id(source: str) -> bool:
    """Tell a hub id from a path."""
    short = all(len(part) <= LONGEST_HUB_ID for part in source.split("@"))
    return short and HUB_ID.fullmatch(source) is not None and not source.startswith(".")


def default_output(source: str) -> Path:
    """Return the export folder: `onnx` in a local folder, `exports/NAME` for a hub id."""
    if exists(source) or not is_hub_id(source):
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


def check_enough(held_out: HeldOut, where: Path, *, few: bool) -> None:
    """Check that there are enough texts for a statement about agreement, and say so where they are not many.

    Half of them chooses among int8 forms; the interval is that of the other half. If all of n agree, the exact interval
    goes from 0.025^(1/n) to 1 (Clopper and Pearson 1934).

    Raises:
        DataError: There are fewer than 20, and few was not requested.
    """
    texts = len(held_out)
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
