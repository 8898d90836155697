"""The measured ceiling: the highest rates at which onnxruntime multiplies matrices on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ftx.bench.apart import run_apart
from ftx.turns import elapsed_sec

__all__ = ["Ceiling", "measure_ceiling", "products_of"]

# Rows, inner size and columns: BERT's feed-forward for a batch, and a square one.
SHAPES = ((512, 768, 3072), (1024, 1024, 1024))
REPETITIONS = 12
GIGA = 1e9


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """Multiply-accumulates a second, in 10^9.

    Attributes:
        int8_gmac_per_sec: The highest of `MatMulInteger`.
        fp32_gmac_per_sec: The highest of `MatMul`.
    """

    int8_gmac_per_sec: float
    fp32_gmac_per_sec: float


@dataclass(frozen=True, kw_only=True)
class Products:
    """How much an encoder multiplies.

    Attributes:
        per_token: Multiply-accumulates with weights, a token.
        per_token_pair: Those of attention, for each pair of a text's tokens.
    """

    per_token: int
    per_token_pair: int

    def of(self, lengths: list[int]) -> float:
        """Count those of texts, in 10^9."""
        return sum(self.per_token * length + self.per_token_pair * length**2 for length in lengths) / GIGA


def measure_ceiling(threads: int) -> Ceiling:
    """Measure it, in a process of its own."""
    return Ceiling(
        int8_gmac_per_sec=run_apart("The ceiling of int8", highest_rate, threads, int8=True),
        fp32_gmac_per_sec=run_apart("The ceiling of fp32", highest_rate, threads, int8=False),
    )


def highest_rate(threads: int, *, int8: bool) -> float:
    """Multiply matrices, and give the highest rate of all shapes and repetitions, in 10^9 a second."""
    import onnxruntime
    from onnx import TensorProto, helper

    best = 0.0
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for rows, inner, columns in SHAPES:
        random = np.random.default_rng(0)
        weights = random.integers(-63, 64, (inner, columns)).astype(np.int8 if int8 else np.float32)
        left, kind = (TensorProto.UINT8, TensorProto.INT8) if int8 else (TensorProto.FLOAT, TensorProto.FLOAT)
        graph = helper.make_graph(
            [helper.make_node("MatMulInteger" if int8 else "MatMul", ["a", "b"], ["c"])],
            "product",
            [helper.make_tensor_value_info("a", left, (rows, inner))],
            [helper.make_tensor_value_info("c", TensorProto.INT32 if int8 else left, (rows, columns))],
            [helper.make_tensor("b", kind, weights.shape, weights.tobytes(), raw=True)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        given = {"a": random.integers(0, 128, (rows, inner)).astype(np.uint8 if int8 else np.float32)}
        sec = min(elapsed_sec(lambda: session.run(None, given)) for _ in range(REPETITIONS))  # noqa: B023  # at once
        best = max(best, rows * inner * columns / sec / GIGA)
    return best


def products_of(checkpoint: Path) -> Products | None:
    """Count the products of a BERT-like encoder from its config.json; None if that does not give its sizes."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    names = (("hidden_size", "dim"), ("num_hidden_layers", "n_layers"), ("intermediate_size", "hidden_dim"))
    sizes = [next((config[name] for name in each if isinstance(config.get(name), int)), 0) for each in names]
    hidden, layers, inner = sizes
    if not all(sizes):
        return None
    return Products(per_token=layers * (4 * hidden**2 + 2 * hidden * inner), per_token_pair=2 * layers * hidden)
