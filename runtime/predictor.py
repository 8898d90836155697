"""Predict from one ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import OnnxFileError
from ftx.manifest import Manifest
from ftx.runtime.heads import Prediction, decode, probabilities
from ftx.runtime.model_file import describe, find_onnx
from ftx.runtime.portability import NOTICE, needs_exact_kernel
from ftx.runtime.session import first_line, open_session
from ftx.runtime.tokenization import encode, load_tokenizer, pad
from ftx.text import Text

__all__ = ["Predictor"]

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class Predictor:
    """A text classifier in one ONNX file.

    Example:
        >>> predictor = Predictor("model.onnx")  # doctest: +SKIP
        >>> predictor(["This movie was great!"])[0].label  # doctest: +SKIP
        'positive'

    Args:
        path: The `.onnx` file, or a folder with `model_quantized.onnx` or `model.onnx`.
        intra_op_num_threads: Threads that share one batch; default: the cores this process may use.
        batch_size: Texts that run together, sorted by length. Dynamic int8 scales activations over the whole batch, so
            a text's probabilities can move a little with its batch-mates.
        invariant: Rule that out: where batch-mates may matter, or the file does not say, every text runs alone.

    Attributes:
        notice: A line for the user where this CPU needs onnxruntime's slower int8 kernel; else None.
        alone: Whether every text runs alone, for `invariant`.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        OnnxFileError: The file can't be used, or would be wrong on this CPU.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        intra_op_num_threads: int | None = None,
        batch_size: int = 32,
        invariant: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size}, expected at least 1")
        self.path = find_onnx(path)
        self.manifest, tokenizer_json = describe(self.path)
        self.alone = invariant and depends_on_batch(self.manifest)
        self.batch_size = 1 if self.alone else batch_size
        exact_kernel = needs_exact_kernel(self.manifest, self.path)
        self.notice = NOTICE if exact_kernel else None
        self._tokenizer = load_tokenizer(tokenizer_json, self.manifest, self.path)
        self._session: Any = open_session(
            self.path, intra_op_num_threads=intra_op_num_threads, exact_kernel=exact_kernel
        )
        self._input_names = [node.name for node in self._session.get_inputs()]
        outputs = self._session.get_outputs()
        if "input_ids" not in self._input_names or not INPUTS.issuperset(self._input_names) or len(outputs) != 1:
            raise OnnxFileError(
                f"{self.path} is not a text classifier: inputs {', '.join(self._input_names)}, {len(outputs)} outputs; "
                "expected input_ids, attention_mask, perhaps token_type_ids, and one output, logits"
            )
        columns = outputs[0].shape[-1]
        if isinstance(columns, int) and columns != len(self.manifest.id2label):
            raise OnnxFileError(f"{self.path} gives {columns} logits for {len(self.manifest.id2label)} labels")

    def __call__(self, texts: Sequence[Text]) -> list[Prediction]:
        """Predict the label, labels or value of each text, in the order given."""
        texts = checked(texts, self.manifest.text_pair)
        return decode(texts, self.logits(texts), self.manifest)

    def predict_proba(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Compute probabilities (for regression, values).

        Returns:
            *Shape:* `(len(texts), num_labels)`.
        """
        return probabilities(self.logits(texts), self.manifest.problem_type)

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Compute logits.

        Args:
            texts: Any strings, or pairs of them for a model that judges two together. An empty one has logits
                too; what is longer than `max_length` tokens is cut.

        Returns:
            *Shape:* `(len(texts), num_labels)`.

        Raises:
            OnnxFileError: The graph fails on these inputs.
        """
        texts = checked(texts, self.manifest.text_pair)
        result = np.empty((len(texts), len(self.manifest.id2label)), dtype=np.float32)
        encodings = encode(self._tokenizer, texts)
        # Batch-mates of the same length waste nothing on padding.
        order = sorted(range(len(texts)), key=lambda index: len(encodings[index]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = pad([encodings[row] for row in rows], self.manifest, self._input_names)
            try:
                result[rows] = self._session.run(None, batch)[0]
            except Exception as error:  # onnxruntime raises a dozen kinds, RuntimeError among them
                raise OnnxFileError(f"{self.path} failed on its input: {first_line(error)}; export it again") from error
        return result


def depends_on_batch(manifest: Manifest) -> bool:
    """Tell whether batch-mates may move a text's answer.

    Not in a file without int8, or with fixed scales for its activations. Products in blocks have scales for each token,
    but are summed up in another order in batches of another size.
    """
    if str(manifest.quantization.get("scheme")).startswith("none"):
        return False
    fixed = manifest.quantization.get("activations") in ("static", "none")
    return not fixed or manifest.quantization.get("rescue") == "blockwise"


def checked(texts: Sequence[Text], text_pair: bool | None) -> list[Text]:
    """Refuse what is no sequence of strings, or of pairs; a lone string would be read letter by letter."""
    if isinstance(texts, str):
        raise TypeError("expected a sequence of texts, got one string: write predictor([text])")
    for text in texts:
        is_pair = isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text)
        if not is_pair and not isinstance(text, str):
            raise TypeError(f"expected strings, or tuples of two, got {type(text).__name__}")
        if text_pair is not None and is_pair != text_pair:
            expected = "pairs of texts, as tuples" if text_pair else "one text at a time, as strings"
            raise TypeError(f"expected {expected}: this model was trained on them; got {text!r:.80}")
    return list(texts)
