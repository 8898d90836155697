"""Predict from one ONNX file."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import OnnxFileError
from ftx.machine import usable_cores
from ftx.manifest import Manifest
from ftx.runtime.heads import Prediction, decode_probabilities, probabilities
from ftx.runtime.long_text import POOLINGS, pool
from ftx.runtime.model_file import describe, find_onnx
from ftx.runtime.portability import NOTICE, needs_exact_kernel
from ftx.runtime.session import first_line, open_session
from ftx.runtime.tokenization import Encoding, encode, load_tokenizer, pad, windows
from ftx.text import Text

__all__ = ["LONG_TEXTS", "MODES", "Predictor"]

MODES = ("auto", "latency", "throughput")
LONG_TEXTS = ("truncate", "window")
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
# Texts tokenised and sorted by length together; more of them would only hold more memory.
SORTED_TEXTS = 4096
# A batch's tokens, padding included. All cores together: bounds onnxruntime's memory, which grows with the largest
# batch it met. A core alone: what its cache holds; batches of 8 to 16 sentences were 7 to 9 % faster than of 32.
MAX_BATCH_TOKENS, MAX_CORE_TOKENS = 2048, 512
# From so many batches for each core on, a core for each batch beats all cores for one batch.
MIN_BATCHES_PER_CORE = 2


@dataclass(frozen=True)
class Answers:
    """What the graph says of texts.

    Attributes:
        logits: One row a window. *Shape:* `(num_windows, num_labels)`.
        counts: How many windows each text has. *Shape:* `(num_texts,)`.
        truncated: Which texts were cut. *Shape:* `(num_texts,)`.
    """

    logits: NDArray[np.float32]
    counts: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class Predictor:
    """A text classifier in one ONNX file.

    Threads may share it. It can be pickled (the file is opened again where it is unpickled) and used after a fork
    (likewise, on first use). As a context manager it closes itself.

    Example:
        >>> with Predictor("model.onnx") as predictor:  # doctest: +SKIP
        ...     predictor(["This movie was great!"])[0].label
        'positive'

    Args:
        path: The `.onnx` file, or a folder with `model_quantized.onnx` or `model.onnx`.
        intra_op_num_threads: Threads in all; default: the cores this process may use.
        batch_size: Texts that run together at most, sorted by length. Dynamic int8 scales activations over the whole
            batch, so a text's probabilities can move a little with its batch-mates.
        invariant: Rule that out: where batch-mates may matter, or the file does not say, every text runs alone.
        mode: `latency`: all threads share one batch; `throughput`: each thread takes a batch of its own, which answers
            more texts a second and holds one text up longer; `auto`: the one or the other by the size of the call (then
            the graph is held twice once both were needed).
        long_text: What becomes of a text of more than `max_length` tokens: `truncate`: its end is cut off; `window`: it
            is read in windows, whose probabilities become one.
        stride: Tokens that neighbouring windows share; default: a quarter of `max_length`.
        pooling: How windows become one: `mean` or `max` of each probability (of the values, for regression), scaled to
            sum to 1 for a single label.
        provider: What computes: `cpu`, or `cuda`, `openvino`, `coreml`, `xnnpack` where their package is installed.
        spinning: Whether idle threads wait busily: off in a server, which shares its cores.

    Attributes:
        path: The file.
        manifest: What it says of itself.
        notice: A line for the user where this CPU needs onnxruntime's slower int8 kernel; else None.
        alone: Whether every text runs alone, for `invariant`.
        settings: What it was opened with, by the arguments' names; `path` is not among them.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        OnnxFileError: The file can't be used, or would be wrong on this CPU.
        ProviderError: The provider is not there, or does not start.
        ValueError: A value is not one of those named above.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        intra_op_num_threads: int | None = None,
        batch_size: int = 32,
        invariant: bool = False,
        mode: str = "auto",
        long_text: str = "truncate",
        stride: int | None = None,
        pooling: str = "mean",
        provider: str = "cpu",
        spinning: bool = True,
    ) -> None:
        for name, number in (("batch_size", batch_size), ("intra_op_num_threads", intra_op_num_threads)):
            if number is not None and number < 1:
                raise ValueError(f"{name} {number}, expected at least 1")
        for name, value, known in (
            ("mode", mode, MODES), ("long_text", long_text, LONG_TEXTS), ("pooling", pooling, POOLINGS),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name} {value!r}, expected one of {', '.join(known)}")
        self.settings = {
            "intra_op_num_threads": intra_op_num_threads, "batch_size": batch_size, "invariant": invariant,
            "mode": mode, "long_text": long_text, "stride": stride, "pooling": pooling, "provider": provider,
            "spinning": spinning,
        }  # fmt: skip
        self.path = find_onnx(path)
        self.manifest, tokenizer_json = describe(self.path)
        self.alone = invariant and depends_on_batch(self.manifest)
        self.batch_size = 1 if self.alone else batch_size
        self._threads = intra_op_num_threads or usable_cores()
        # Other providers have their own way to use the machine.
        self._mode = mode if provider == "cpu" else "latency"
        self._windows, self._pooling, self._provider, self._spinning = (
            long_text == "window",
            pooling,
            provider,
            spinning,
        )
        if stride is None:
            stride = self.manifest.max_length // 4 if self._windows else 0
        self._exact_kernel = needs_exact_kernel(self.manifest, self.path)
        self.notice = NOTICE if self._exact_kernel else None
        self._closed = False
        self._sessions: dict[int, Any] = {}  # by the threads that share a batch
        self._abandoned: dict[int, Any] = {}
        self._lock, self._process = threading.Lock(), os.getpid()
        session = self._session(1 if self._mode == "throughput" else self._threads)
        self._input_names = check_graph(session, self.path, self.manifest)
        # After the graph, which for a moment needs twice its size: the most that is held at once is less.
        self._tokenizer = load_tokenizer(tokenizer_json, self.manifest, self.path, stride=stride)

    def __call__(self, texts: Sequence[Text]) -> list[Prediction]:
        """Predict the label, labels or value of each text, in the order given."""
        texts = checked(texts, self.manifest.text_pair)
        answers = self._answer(texts)
        predictions = decode_probabilities(texts, self._pooled(answers), self.manifest)
        for place in np.flatnonzero(answers.truncated):
            predictions[place] = replace(predictions[place], truncated=True)
        for place in np.flatnonzero(answers.counts > 1):
            count = int(answers.counts[place])
            predictions[place] = replace(predictions[place], windows=count, pooling=self._pooling)
        return predictions

    def predict_proba(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Compute probabilities (for regression, values).

        Returns:
            *Shape:* `(len(texts), num_labels)`.
        """
        return self._pooled(self._answer(checked(texts, self.manifest.text_pair)))

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Compute logits.

        Args:
            texts: Any strings, or pairs of them for a model that judges two together. An empty one has logits
                too; what is longer than `max_length` tokens is cut.

        Returns:
            *Shape:* `(len(texts), num_labels)`.

        Raises:
            OnnxFileError: The graph fails on these inputs.
            ValueError: A text was read in windows: it has probabilities only.
        """
        answers = self._answer(checked(texts, self.manifest.text_pair))
        if (answers.counts > 1).any():
            raise ValueError("a text that is read in windows has no logits of its own: use predict_proba")
        return answers.logits

    def close(self) -> None:
        """Let go of the file and its memory; calls fail from then on."""
        self._closed = True
        self._sessions = {}

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path.absolute(), **self.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _answer(self, texts: list[Text]) -> Answers:
        """Run the graph on texts, some thousands at a time."""
        if self._windows and any(isinstance(text, tuple) for text in texts):
            raise ValueError("long_text='window' reads one text at a time, and this model judges pairs: truncate them")
        logits = [np.empty((0, len(self.manifest.id2label)), dtype=np.float32)]
        counts, truncated = np.ones(len(texts), dtype=np.int64), np.zeros(len(texts), dtype=bool)
        for start in range(0, len(texts), SORTED_TEXTS):
            encodings = encode(self._tokenizer, texts[start : start + SORTED_TEXTS])
            for place, encoding in enumerate(encodings, start):
                if encoding.overflowing:
                    truncated[place] = not self._windows
                    counts[place] = 1 + len(encoding.overflowing) if self._windows else 1
            if self._windows:
                encodings = [window for encoding in encodings for window in windows(encoding)]
            logits.append(self._run(encodings))
        return Answers(logits=np.concatenate(logits), counts=counts, truncated=truncated)

    def _run(self, encodings: list[Encoding]) -> NDArray[np.float32]:
        """Run the graph in batches of texts of like length. *Shape:* `(len(encodings), num_labels)`."""
        result = np.empty((len(encodings), len(self.manifest.id2label)), dtype=np.float32)
        lengths = [len(encoding) for encoding in encodings]
        batches = plan(lengths, self.batch_size, MAX_BATCH_TOKENS)
        many = len(batches) >= MIN_BATCHES_PER_CORE * self._threads
        apart = self._mode == "throughput" or (self._mode == "auto" and many)
        if apart:
            batches = plan(lengths, self.batch_size, MAX_CORE_TOKENS)
        session = self._session(1 if apart else self._threads)

        def run(rows: list[int]) -> None:
            batch = pad([encodings[row] for row in rows], self.manifest, self._input_names)
            try:
                result[rows] = session.run(None, batch)[0]
            except Exception as error:  # onnxruntime raises a dozen kinds, RuntimeError among them
                raise OnnxFileError(f"{self.path} failed on its input: {first_line(error)}; export it again") from error

        if apart and self._threads > 1 and len(batches) > 1:
            with ThreadPoolExecutor(self._threads, "ftx") as workers:
                list(workers.map(run, batches))
        else:
            for rows in batches:
                run(rows)
        return result

    def _session(self, threads: int) -> Any:
        """Give the session in which so many threads share a batch, opened on first use in this process."""
        if self._closed:
            raise ValueError("this Predictor is closed")
        if self._process != os.getpid():
            # After a fork the sessions' threads are gone. To let go of a session would wait for them for ever.
            self._abandoned, self._sessions = self._sessions, {}
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = open_session(
                    self.path, intra_op_num_threads=threads, exact_kernel=self._exact_kernel, provider=self._provider,
                    spinning=self._spinning, arena=threads > 1,
                )  # fmt: skip
            return self._sessions[threads]

    def _pooled(self, answers: Answers) -> NDArray[np.float32]:
        """Turn logits into one row of probabilities a text. *Shape:* `(num_texts, num_labels)`."""
        rows = probabilities(answers.logits, self.manifest.problem_type)
        if (answers.counts == 1).all():
            return rows
        return pool(
            rows,
            answers.counts,
            self._pooling,
            single_label=self.manifest.problem_type == "single_label_classification",
        )


def plan(lengths: list[int], batch_size: int, max_tokens: int) -> list[list[int]]:
    """Share rows out to batches of like length, the longest first, so that no worker is left with a long one.

    Args:
        lengths: Tokens of each row.
        batch_size: Rows of a batch at most.
        max_tokens: Tokens of a batch at most, padding included; a longer row is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    batches, start = [], 0
    while start < len(order):
        count = max(1, min(batch_size, max_tokens // max(1, lengths[order[start]])))
        batches.append(order[start : start + count])
        start += count
    return batches


def check_graph(session: Any, path: Path, manifest: Manifest) -> list[str]:
    """Check that a graph is a text classifier with as many labels as its manifest; give the names of its inputs."""
    names = [node.name for node in session.get_inputs()]
    outputs = session.get_outputs()
    if "input_ids" not in names or not INPUTS.issuperset(names) or len(outputs) != 1:
        raise OnnxFileError(
            f"{path} is not a text classifier: inputs {', '.join(names)}, {len(outputs)} outputs; "
            "expected input_ids, attention_mask, perhaps token_type_ids, and one output, logits"
        )
    columns = outputs[0].shape[-1]
    if isinstance(columns, int) and columns != len(manifest.id2label):
        raise OnnxFileError(f"{path} gives {columns} logits for {len(manifest.id2label)} labels")
    return names


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
