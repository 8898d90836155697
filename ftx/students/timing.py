"""Time the files of students and teacher in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftx.bench.noise import Calibration
from ftx.runtime import Predictor
from ftx.text import Text
from ftx.turns import announced, elapsed_sec, take_turns

__all__ = ["Times", "time_files"]

BATCH_SIZE = 32
# Of one turn, spread over the held-out texts as they come.
TURN_TEXTS, TURN_SINGLES = 512, 48


@dataclass(frozen=True, kw_only=True)
class Times:
    """A file's times.

    Attributes:
        texts_per_sec: In batches. *Shape:* `(rounds,)`.
        latency_ms: Median of a round's single texts. *Shape:* `(rounds,)`.
    """

    texts_per_sec: NDArray[np.float64]
    latency_ms: NDArray[np.float64]


def time_files(files: Mapping[str, Path], texts: Sequence[Text], rounds: int) -> tuple[dict[str, Times], float]:
    """Time files on the same texts, round after round, with all cores.

    Args:
        files: By name.
        texts: Held-out texts.
        rounds: How many.

    Returns:
        The times by name, and how noisy the machine was, see `Calibration.spread`.
    """
    from ftx.bench.measure import evenly  # needs packages of the export, and this module is imported with `ftx`

    calibration = Calibration()
    many, singles = ([texts[place] for place in evenly(len(texts), most)] for most in (TURN_TEXTS, TURN_SINGLES))

    def turn(predictor: Predictor, number: int) -> tuple[float, float]:
        latency = np.median([elapsed_sec(partial(predictor.logits, [text])) for text in singles])
        return float(latency), elapsed_sec(partial(predictor.logits, many, batch_size=BATCH_SIZE))

    def calibrated() -> Iterator[int]:
        for number in announced(rounds):
            calibration.measure()
            yield number

    with ExitStack() as opened:
        predictors = {name: opened.enter_context(Predictor(path)) for name, path in files.items()}
        for predictor in predictors.values():
            turn(predictor, 0)  # the first calls are slower
        found = take_turns({name: partial(turn, one) for name, one in predictors.items()}, calibrated())
    times = {
        name: Times(
            texts_per_sec=len(many) / np.array([seconds for _, seconds in pairs]),
            latency_ms=1000 * np.array([latency for latency, _ in pairs]),
        )
        for name, pairs in found.items()
    }
    return times, calibration.spread
