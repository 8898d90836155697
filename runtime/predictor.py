"""Predict from one ONNX file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import DataError, OnnxFileError
from ftx.machine import check_threads, usable_cores
from ftx.manifest import Manifest
from ftx.runtime.ending import share
from ftx.runtime.graphs import Graphs, check_graph
from ftx.runtime.heads import Prediction, decode_probabilities, probabilities
from ftx.runtime.inputs import SWITCH, check_choice, checked_texts, whole_number
from ftx.runtime.long_text import POOLINGS, pool
from ftx.runtime.model_file import ModelFile, find_onnx, open_model
from ftx.runtime.portability import NOTICE, needs_exact_kernel
from ftx.runtime.tokenization import Encoding, encode, load_tokenizer, pad, windows
from ftx.text import Text

__all__ = ["LONG_TEXTS", "MODES", "Predictor"]

MODES = ("auto", "latency", "throughput")
LONG_TEXTS = ("truncate", "window")
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

    The file is opened once. Whatever takes its place later, the answers stay those of this file; where it is changed
    in place, what has to read it again fails.

    Threads may share it. It can be pickled (the file is opened again where it is unpickled, and must be the same) and
    used after a fork. As a context manager it closes itself.

    Example:
        >>> with Predictor("model.onnx") as predictor:  # doctest: +SKIP
        ...     predictor(["This movie was great!"])[0].label
        'positive'

    Args:
        path: The `.onnx` file, or a folder with `model_quantized.onnx` or `model.onnx`.
        intra_op_num_threads: Threads in all, up to `ftx.machine.MAX_THREADS`; default: the cores this process may use.
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
        sha256: What the file must be, by the attribute of that name; default: any.

    Attributes:
        path: The file.
        sha256: Of the file, as `sha256sum` tells it. For one that does not carry its manifest: of the lines that
            `sha256sum` writes for it and for the siblings that were read.
        manifest: What it says of itself.
        notice: A line for the user where this CPU needs onnxruntime's slower int8 kernel; else None.
        alone: Whether every text runs alone, for `invariant`.
        settings: What it was opened with, by the arguments' names; `path` and `sha256` are not among them.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        OnnxFileError: The file can't be used, would be wrong on this CPU, or is not the one of `sha256`.
        MemoryError: It needs more memory than there is.
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
        sha256: str | None = None,
    ) -> None:
        intra_op_num_threads = check_threads(intra_op_num_threads)
        batch_size = whole_number(batch_size, "batch_size", least=1)
        stride = None if stride is None else whole_number(stride, "stride", least=0)
        for name, value, known in (
            ("mode", mode, MODES), ("long_text", long_text, LONG_TEXTS), ("pooling", pooling, POOLINGS),
            ("invariant", invariant, SWITCH), ("spinning", spinning, SWITCH),
        ):  # fmt: skip
            check_choice(value, name, known)
        self.settings = {
            "intra_op_num_threads": intra_op_num_threads, "batch_size": batch_size, "invariant": invariant,
            "mode": mode, "long_text": long_text, "stride": stride, "pooling": pooling, "provider": provider,
            "spinning": spinning,
        }  # fmt: skip
        self._threads = intra_op_num_threads or usable_cores()
        # Other providers have their own way to use the machine.
        self._mode = mode if provider == "cpu" else "latency"
        self._windows, self._stride, self._pooling = long_text == "window", stride, pooling
        self._provider, self._spinning, self._invariant = provider, spinning, invariant
        self.batch_size = batch_size
        self.path = find_onnx(path)
        model = open_model(self.path)
        try:
            self._open(model, sha256)
        except BaseException:
            model.file.close()
            raise

    def _open(self, model: ModelFile, sha256: str | None) -> None:
        """Check what the file says of itself, and open its first graph."""
        self.manifest, self.sha256 = model.manifest, model.sha256
        if sha256 is not None and sha256 != self.sha256:
            raise OnnxFileError(
                f"{self.path} is another file than is asked for: SHA-256 {self.sha256[:12]}..., "
                f"expected {sha256[:12]}...; was it replaced meanwhile?"
            )
        if self._windows and self.manifest.text_pair:
            raise OnnxFileError(f"{self.path} judges two texts together: its texts can be cut, not read in windows")
        self.alone = self._invariant and depends_on_batch(self.manifest)
        if self.alone:
            self.batch_size = 1
        exact_kernel = needs_exact_kernel(self.manifest, self.path)
        self.notice = NOTICE if exact_kernel else None
        self._graphs = Graphs(model.file, exact_kernel=exact_kernel, provider=self._provider, spinning=self._spinning)
        session = self._graphs.session(1 if self._mode == "throughput" else self._threads)
        self._input_names = check_graph(session, model.file, self.manifest)
        # After the graph, which for a moment needs twice its size: the most that is held at once is less.
        with self._graphs.native:
            self._tokenizer = load_tokenizer(
                model.tokenizer_json, self.manifest, self.path, stride=self._stride, windows=self._windows
            )

    def __call__(self, texts: Iterable[Text]) -> list[Prediction]:
        """Predict the label, labels or value of each text, in the order given.

        Raises:
            OnnxFileError: The graph fails on these inputs, or what it says is no number.
            DataError: A pair of texts is to be read in windows.
            MemoryError: A batch needs more memory than there is.
            TypeError: These are no texts, or not of the kind that the model reads.
            ValueError: This Predictor is closed.
        """
        texts = checked_texts(texts, self.manifest.text_pair)
        answers = self._answer(texts)
        predictions = decode_probabilities(texts, self._pooled(answers), self.manifest)
        for place in np.flatnonzero(answers.truncated):
            predictions[place] = replace(predictions[place], truncated=True)
        for place in np.flatnonzero(answers.counts > 1):
            count = int(answers.counts[place])
            predictions[place] = replace(predictions[place], windows=count, pooling=self._pooling)
        return predictions

    def predict_proba(self, texts: Iterable[Text]) -> NDArray[np.float32]:
        """Compute probabilities (for regression, values).

        Returns:
            *Shape:* `(len(texts), num_labels)`.
        """
        return self._pooled(self._answer(checked_texts(texts, self.manifest.text_pair)))

    def logits(self, texts: Iterable[Text]) -> NDArray[np.float32]:
        """Compute logits.

        Args:
            texts: Any strings, or pairs of them for a model that judges two together. An empty one has logits
                too; what is longer than `max_length` tokens is cut.

        Returns:
            *Shape:* `(len(texts), num_labels)`.

        Raises:
            ValueError: A text was read in windows: it has probabilities only.
            Exception: As calls do.
        """
        answers = self._answer(checked_texts(texts, self.manifest.text_pair))
        if (answers.counts > 1).any():
            raise ValueError("a text that is read in windows has no logits of its own: use predict_proba")
        return answers.logits

    def close(self) -> None:
        """Let go of the file and its memory; calls fail from then on."""
        self._graphs.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path.absolute(), "sha256": self.sha256, **self.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _answer(self, texts: list[Text]) -> Answers:
        """Run the graph on texts, some thousands at a time."""
        if self._windows and texts and isinstance(texts[0], tuple):  # then all are
            raise DataError("texts[0] is a pair, and long_text='window' reads one text at a time: truncate them")
        logits = [np.empty((0, len(self.manifest.id2label)), dtype=np.float32)]
        counts, truncated = np.ones(len(texts), dtype=np.int64), np.zeros(len(texts), dtype=bool)
        for start in range(0, len(texts), SORTED_TEXTS):
            with self._graphs.native:
                encodings = encode(self._tokenizer, texts[start : start + SORTED_TEXTS])
            for place, encoding in enumerate(encodings, start):
                if encoding.overflowing:
                    truncated[place] = not self._windows
                    counts[place] = 1 + len(encoding.overflowing) if self._windows else 1
            if self._windows:
                encodings = [window for encoding in encodings for window in windows(encoding)]
            found = self._run(encodings)
            if not np.isfinite(found).all():
                self._refuse(texts, counts, found, start)
            logits.append(found)
        return Answers(logits=np.concatenate(logits), counts=counts, truncated=truncated)

    def _refuse(self, texts: list[Text], counts: NDArray[np.int64], logits: NDArray[np.float32], start: int) -> None:
        """Name the first text that was answered with what is no number. The texts of `logits` begin at `start`."""
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        place = start + int(np.searchsorted(np.cumsum(counts[start:]), row, side="right"))
        raise OnnxFileError(
            f"{self.path} answers texts[{place}], {texts[place]!r:.60}, with {', '.join(map(str, logits[row][:5]))}, "
            "which is no number: its training diverged, or this is not the tokenizer it was trained with"
        )

    def _run(self, encodings: list[Encoding]) -> NDArray[np.float32]:
        """Run the graph in batches of texts of like length. *Shape:* `(len(encodings), num_labels)`."""
        result = np.empty((len(encodings), len(self.manifest.id2label)), dtype=np.float32)
        lengths = [len(encoding) for encoding in encodings]
        batches = plan(lengths, self.batch_size, MAX_BATCH_TOKENS)
        many = len(batches) >= MIN_BATCHES_PER_CORE * self._threads
        apart = self._mode == "throughput" or (self._mode == "auto" and many)
        if apart:
            batches = plan(lengths, self.batch_size, MAX_CORE_TOKENS)
        session = self._graphs.session(1 if apart else self._threads)

        def run(rows: list[int]) -> None:
            batch = pad([encodings[row] for row in rows], self.manifest, self._input_names)
            result[rows] = self._graphs.logits(session, batch, self.manifest)

        threads = min(self._threads, len(batches)) if apart else 1
        share(run, batches, threads, self._graphs.native)
        return result

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


def depends_on_batch(manifest: Manifest) -> bool:
    """Tell whether predictions may depend on the batch composition.

    Not in a file without int8, or with fixed scales for its activations. Products in blocks have scales for each token,
    but are summed up in another order in batches of another size.
    """
    quantization = manifest.quantization
    return quantization.kind not in ("none", "fp16", "static") or quantization.fallback == "blockwise"
