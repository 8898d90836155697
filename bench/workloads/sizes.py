"""Latency by length, and throughput by batch size: in each turn of the engines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftx.bench.engine import Engine
from ftx.text import Text

__all__ = ["BATCH_SIZES", "Batches", "Lengths"]

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Times single texts of fixed lengths.

    Attributes:
        texts: By number of tokens.
    """

    texts: dict[int, list[Text]]

    def __call__(self, engine: Engine) -> dict[int, float]:
        """Give the median latency in milliseconds, by number of tokens."""
        return {length: float(np.median(engine.latencies_ms(texts))) for length, texts in self.texts.items()}


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Times the same texts in batches of several sizes.

    Attributes:
        texts: The texts, as many as the largest batch has or more.
    """

    texts: list[Text]

    def __call__(self, engine: Engine) -> dict[int, float]:
        """Give texts a second, by batch size."""
        return {size: len(self.texts) / engine.batch_sec(self.texts, size) for size in BATCH_SIZES}
