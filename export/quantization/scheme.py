"""The ways to quantise a graph, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ftx.quantization import PER_TOKEN

__all__ = ["NAMES", "SCHEMES", "TARGETS", "Scheme", "for_target"]

# For which CPUs a file may be made. Without int8 dot products (VNNI) x86 adds pairs of products in int16, which weights
# of 7 bits can't overflow; with them 8 bits are exact, as on Arm.
TARGETS = {"vnni": 8, "arm64": 8, "avx2": 7, "avx512": 7, "any": 7}

# How operators can fall back to more precision, the cheapest way first.
FALLBACKS = {"outliers": "with outliers in fp32", "blockwise": "in blocks", "fp32": "in fp32"}


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """One way to quantise the linear operators and the embeddings.

    Attributes:
        name: What the user calls it.
        activations: `static`: one scale for each tensor, fixed by calibration, so that predictions do not depend
            on the batch composition; `dynamic`: one for each tensor and batch, found at run time; `per-token`: one
            for each token, found at run time, so that predictions depend neither on calibrated ranges nor on the batch
            composition; `blockwise`: one for each token and block of 128 channels (onnxruntime's MatMulNBits).
        smooth: Whether an activation's outliers move into the weights (SmoothQuant), as far as is best for each.
        per_channel: Whether each output channel of a weight has a scale of its own.
        weight_bits: 8, or 7: half the range, which no CPU's int8 product overflows.
        weight_type: `s8`; `u8`: twice the work on a CPU without VNNI, but exact there at 8 bits.
        attention: Whether fused attention's projections are int8, too.
        embeddings: Whether embedding tables are int8, each row with a scale of its own.
        fallback_nodes: Operators that int8 hurts most, which are quantised less than the rest.
        fallback: How: `outliers`: the largest outlier channels are multiplied in fp32; `blockwise`: as above; `fp32`:
            not at all.
    """

    name: str
    activations: str = "static"
    smooth: bool = False
    per_channel: bool = True
    weight_bits: int = 8
    weight_type: str = "s8"
    attention: bool = True
    embeddings: bool = True
    fallback_nodes: tuple[str, ...] = ()
    fallback: str = "fp32"

    @property
    def per_token(self) -> bool:
        """Whether each token of an activation has a scale of its own."""
        return self.activations == PER_TOKEN

    def way(self, node: str) -> str:
        """Tell how an operator is made: one of `FALLBACKS`, `blockwise`, or `int8` with a scale for each tensor."""
        if node in self.fallback_nodes:
            return self.fallback
        return "blockwise" if self.activations == "blockwise" else "int8"

    def to_dict(self) -> dict[str, Any]:
        """Give the scheme as the JSON values of a `Quantization`."""
        smoothing, count = ", smoothed" if self.smooth else "", len(self.fallback_nodes)
        mixed = f", {count} operator{'s' * (count > 1)} {FALLBACKS[self.fallback]}" if count else ""
        grain = "block" if self.activations == "blockwise" else "channel" if self.per_channel else "tensor"
        kind, of_tokens = ("dynamic", "activations per token, ") if self.per_token else (self.activations, "")
        return {
            "scheme": f"{kind} int8: {of_tokens}weights {self.weight_type} per {grain}{smoothing}{mixed}",
            "kind": kind,
            "name": self.name,
            "activations": self.activations,
            "smooth": self.smooth,
            "per_channel": self.per_channel,
            "weight_bits": self.weight_bits,
            "weight_type": self.weight_type,
            "weights": "uint8" if self.weight_type == "u8" else "int8",
            "attention": self.attention,
            "embeddings": self.embeddings,
            "rescued_nodes": list(self.fallback_nodes),
            "rescue": self.fallback if self.fallback_nodes else None,
        }


# In the order in which the search tries them: the best on the models that ftx was developed with comes first.
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="static", smooth=True),
        Scheme(name="dynamic-per-token", activations=PER_TOKEN, smooth=True),
        Scheme(name="dynamic-per-batch", activations="dynamic"),
        Scheme(name="static-fp32-attention", smooth=True, attention=False),
        Scheme(name="static-fp32-embeddings", smooth=True, embeddings=False),
        Scheme(name="blockwise", activations="blockwise", weight_type="u8"),
        Scheme(name="static-u8u8", smooth=True, weight_type="u8"),
        Scheme(name="dynamic-per-tensor", activations="dynamic", per_channel=False),
    )
}

# What --quantize takes: dynamic is the best of the dynamic ones.
NAMES = {**SCHEMES, "dynamic": SCHEMES["dynamic-per-token"]}


def for_target(scheme: Scheme, target: str) -> Scheme:
    """Fit a scheme to a CPU: fewer bits where its int8 products could overflow; u8 weights never do."""
    return scheme if scheme.weight_type == "u8" else replace(scheme, weight_bits=TARGETS[target])
