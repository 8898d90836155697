"""How to predict: one value from the command line to the graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftx.machine import check_threads
from ftx.runtime.inputs import SWITCH, check_choice, whole_number
from ftx.runtime.long_text import POOLINGS

__all__ = ["LONG_TEXTS", "MODES", "PredictSettings"]

MODES = ("auto", "latency", "throughput")
LONG_TEXTS = ("truncate", "window")


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """How to predict. The fields are the arguments of `Predictor`, and described there.

    Raises:
        ValueError: A value is not one of those that are described.
    """

    intra_op_num_threads: int | None = None
    batch_size: int = 32
    invariant: bool = False
    mode: str = "auto"
    long_text: str = "truncate"
    stride: int | None = None
    pooling: str = "mean"
    provider: str = "cpu"
    spinning: bool = True
    fallback: str | Path | None = None

    def __post_init__(self) -> None:
        numbers = {
            "intra_op_num_threads": check_threads(self.intra_op_num_threads),
            "batch_size": whole_number(self.batch_size, "batch_size", least=1),
            "stride": None if self.stride is None else whole_number(self.stride, "stride", least=0),
        }
        for name, number in numbers.items():  # Python's own, where they were NumPy's: JSON takes no others
            object.__setattr__(self, name, number)
        choices = {"mode": MODES, "long_text": LONG_TEXTS, "pooling": POOLINGS, "invariant": SWITCH, "spinning": SWITCH}
        for name, known in choices.items():
            check_choice(getattr(self, name), name, known)
