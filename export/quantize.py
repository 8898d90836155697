"""Dynamic int8: weights quantised per channel, activations at run time; what hurts most stays in fp32."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity import Parity, measure
from ftx.export.quiet import quiet
from ftx.export.sensitivity import OP_TYPES, Sensitivity, rank
from ftx.heldout import HeldOut
from ftx.text import Text

__all__ = ["Attempt", "QuantizationSearch", "describe_quantization", "quantize"]

# Texts on which the operators are ranked: enough for an order, few enough for seconds.
RANKING_TEXTS = 64
SCHEME = "dynamic int8: weights s8 per channel, activations u8 per tensor"
# u8 x s8 with weights over the full range: exact with dot-product instructions (VNNI, AMX, Arm dotprod); without them
# the runtime asks onnxruntime for its exact kernel (session.x64quantprecision).
SAFE_ON = ["avx512_vnni", "avx_vnni", "amx_int8", "arm64"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One int8 model that was tried.

    Attributes:
        fp32_nodes: Operators left in fp32.
        parity: What was measured, by batch size, up to the first that does not pass.
        passed: Whether it passes the gate.
    """

    fp32_nodes: list[str]
    parity: list[Parity]
    passed: bool


@dataclass(frozen=True, kw_only=True)
class QuantizationSearch:
    """How the int8 model was found.

    Attributes:
        ranking: The quantised operators, the worst first; empty where the first attempt passed.
        attempts: What was tried, in turn; the last one passed, or none did.
    """

    ranking: list[Sensitivity]
    attempts: list[Attempt]

    @property
    def passed(self) -> bool:
        """Whether the last attempt passed."""
        return self.attempts[-1].passed


def quantize(
    fp32: Path, target: Path, *, reference_logits: NDArray[np.float32], held_out: HeldOut
) -> QuantizationSearch:
    """Quantise a graph, leaving ever more of the worst operators in fp32 until the gate passes.

    Args:
        fp32: The proven fp32 graph, its tokenizer.json and config.json beside it.
        target: Where the quantised graph goes, in the same folder; no file is left there when none passes.
        reference_logits: PyTorch's on the held-out texts. *Shape:* `(len(held_out), num_labels)`.
        held_out: The texts and their labels.
    """
    ranking: list[Sensitivity] = []
    attempts: list[Attempt] = []
    # At least one operator must be int8: with all of them in fp32 the gate would pass on a file that is no int8 file.
    while not ranking or len(attempts) < len(ranking):
        left = [entry.node for entry in ranking[: len(attempts)]]
        write_int8(fp32, target, left)
        parity, passed = [], True
        for result in measure(target, reference_logits, held_out):
            parity.append(result)
            passed = result.same_answers()
            if not passed:  # the other batch sizes can't mend it
                break
        attempts.append(Attempt(fp32_nodes=left, parity=parity, passed=passed))
        report(attempts[-1])
        if passed:
            return QuantizationSearch(ranking=ranking, attempts=attempts)
        if not ranking:
            ranking = rank(fp32, target, spread(held_out.texts))
    target.unlink()
    return QuantizationSearch(ranking=ranking, attempts=attempts)


def write_int8(fp32: Path, target: Path, nodes_to_exclude: list[str]) -> None:
    """Quantise the MatMuls with constant weights and the embeddings, but for some; the small head stays in fp32."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The quantiser rewrites each Gemm to a MatMul of this name, and would then quantise the pooler and the classifier.
    model = onnx.load(str(fp32))
    head = [f"{node.name}_MatMul" for node in model.graph.node if node.op_type == "Gemm"]
    with quiet():
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=OP_TYPES,
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*nodes_to_exclude, *head],
            # Attention's two products of activations stay in fp32: they have no weights to shrink, only error to add.
            extra_options={"MatMulConstBOnly": True},
        )


def describe_quantization(fp32_nodes: list[str]) -> dict[str, Any]:
    """Describe the quantisation for the manifest."""
    return {"scheme": SCHEME, "per_channel": True, "fp32_nodes": fp32_nodes, "safe_on": SAFE_ON}


def spread(texts: list[Text]) -> list[Text]:
    """Take texts of every length, evenly."""
    by_length = sorted(texts, key=lambda text: len(text) if isinstance(text, str) else len(text[0]) + len(text[1]))
    return [by_length[int(place)] for place in np.linspace(0, len(texts) - 1, min(RANKING_TEXTS, len(texts)))]


def report(attempt: Attempt) -> None:
    """Tell the user on stderr how an attempt came out."""
    worst = min(attempt.parity, key=lambda result: result.label_agreement)
    verdict = "passes" if attempt.passed else "does not pass"
    print(
        f"int8, {len(attempt.fp32_nodes)} operators in fp32: label agreement {worst.label_agreement:.4f}, "
        f"accuracy {accuracy(worst.accuracy)} (PyTorch {accuracy(worst.reference_accuracy)}): {verdict}",
        file=sys.stderr,
    )


def accuracy(value: float | None) -> str:
    """Write an accuracy, or that there is none."""
    return "-" if value is None else f"{value:.4f}"
