"""Run batches of a `Predictor`'s graph: the texts of a batch come from many requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ftx.errors import OnnxFileError
from ftx.runtime.batching import MAX_CORE_TOKENS, plan
from ftx.runtime.heads import Prediction, decode_probabilities, near_boundary, probabilities
from ftx.runtime.long_text import pool
from ftx.runtime.predictor import Predictor
from ftx.runtime.tokenization import Encoding, encode, pad, windows
from ftx.text import Text

__all__ = ["Answer", "EncodedText", "PredictorEngine"]


@dataclass(frozen=True)
class EncodedText:
    """A tokenized text.

    Attributes:
        windows: Its windows; one, unless long texts are read in several.
        truncated: Whether its end was cut off.
        tokens: Tokens that it takes in a batch.
    """

    windows: list[Encoding]
    truncated: bool
    tokens: int


@dataclass(frozen=True)
class Answer:
    """What the graph computed for a text.

    Attributes:
        logits: None where several windows were pooled. *Shape:* `(num_labels,)`.
        probabilities: For regression, the value. *Shape:* `(num_labels,)`.
        tokens: Tokens of the text, as the model read it.
        windows: In how many windows it was read.
        truncated: Whether it was cut.
        fallback: Whether the fallback computed it, as the text lies near the boundary.
    """

    logits: NDArray[np.float32] | None
    probabilities: NDArray[np.float32]
    tokens: int
    windows: int
    truncated: bool
    fallback: bool = False


class PredictorEngine:
    """A `Predictor` as the batcher sees it.

    Args:
        predictor: In mode auto: it holds a session of all cores, and one of a single thread that all workers share.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.cores = predictor.threads
        self.max_tokens = predictor.manifest.max_length

    def encode(self, texts: list[Text]) -> Sequence[EncodedText]:
        """Tokenize texts."""
        predictor = self.predictor
        with predictor.graphs.native:
            encodings = encode(predictor.tokenizer, texts)
        read = [windows(one) if predictor.windows else [one] for one in encodings]
        return [
            EncodedText(
                its,
                truncated=not predictor.windows and bool(one.overflowing),
                tokens=max(map(len, its)) * len(its),
            )
            for one, its in zip(encodings, read, strict=True)
        ]

    def run(self, batch: Sequence[EncodedText], *, all_cores: bool) -> Sequence[Answer | OnnxFileError]:
        """Compute the answer of each text; an error in place of one whose logits are not finite."""
        answers = self._run(self.predictor, batch, all_cores=all_cores)
        fallback = self.predictor.fallback
        if fallback is not None and (near := [place for place, one in enumerate(answers) if self._is_near(one)]):
            again = self._run(fallback, [batch[place] for place in near], all_cores=all_cores)
            for place, one in zip(near, again, strict=True):
                answers[place] = replace(one, fallback=True) if isinstance(one, Answer) else one
        return answers

    def _is_near(self, answer: Answer | OnnxFileError) -> bool:
        """Tell whether an answer lies near the boundary."""
        if not isinstance(answer, Answer):
            return False
        return bool(near_boundary(answer.probabilities[None], self.predictor.manifest)[0])

    def _run(
        self, predictor: Predictor, batch: Sequence[EncodedText], *, all_cores: bool
    ) -> list[Answer | OnnxFileError]:
        """Compute the answer of each text with this predictor."""
        manifest = predictor.manifest
        encodings = [window for text in batch for window in text.windows]
        logits = np.empty((len(encodings), len(manifest.id2label)), dtype=np.float32)
        session = predictor.graphs.session(self.cores if all_cores else 1)
        # More than a batch's tokens only where a long text is read in windows.
        lengths, size = [len(one) for one in encodings], 1 if predictor.alone else len(encodings)
        for rows in plan(lengths, size, MAX_CORE_TOKENS, same_length=predictor.settings.invariant):
            padded = pad([encodings[row] for row in rows], manifest, predictor.input_names)
            logits[rows] = predictor.graphs.logits(session, padded, manifest)
        finite = np.asarray(np.isfinite(logits).all(axis=1))
        rows_found = probabilities(np.where(finite[:, None], logits, 0), manifest.problem_type)
        answers: list[Answer | OnnxFileError] = []
        start = 0
        for text in batch:
            count = len(text.windows)
            here = slice(start, start + count)
            start += count
            if not finite[here].all():
                answers.append(OnnxFileError("the model's logits for this text are not finite"))
                continue
            found = rows_found[here]
            if count > 1:
                found = pool(
                    found, np.array([count]), predictor.settings.pooling,
                    single_label=manifest.problem_type == "single_label_classification",
                )  # fmt: skip
            answers.append(
                Answer(
                    logits=logits[here.start] if count == 1 else None,
                    probabilities=found[0],
                    tokens=sum(map(len, text.windows)),
                    windows=count,
                    truncated=text.truncated,
                )
            )
        return answers

    def prediction(self, text: Text, answer: Answer) -> Prediction:
        """Decode an answer, as `Predictor` does."""
        [found] = decode_probabilities([text], answer.probabilities[None], self.predictor.manifest)
        if answer.fallback:
            found = replace(found, near_boundary=True, fallback=True)
        if self.beyond_calibration(answer):
            found = replace(found, beyond_calibration=True)
        if answer.windows > 1:
            return replace(found, windows=answer.windows, pooling=self.predictor.settings.pooling)
        return replace(found, truncated=True) if answer.truncated else found

    def beyond_calibration(self, answer: Answer) -> bool:
        """Tell whether static int8 read more tokens than it was calibrated on; windows are no longer than those."""
        calibrated = self.predictor.manifest.calibrated_tokens
        return calibrated is not None and answer.windows == 1 and answer.tokens > calibrated and not answer.fallback
