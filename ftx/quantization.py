"""How an ONNX file's weights were quantised, and on which CPUs they are exact."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ftx import typed

__all__ = ["EXACT_SETTING", "INT8_KINDS", "KINDS", "PER_TOKEN", "Quantization"]

INT8_KINDS = ("static", "dynamic", "blockwise")
KINDS = ("none", "fp16", *INT8_KINDS, "unknown")
# The `activations` of dynamic int8 with a scale for each token, instead of one for the whole batch.
PER_TOKEN = "per-token"
# Makes onnxruntime turn s8 weights to u8, whose kernel is exact on every CPU (its Avx2WeightS8ToU8Transformer).
EXACT_SETTING = "session.x64quantprecision=1"
# Fields whose name in the JSON differs.
JSON_NAMES = {"fallback": "rescue", "fallback_nodes": "rescued_nodes"}


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How an ONNX file was quantised.

    Attributes:
        kind: One of `KINDS`: `none` (fp32), `fp16`, or int8 by how activations are scaled; `unknown`: the file's maker
            did not say.
        scheme: The same in words, with the details.
        name: The scheme's name, as `ftx export --quantize` takes it.
        activations: How activations are scaled: as `kind`, or `per-token`; None where unknown.
        weights: Their type: `fp32`, `fp16`, `int8` or `uint8`; None where unknown.
        fallback_nodes: The operators that int8 hurts most, which are quantised less: mixed precision.
        fallback: How these are computed: `outliers`: their outlier channels in fp32; `blockwise`; or `fp32`. None where
            there are none.
        safe_on: Instruction sets on which the weights can't saturate; None where unknown.
        safe_setting: The setting of onnxruntime's session that makes them exact on other CPUs; None where none does.
        target: The kind of CPU that the file was made for.
        gate: The limits that the file was held to, by name.
        calibrated_tokens: How long the longest text is that the scales of static activations were calibrated on; None
            where unknown, or where they are not static.
        details: The scheme's other settings, and fields that this version of ftx does not know.
    """

    kind: str = "unknown"
    scheme: str = "unknown"
    name: str | None = None
    activations: str | None = None
    weights: str | None = None
    fallback_nodes: tuple[str, ...] = ()
    fallback: str | None = None
    safe_on: tuple[str, ...] | None = None
    safe_setting: str | None = None
    target: str | None = None
    gate: dict[str, float] = field(default_factory=dict)
    calibrated_tokens: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"quantization has the kind {self.kind!r:.60}, expected one of {', '.join(KINDS)}")

    @property
    def is_int8(self) -> bool:
        """Whether the weights are int8."""
        return self.kind in INT8_KINDS

    @property
    def is_reduced(self) -> bool:
        """Whether the weights are in fewer bits than fp32, so that predictions may differ from the checkpoint's."""
        return self.is_int8 or self.kind == "fp16"

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the manifest and of parity.json."""
        found = {JSON_NAMES.get(name, name): value for name, value in vars(self).items() if name != "details"}
        for name in ("safe_on", "rescued_nodes"):
            found[name] = None if found[name] is None else list(found[name])
        # An absent safe_setting means that the file was made before it was recorded; see from_dict.
        written = {name for name, value in found.items() if value not in (None, {})} | {"rescue", "safe_setting"}
        return {name: value for name, value in found.items() if name in written} | self.details

    @classmethod
    def from_dict(cls, values: Any) -> Quantization:
        """Read JSON values, those of earlier versions of ftx, too.

        Raises:
            ValueError: One of them is of the wrong type.
        """
        given = dict(typed.mapping(values, "quantization"))

        def text(name: str, default: str | None = None) -> str | None:
            value = given.pop(name, default)
            return None if value is None else typed.string(value, name)

        def texts(name: str) -> tuple[str, ...] | None:
            if (values := given.pop(name, None)) is None:
                return None
            return tuple(typed.string(value, f"one of {name}") for value in typed.listed(values, name))

        kind, scheme, activations = text("kind"), text("scheme") or "unknown", text("activations")
        gate = typed.mapping(given.pop("gate", {}), "gate")
        tokens = given.pop("calibrated_tokens", None)
        return cls(
            kind=kind if kind in KINDS else kind_of(scheme, activations),
            scheme=scheme,
            name=text("name"),
            activations=activations,
            weights=text("weights"),
            fallback_nodes=texts("rescued_nodes") or (),
            fallback=text("rescue"),
            safe_on=texts("safe_on"),
            safe_setting=text("safe_setting", EXACT_SETTING),
            target=text("target"),
            gate={name: typed.number(limit, f"{name!s:.60} of the gate") for name, limit in gate.items()},
            calibrated_tokens=None if tokens is None else typed.whole(tokens, "calibrated_tokens", least=1),
            details=given,
        )


def kind_of(scheme: str, activations: str | None) -> str:
    """Derive the kind of a file that states none, as those of ftx 0.1.0, from its activations or its scheme."""
    if activations in INT8_KINDS:
        return activations
    first = scheme.partition(" ")[0].strip(":")
    return first if first in KINDS else "dynamic" if "int8" in scheme else "unknown"
