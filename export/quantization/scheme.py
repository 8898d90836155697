"""How a graph may be quantised, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

__all__ = ["SCHEMES", "TARGETS", "Scheme", "for_target"]

# For which CPUs a file may be made. Without int8 dot products (VNNI) x86 adds pairs of products in int16, which weights
# of 7 bits can't overflow; with them 8 bits are exact, as on Arm.
TARGETS = {"vnni": 8, "arm64": 8, "avx2": 7, "avx512": 7, "any": 7}


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """One way to quantise the linear operators and the embeddings.

    Attributes:
        name: What the user calls it.
        activations: `static`: one scale for each tensor, fixed by calibration, so that a text's answer does not depend
            on its batch-mates; `dynamic`: one for each tensor and batch, found at run time; `blockwise`: one for each
            token and block of 128 channels (onnxruntime's MatMulNBits).
        alpha: Smoothing: how much of the activations' range moves into the weights (SmoothQuant, Xiao et al. 2022);
            None: none.
        per_channel: Whether each output channel of a weight has a scale of its own.
        weight_bits: 8, or 7: half the range, which no CPU's int8 product overflows.
        weight_type: `s8`; `u8`: twice the work on a CPU without VNNI, but exact there at 8 bits.
        attention: Whether fused attention's projections are int8, too (QAttention).
        embeddings: Whether embedding tables are int8, each row with a scale of its own.
        fp32_nodes: Operators left as they are.
        blockwise_nodes: Operators quantised blockwise, whatever the others are.
    """

    name: str
    activations: str = "static"
    alpha: float | None = None
    per_channel: bool = True
    weight_bits: int = 8
    weight_type: str = "s8"
    attention: bool = True
    embeddings: bool = True
    fp32_nodes: tuple[str, ...] = ()
    blockwise_nodes: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Say for the manifest what was done."""
        smoothing = "" if self.alpha is None else f", smoothing {self.alpha:g}"
        grain = "channel" if self.per_channel else "tensor"
        return {
            "scheme": f"{self.activations} int8: weights {self.weight_type} per {grain}{smoothing}",
            "name": self.name,
            "activations": self.activations,
            "smoothing_alpha": self.alpha,
            "per_channel": self.per_channel,
            "weight_bits": self.weight_bits,
            "weight_type": self.weight_type,
            "attention": self.attention,
            "embeddings": self.embeddings,
            "fp32_nodes": list(self.fp32_nodes),
            "blockwise_nodes": list(self.blockwise_nodes),
        }


# In the order in which the search tries them: what was best on the models ftx was made with comes first.
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="static-0.8", alpha=0.8),
        Scheme(name="static-0.7", alpha=0.7),
        Scheme(name="static-0.9", alpha=0.9),
        Scheme(name="dynamic", activations="dynamic"),
        Scheme(name="dynamic-0.7", activations="dynamic", alpha=0.7),
        Scheme(name="static-fp32-attention", alpha=0.8, attention=False),
        Scheme(name="static-fp32-embeddings", alpha=0.8, embeddings=False),
        Scheme(name="blockwise", activations="blockwise"),
        Scheme(name="static-0.75", alpha=0.75),
        Scheme(name="static-0.85", alpha=0.85),
        Scheme(name="static", activations="static"),
        Scheme(name="dynamic-per-tensor", activations="dynamic", per_channel=False),
        Scheme(name="static-u8u8", alpha=0.8, weight_type="u8"),
    )
}


def for_target(scheme: Scheme, target: str) -> Scheme:
    """Fit a scheme to a CPU: fewer bits where its int8 products could overflow; u8 weights never do."""
    return scheme if scheme.weight_type == "u8" else replace(scheme, weight_bits=TARGETS[target])
