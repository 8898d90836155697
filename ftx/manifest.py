"""What an ONNX file says of itself: everything the runtime needs, carried inside the file.

Two entries of the file's `metadata_props`: `ftx.manifest` (this, as JSON) and `ftx.tokenizer` (the tokenizer.json).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ftx.errors import OnnxFileError
from ftx.onnx_metadata import append_metadata, read_metadata
from ftx.text import Text

__all__ = [
    "MANIFEST_KEY",
    "PROBLEM_TYPES",
    "TOKENIZER_KEY",
    "Manifest",
    "Probe",
    "read_manifest",
    "write_manifest",
]

FORMAT_VERSION = 1
MANIFEST_KEY = "ftx.manifest"
TOKENIZER_KEY = "ftx.tokenizer"
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A text, or a pair, with the answers that the file gave, alone in its batch, where it was exported.

    Attributes:
        text: The text.
        logits: This file's own logits. *Shape:* `(num_labels,)`.
        reference: PyTorch's logits for the same text. *Shape:* `(num_labels,)`.
        best: The name of the label with this file's largest logit, so that names in another order are noticed.
    """

    text: Text
    logits: tuple[float, ...]
    reference: tuple[float, ...]
    best: str | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything the runtime needs to know about an ONNX file.

    Attributes:
        problem_type: One of `PROBLEM_TYPES`; decides the head.
        id2label: Label names by column of the logits.
        thresholds: For multi-label: the probability from which a label is given, by label name.
        max_length: Tokens a text is cut to, special tokens included.
        input_names: The graph's inputs.
        text_pair: Whether the model judges two texts together; None: the file's maker did not say, both are taken.
        pad_token_id: The token that fills a batch.
        quantization: Scheme, the MatMuls left in fp32, and the instruction sets on which the weights are safe.
        metrics: The checkpoint's own metrics on held-out text.
        parity: What the parity gate measured for this file.
        probes: Golden probes, replayed by `ftx verify`.
        probe_atol: Largest |difference| of a probe's logits between two machines that is not a fault.
        producer: Versions of what made the file.
        format_version: Version of this format.
    """

    problem_type: str
    id2label: dict[int, str]
    max_length: int
    input_names: tuple[str, ...]
    text_pair: bool | None = None
    pad_token_id: int = 0
    thresholds: dict[str, float] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=lambda: {"scheme": "unknown"})
    metrics: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    probe_atol: float = 0.0
    producer: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.problem_type not in PROBLEM_TYPES:
            raise ValueError(f"problem_type {self.problem_type!r}, expected one of {', '.join(PROBLEM_TYPES)}")
        if not self.id2label or sorted(self.id2label) != list(range(len(self.id2label))):
            raise ValueError(f"id2label numbers {sorted(self.id2label)}, expected 0, 1, 2, ... without a gap")
        if self.max_length < 1:
            raise ValueError(f"max_length {self.max_length}, expected at least 1")
        if unknown := set(self.thresholds) - set(self.id2label.values()):
            raise ValueError(f"thresholds for {sorted(unknown)}, which are no labels")

    @property
    def labels(self) -> list[str]:
        """Label names in the order of the logits' columns."""
        return [self.id2label[column] for column in range(len(self.id2label))]

    @property
    def is_int8(self) -> bool:
        """Whether the weights were quantised to int8."""
        return "int8" in str(self.quantization.get("scheme"))

    @property
    def is_fp16(self) -> bool:
        """Whether the weights are in half precision, for a GPU."""
        return "fp16" in str(self.quantization.get("scheme"))

    def to_json(self) -> str:
        """Write the manifest as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError: It is not JSON, of a newer format, or lacks or holds what it should not.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or not isinstance(values.get("format_version"), int):
            raise ValueError("no format_version")
        if values["format_version"] > FORMAT_VERSION:
            raise ValueError(
                f"format_version {values['format_version']}, this ftx reads up to {FORMAT_VERSION}: update ftx"
            )
        try:
            values["id2label"] = {int(column): str(label) for column, label in values["id2label"].items()}
            values["input_names"] = tuple(values["input_names"])
            values["probes"] = tuple(
                Probe(
                    text=one_or_pair(probe["text"]),
                    logits=tuple(probe["logits"]),
                    reference=tuple(probe["reference"]),
                    best=probe.get("best"),
                )
                for probe in values.get("probes", ())
            )
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"a field is missing or of the wrong kind: {error}") from error


def one_or_pair(text: str | list[str]) -> Text:
    """Give a text as it was before JSON made a list of a pair."""
    if isinstance(text, str):
        return text
    first, second = text
    return first, second


def read_manifest(path: Path) -> tuple[Manifest, str] | None:
    """Read the manifest and the tokenizer.json that an ONNX file carries.

    Args:
        path: The `.onnx` file.

    Returns:
        Both, or None where the file was not made by ftx.

    Raises:
        OnnxFileError: The file is not whole, or its manifest can't be understood.
    """
    entries = read_metadata(path)
    if MANIFEST_KEY not in entries:
        return None
    try:
        return Manifest.from_json(entries[MANIFEST_KEY]), entries[TOKENIZER_KEY]
    except (KeyError, ValueError) as error:
        raise OnnxFileError(f"{path} carries a manifest that can't be used: {error}") from error


def write_manifest(path: Path, manifest: Manifest, tokenizer_json: str) -> None:
    """Put a manifest and a tokenizer.json into an ONNX file and seal it; the file must carry none yet.

    Args:
        path: The `.onnx` file, changed in place.
        manifest: What the file says of itself.
        tokenizer_json: The text of its tokenizer.json.
    """
    append_metadata(path, {TOKENIZER_KEY: tokenizer_json, MANIFEST_KEY: manifest.to_json()})
