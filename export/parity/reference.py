"""The PyTorch model that ONNX files are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx import typed
from ftx.errors import ModelError, chain, out_of_memory
from ftx.export.quiet import quiet
from ftx.lengths import longest_input, token_limit
from ftx.manifest import check_labels
from ftx.run_folder import check_whole
from ftx.text import Text

__all__ = ["Reference"]


class Reference:
    """A checkpoint in PyTorch, fp32, on the CPU.

    Args:
        checkpoint: A folder in Hugging Face layout, with safetensors, or with PyTorch weights that hold tensors only.
        labels: Label names, in place of its own.
        problem_type: The head, in place of its own.
        max_length: Tokens to truncate a text to, in place of its own limit.

    Attributes:
        model: The `transformers` model, in eval mode.
        tokenizer: Its fast tokenizer.
        max_length: Tokens a text is truncated to: the tokenizer's own limit, or the model's positions.

    Raises:
        ModelError: The checkpoint can't be loaded, has two labels of the same name, or leaves no room for a text.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        labels: Sequence[str] = (),
        problem_type: str | None = None,
        max_length: int | None = None,
    ) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            with quiet():
                self.tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, use_fast=True, trust_remote_code=False)
                model, info = AutoModelForSequenceClassification.from_pretrained(
                    checkpoint,
                    output_loading_info=True,
                    use_safetensors=any(checkpoint.glob("*.safetensors*")) or not any(checkpoint.glob("*.bin*")),
                    weights_only=True,
                    trust_remote_code=False,
                )
        except Exception as error:  # there is no common base: a damaged model.safetensors raises SafetensorError
            if out_of_memory(error):
                raise
            raise ModelError(f"Checkpoint {checkpoint} can't be loaded: {reason(error)}") from error
        check_whole(checkpoint, info)
        self.model: Any = model
        if not self.tokenizer.is_fast:
            raise ModelError(f"Checkpoint {checkpoint} has no tokenizer.json, which the runtime needs")
        self.model.float().eval()
        config = self.model.config
        if labels and len(labels) != config.num_labels:
            raise ModelError(f"{len(labels)} labels are named, expected {config.num_labels}, as {checkpoint} has")
        if labels:
            config.id2label = dict(enumerate(labels))
            config.label2id = {label: column for column, label in enumerate(labels)}
        config.problem_type = problem_type or config.problem_type
        positions = getattr(config, "max_position_embeddings", None)
        try:
            check_labels(self.id2label)
            longest = longest_input(config.model_type, positions, config.pad_token_id)
            limit = token_limit(self.tokenizer.model_max_length)
            if max_length is not None and max_length > longest:
                raise ValueError(f"max_length is {max_length}, expected {longest} at most: it has no more positions")
            self.max_length = max_length or (longest if limit is None else min(limit, longest))
            own = self.tokenizer.num_special_tokens_to_add(pair=self.text_pair is not False)
            typed.whole(self.max_length, "max_length", least=own + 1)
        except ValueError as error:
            raise ModelError(f"Checkpoint {checkpoint} can't be used: {error}") from error
        self.tokenizer.model_max_length = self.max_length
        # Whatever the tokenizer's files say: with absolute positions, padding on the left would shift the text.
        self.tokenizer.padding_side = "right"

    @property
    def problem_type(self) -> str:
        """The head, as transformers derives it from config.json."""
        given = self.model.config.problem_type
        return str(given or ("regression" if self.model.config.num_labels == 1 else "single_label_classification"))

    @property
    def id2label(self) -> dict[int, str]:
        """Label names by column of the logits."""
        return {int(column): str(label) for column, label in self.model.config.id2label.items()}

    @property
    def text_pair(self) -> bool | None:
        """Whether the model takes pairs of texts, where config.json says so."""
        said = getattr(self.model.config, "text_pair", None)
        return None if said is None else bool(said)

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files, without what the last call truncated or padded to."""
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.backend_tokenizer.no_padding()
        with quiet():
            self.tokenizer.save_pretrained(folder)

    def mean_tokens(self, texts: list[Text]) -> float:
        """Count how many tokens texts have on average, special tokens included, untruncated."""
        with quiet():  # it warns that some are too long for the model
            encoded = self.tokenizer(texts, truncation=False)
        return float(np.mean([len(ids) for ids in encoded["input_ids"]]))

    def logits(self, texts: list[Text], *, batch_size: int = 32) -> NDArray[np.float32]:
        """Compute logits, batching texts of similar length.

        Returns:
            *Shape:* `(len(texts), num_labels)`.
        """
        import torch

        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        order = sorted(range(len(texts)), key=lambda row: len(encoded["input_ids"][row]))
        result = np.empty((len(texts), self.model.config.num_labels), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            some = {key: [values[row] for row in rows] for key, values in encoded.items()}
            with quiet():  # it recommends padding all texts at once
                batch = self.tokenizer.pad(some, return_tensors="pt")
            with torch.inference_mode():
                result[rows] = self.model(**batch).logits.numpy()
        return result


def reason(error: Exception) -> str:
    """Say why a checkpoint can't be loaded; what transformers says of some cases leads elsewhere."""
    said = str(error)
    if "trust_remote_code" in said:
        return (
            "it needs code of its own (auto_map in its config.json), which is never run: choose a model of an "
            "architecture that transformers has"
        )
    if any(isinstance(one, UnpicklingError) for one in chain(error)):
        return "its PyTorch file is damaged, or holds more than tensors, which could run code: save it as safetensors"
    first, *more = [line.strip() for line in said.splitlines() if line.strip()] or [type(error).__name__]
    return f"{first} {more[0]}" if more and first.endswith(":") else first
