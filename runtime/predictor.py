"""Predict from one ONNX file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.errors import DataError, OnnxFileError
from ftx.machine import usable_cores
from ftx.runtime.batching import MAX_BATCH_TOKENS, MAX_CORE_TOKENS, depends_on_batch, plan
from ftx.runtime.exact_kernel import NOTICE, needs_exact_kernel
from ftx.runtime.fallback import check_fallback
from ftx.runtime.graphs import Graphs, check_graph
from ftx.runtime.heads import Prediction, decode_probabilities, near_boundary, probabilities
from ftx.runtime.inputs import checked_texts, whole_number
from ftx.runtime.long_text import pool
from ftx.runtime.model_file import ModelFile, find_onnx, open_model
from ftx.runtime.settings import PredictSettings
from ftx.runtime.shutdown import share
from ftx.runtime.tokenization import Encoding, encode, load_tokenizer, pad, windows
from ftx.text import Text

__all__ = ["Predictor"]

# Texts that are tokenised and sorted by length together; more would only take more memory.
SORTED_TEXTS = 4096
# From this many batches per core, one batch per core beats all cores on one batch.
MIN_BATCHES_PER_CORE = 2


@dataclass(frozen=True)
class Outputs:
    """What the graph gives for texts.

    Attributes:
        logits: One row a window. *Shape:* `(num_windows, num_labels)`.
        counts: How many windows each text has. *Shape:* `(num_texts,)`.
        truncated: Which texts were truncated. *Shape:* `(num_texts,)`.
        fallback: Which texts the fallback answered. *Shape:* `(num_texts,)`.
        beyond: Which texts static int8, not the fallback, read beyond its calibration. *Shape:* `(num_texts,)`.
    """

    logits: NDArray[np.float32]
    counts: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    fallback: NDArray[np.bool_]
    beyond: NDArray[np.bool_]


class Predictor:
    """A text classifier in one ONNX file.

    The file is opened once. If another takes its place later, predictions are still those of the file that was opened;
    if it is changed in place, whatever has to read it again fails.

    A predictor may be shared by threads, used after a fork, and pickled (it is opened again where it is unpickled, and
    must be the same file). As a context manager it closes itself.

    Example:
        >>> with ftx.Predictor("model.onnx") as predictor:
        ...     predictor(["The movie was great!"])[0].label
        'positive'

    Args:
        path: The `.onnx` file, or a folder with `model_quantized.onnx` or `model.onnx`.
        intra_op_num_threads: Total threads, up to `ftx.machine.MAX_THREADS`; default: the cores this process may use.
        batch_size: Maximum texts in a batch; batches are formed by length. Dynamic int8 scales activations over the
            whole batch, so a text's probabilities can vary slightly with batch composition.
        invariant: Rule that out: where batch composition may matter, or the file does not say, each text runs alone;
            elsewhere only texts of the same length share a batch, since padding can change how a sum is rounded.
        mode: `latency`: all threads share one batch; `throughput`: each thread runs a batch of its own, which yields
            more texts a second and a longer wait for each; `auto`: one or the other, by the size of the call (the graph
            is held in memory twice once both were needed).
        long_text: What happens to a text of more than `max_length` tokens. `truncate`: its end is cut off; `window`: it
            is read in windows, whose probabilities are pooled. Where static int8 was calibrated on shorter texts,
            windows are as long as those.
        stride: Tokens that neighbouring windows share; default: a quarter of a window.
        pooling: How windows are pooled: `mean` or `max` of each probability (of the values, for regression), scaled to
            sum to 1 for a single label.
        provider: Where to run: `cpu`, or `cuda`, `openvino`, `coreml`, `xnnpack` if their package is installed.
        spinning: Whether idle threads busy-wait. Turn it off in a server, where other processes need the cores.
        fallback: The fp32 file of the same export, which answers the texts near the boundary: those whose prediction
            int8 or fp16 may change (see `Prediction.near_boundary`).
        sha256: The file's expected digest, as in the attribute of that name; default: any.

    Attributes:
        path: The file.
        sha256: Digest of the file, as `sha256sum` prints it. For a file without a manifest: of the lines that
            `sha256sum` prints for it and for the sibling files that were read.
        manifest: What the file says about itself.
        notice: A line for the user if this CPU needs onnxruntime's slower int8 kernel; else None.
        alone: Whether each text runs alone because of `invariant`.
        settings: The arguments, except `path` and `sha256`.
        threads: Total threads.
        windows: Whether long texts are read in windows.
        fallback: The predictor of the fallback; None without one.
        graphs, tokenizer, input_names: What a server batches the texts of many requests with.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        OnnxFileError: The file can't be used, would be wrong on this CPU, or does not match `sha256`; or the fallback
            can't be used, is no fp32 file or of another model.
        MemoryError: It needs more memory than there is.
        ProviderError: The provider is not available, or does not start.
        ValueError: An argument is not one of the values above.
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
        fallback: str | Path | None = None,
        sha256: str | None = None,
    ) -> None:
        self.settings = PredictSettings(
            intra_op_num_threads=intra_op_num_threads, batch_size=batch_size, invariant=invariant, mode=mode,
            long_text=long_text, stride=stride, pooling=pooling, provider=provider, spinning=spinning,
            fallback=fallback,
        )  # fmt: skip
        self.threads = self.settings.intra_op_num_threads or usable_cores()
        # Other providers schedule work in their own way.
        self._mode = mode if provider == "cpu" else "latency"
        self.windows = long_text == "window"
        self.path = find_onnx(path)
        self.fallback: Predictor | None = None
        model = open_model(self.path)
        try:
            self._open(model, sha256)
        except BaseException:
            model.file.close()
            raise

    @classmethod
    def from_settings(cls, path: str | Path, settings: PredictSettings, *, sha256: str | None = None) -> Predictor:
        """Open a file with settings that were put together elsewhere."""
        return cls(path, sha256=sha256, **vars(settings))

    def _open(self, model: ModelFile, sha256: str | None) -> None:
        """Check the manifest, and open the first session and the tokenizer."""
        settings = self.settings
        self.manifest, self.sha256 = model.manifest, model.sha256
        if sha256 is not None and sha256 != self.sha256:
            raise OnnxFileError(changed(self.path, self.sha256, sha256))
        if self.windows and self.manifest.text_pair:
            raise OnnxFileError(f"{self.path} reads pairs of texts, which can be truncated but not read in windows")
        self.alone = settings.invariant and depends_on_batch(self.manifest)
        exact_kernel = needs_exact_kernel(self.manifest, self.path)
        self.notice = NOTICE if exact_kernel else None
        self.graphs = Graphs(
            model.file, exact_kernel=exact_kernel, provider=settings.provider, spinning=settings.spinning
        )
        session = self.graphs.session(1 if self._mode == "throughput" else self.threads)
        self.input_names = check_graph(session, model.file, self.manifest)
        # After the session, which briefly needs twice the file's size: this order has the lower peak.
        with self.graphs.native:
            self.tokenizer = load_tokenizer(
                model.tokenizer_json, self.manifest, self.path, stride=settings.stride, windows=self.windows
            )
        if settings.fallback is not None:
            digest = check_fallback(model, settings.fallback)
            alike = replace(settings, fallback=None)
            self.fallback = Predictor.from_settings(settings.fallback, alike, sha256=digest)

    @property
    def batch_size(self) -> int:
        """Maximum texts in a batch, where a call does not set its own."""
        return 1 if self.alone else self.settings.batch_size

    def __call__(self, texts: Iterable[Text], *, batch_size: int | None = None) -> list[Prediction]:
        """Predict the label, labels or value of each text, in the order given.

        Args:
            texts: Strings, or pairs of them for a model that reads pairs.
            batch_size: Maximum texts in a batch in this call; default: that of the predictor. With `invariant`, texts
                that must run alone do so in any case.

        Raises:
            OnnxFileError: The graph fails on these inputs, or its output is not a number.
            DataError: A pair of texts would have to be read in windows.
            MemoryError: A batch needs more memory than there is.
            TypeError: These are not texts, or not of the kind that the model reads.
            ValueError: This predictor is closed, or `batch_size` is not a positive whole number.
        """
        texts = checked_texts(texts, self.manifest.text_pair)
        outputs = self._infer(texts, batch_size)
        rows = self._pooled(outputs.logits, outputs.counts)
        predictions = decode_probabilities(texts, rows, self.manifest)
        for place in np.flatnonzero(outputs.truncated):
            predictions[place] = replace(predictions[place], truncated=True)
        for place in np.flatnonzero(outputs.counts > 1):
            count = int(outputs.counts[place])
            predictions[place] = replace(predictions[place], windows=count, pooling=self.settings.pooling)
        for place in np.flatnonzero(outputs.fallback):
            predictions[place] = replace(predictions[place], near_boundary=True, fallback=True)
        for place in np.flatnonzero(outputs.beyond):
            predictions[place] = replace(predictions[place], beyond_calibration=True)
        return predictions

    def predict_proba(self, texts: Iterable[Text], *, batch_size: int | None = None) -> NDArray[np.float32]:
        """Compute probabilities (for regression, values). Arguments and errors are those of a call.

        Returns:
            *Shape:* `(len(texts), num_labels)`.
        """
        outputs = self._infer(checked_texts(texts, self.manifest.text_pair), batch_size)
        return self._pooled(outputs.logits, outputs.counts)

    def logits(self, texts: Iterable[Text], *, batch_size: int | None = None) -> NDArray[np.float32]:
        """Compute logits. Arguments and errors are those of a call.

        Returns:
            *Shape:* `(len(texts), num_labels)`.

        Raises:
            ValueError: Also if a text was read in windows: it has probabilities only.
        """
        outputs = self._infer(checked_texts(texts, self.manifest.text_pair), batch_size)
        if (outputs.counts > 1).any():
            raise ValueError("a text that is read in windows has no logits of its own: use predict_proba")
        return outputs.logits

    def close(self) -> None:
        """Release the file and its memory; later calls fail."""
        self.graphs.close()
        if self.fallback:
            self.fallback.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        settings = vars(self.settings)
        state = {**settings, "path": self.path.absolute(), "sha256": self.sha256}
        if self.fallback:
            state |= {"fallback": self.fallback.path.absolute(), "fallback_sha256": self.fallback.sha256}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        fallback_sha256 = state.pop("fallback_sha256", None)
        self.__init__(**state)  # type: ignore[misc]
        if self.fallback and self.fallback.sha256 != fallback_sha256:
            self.close()
            raise OnnxFileError(changed(self.fallback.path, self.fallback.sha256, fallback_sha256))

    def _infer(self, texts: list[Text], batch_size: int | None) -> Outputs:
        """Run the graph on texts, a few thousand at a time."""
        size = self.batch_size if batch_size is None else whole_number(batch_size, "batch_size", least=1)
        if self.windows and texts and isinstance(texts[0], tuple):  # then all are
            raise DataError("texts[0] is a pair, and long_text='window' reads single texts: use long_text='truncate'")
        logits = [np.empty((0, len(self.manifest.id2label)), dtype=np.float32)]
        counts = np.ones(len(texts), dtype=np.int64)
        truncated, fallback, beyond = (np.zeros(len(texts), dtype=bool) for _ in range(3))
        calibrated = self.manifest.calibrated_tokens
        for start in range(0, len(texts), SORTED_TEXTS):
            with self.graphs.native:
                encodings = encode(self.tokenizer, texts[start : start + SORTED_TEXTS])
            for place, encoding in enumerate(encodings, start):
                if encoding.overflowing:
                    truncated[place] = not self.windows
                    counts[place] = 1 + len(encoding.overflowing) if self.windows else 1
                beyond[place] = calibrated is not None and len(encoding) > calibrated
            if self.windows:
                encodings = [window for encoding in encodings for window in windows(encoding)]
            found = self._run(encodings, 1 if self.alone else size)
            if not np.isfinite(found).all():
                self._refuse(texts, counts, found, start)
            if self.fallback:
                some = counts[start : start + SORTED_TEXTS]
                near = near_boundary(self._pooled(found, some), self.manifest)
                fallback[start : start + SORTED_TEXTS] = near
                rows = np.flatnonzero(np.repeat(near, some))
                found[rows] = self.fallback._run([encodings[row] for row in rows], size)
                if not np.isfinite(found).all():
                    self.fallback._refuse(texts, counts, found, start)
            logits.append(found)
        return Outputs(
            logits=np.concatenate(logits),
            counts=counts,
            truncated=truncated,
            fallback=fallback,
            beyond=beyond & ~fallback,
        )

    def _refuse(self, texts: list[Text], counts: NDArray[np.int64], logits: NDArray[np.float32], start: int) -> None:
        """Name the first text whose logits are not finite. The texts of `logits` begin at `start`."""
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        place = start + int(np.searchsorted(np.cumsum(counts[start:]), row, side="right"))
        found = ", ".join(map(str, logits[row][:5]))
        raise OnnxFileError(
            f"{self.path} gives logits {found} for texts[{place}], {texts[place]!r:.60}: not finite numbers; its "
            "training diverged, or this is not the tokenizer it was trained with"
        )

    def _run(self, encodings: list[Encoding], batch_size: int) -> NDArray[np.float32]:
        """Run the graph in batches of texts of similar length. *Shape:* `(len(encodings), num_labels)`."""
        result = np.empty((len(encodings), len(self.manifest.id2label)), dtype=np.float32)
        lengths = [len(encoding) for encoding in encodings]
        same_length = self.settings.invariant
        batches = plan(lengths, batch_size, MAX_BATCH_TOKENS, same_length=same_length)
        many = len(batches) >= MIN_BATCHES_PER_CORE * self.threads
        apart = self._mode == "throughput" or (self._mode == "auto" and many)
        if apart:
            batches = plan(lengths, batch_size, MAX_CORE_TOKENS, same_length=same_length)
        session = self.graphs.session(1 if apart else self.threads)

        def run(rows: list[int]) -> None:
            batch = pad([encodings[row] for row in rows], self.manifest, self.input_names)
            result[rows] = self.graphs.logits(session, batch, self.manifest)

        threads = min(self.threads, len(batches)) if apart else 1
        share(run, batches, threads, self.graphs.native)
        return result

    def _pooled(self, logits: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Turn logits into one row of probabilities a text. *Shape:* `(num_texts, num_labels)`."""
        rows = probabilities(logits, self.manifest.problem_type)
        if (counts == 1).all():
            return rows
        single_label = self.manifest.problem_type == "single_label_classification"
        return pool(rows, counts, self.settings.pooling, single_label=single_label)


def changed(path: Path, found: str, expected: str) -> str:
    """Say that a file is another one than expected."""
    return (
        f"{path} is another file than expected: SHA-256 {found[:12]}..., expected {expected[:12]}...; "
        "was it replaced in the meantime?"
    )
