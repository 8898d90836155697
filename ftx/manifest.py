"""The manifest of an ONNX file: everything the runtime needs, stored inside the file.

Two entries of the file's `metadata_props`: `ftx.manifest` (this, as JSON) and `ftx.tokenizer` (the tokenizer.json).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ftx import typed
from ftx.errors import OnnxFileError
from ftx.onnx_metadata import append_metadata
from ftx.quantization import Quantization
from ftx.snapshot import Snapshot
from ftx.text import Text

__all__ = [
    "MANIFEST_KEY",
    "PROBLEM_TYPES",
    "TOKENIZER_KEY",
    "Manifest",
    "Probe",
    "carried",
    "check_labels",
    "read_id2label",
    "read_manifest",
    "write_manifest",
]

FORMAT_VERSION = 1
MANIFEST_KEY = "ftx.manifest"
TOKENIZER_KEY = "ftx.tokenizer"
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
# More tokens than any text classifier takes.
LONGEST = 2**20


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A text, or a pair, with the file's logits where it was exported, alone in its batch.

    Attributes:
        text: The text.
        logits: This file's own logits. *Shape:* `(num_labels,)`.
        reference: PyTorch's logits for the same text. *Shape:* `(num_labels,)`.
        best: The name of the label with this file's largest logit, so that permuted label names are noticed.
    """

    text: Text
    logits: tuple[float, ...]
    reference: tuple[float, ...]
    best: str | None = None

    def check(self, num_labels: int) -> None:
        """Check that it fits a model with so many labels.

        Raises:
            ValueError: It does not.
        """
        for text in (self.text,) if isinstance(self.text, str) else self.text:
            typed.string(text, "a probe's text")
        for name, logits in (("logits", self.logits), ("reference", self.reference)):
            if len(logits) != num_labels:
                raise ValueError(f"a probe has {len(logits)} {name} for {num_labels} labels")
            for logit in logits:
                typed.number(logit, f"one of a probe's {name}")
        if self.best is not None:
            typed.string(self.best, "a probe's best")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything the runtime needs to know about an ONNX file.

    Attributes:
        problem_type: One of `PROBLEM_TYPES`; decides the head.
        id2label: Label names by column of the logits.
        thresholds: For multi-label: the probability from which a label is predicted, by label name.
        max_length: Tokens a text is truncated to, special tokens included.
        input_names: The graph's inputs.
        text_pair: Whether the model takes pairs of texts; None: the file's maker did not say, both are accepted.
        pad_token_id: The token that pads a batch.
        quantization: How the weights were quantised, and on which CPUs they are exact.
        metrics: The checkpoint's own metrics on held-out text.
        parity: What the parity gate measured for this file.
        probes: Golden probes, replayed by `ftx verify`.
        probe_atol: Largest acceptable |difference| of a probe's logits between two machines.
        producer: Versions of the packages that made the file.
        format_version: Version of this format.
    """

    problem_type: str
    id2label: dict[int, str]
    max_length: int
    input_names: tuple[str, ...]
    text_pair: bool | None = None
    pad_token_id: int = 0
    thresholds: dict[str, float] = field(default_factory=dict)
    quantization: Quantization = field(default_factory=Quantization)
    metrics: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    probe_atol: float = 0.0
    producer: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.problem_type not in PROBLEM_TYPES:
            raise ValueError(f"problem_type {self.problem_type!r:.60}, expected one of {', '.join(PROBLEM_TYPES)}")
        check_labels(self.id2label)
        if self.problem_type == "regression" and len(self.id2label) > 1:
            raise ValueError(f"problem_type regression with {len(self.id2label)} labels, expected 1")
        typed.whole(self.max_length, "max_length", least=1, most=LONGEST)
        typed.whole(self.pad_token_id, "pad_token_id")
        for name in self.input_names:
            typed.string(name, "an input's name")
        if self.text_pair is not None:
            typed.boolean(self.text_pair, "text_pair")
        for label, threshold in typed.mapping(self.thresholds, "thresholds").items():
            typed.number(threshold, f"the threshold of {label!r:.60}", least=0, most=1)
        if unknown := set(self.thresholds) - set(self.id2label.values()):
            raise ValueError(f"thresholds for {sorted(unknown)!s:.200}, which are no labels")
        for name in ("metrics", "parity", "producer"):
            typed.mapping(getattr(self, name), name)
        for probe in self.probes:
            probe.check(len(self.id2label))
        typed.number(self.probe_atol, "probe_atol", least=0)

    @property
    def labels(self) -> list[str]:
        """Label names in the order of the logits' columns."""
        return [self.id2label[column] for column in range(len(self.id2label))]

    @property
    def margin_error(self) -> float | None:
        """How much the margin of a text near the boundary was seen to change at export; None: not measured."""
        found = self.parity.get("margin_error")
        return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None

    @property
    def calibrated_tokens(self) -> int | None:
        """How many tokens the longest text of static int8's calibration has; None where it is as long as any text."""
        found = self.quantization.calibrated_tokens if self.quantization.kind == "static" else None
        return found if found is not None and found < self.max_length else None

    @property
    def window_tokens(self) -> int:
        """How many tokens a window of a long text has."""
        return self.calibrated_tokens or self.max_length

    def to_json(self) -> str:
        """Write the manifest as one line of JSON; NaN and infinity become null."""
        values = typed.finite({**asdict(self), "quantization": self.quantization.to_dict()})
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError: It is not JSON, has a newer format, or a field is missing, unknown or invalid.
        """
        values = typed.read_object(text)
        version = typed.whole(values.get("format_version"), "format_version", least=1)
        if version > FORMAT_VERSION:
            raise ValueError(f"format_version {version}, this ftx reads up to {FORMAT_VERSION}: update ftx")
        try:
            values["id2label"] = read_id2label(values["id2label"])
            values["input_names"] = tuple(typed.listed(values["input_names"], "input_names"))
            values["probes"] = tuple(map(read_probe, typed.listed(values.get("probes", ()), "probes")))
            values["quantization"] = Quantization.from_dict(values.get("quantization", {}))
            for name in ("metrics", "parity"):
                values[name] = typed.finite(values.get(name, {}))
            return cls(**values)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"a field is missing or of the wrong kind: {error!s:.200}") from error


def read_id2label(value: Any) -> dict[int, str]:
    """Read label names by column from JSON, whose keys are strings.

    Raises:
        ValueError: It is not an object of numbers and names.
    """
    labels: dict[int, str] = {}
    for column, label in typed.mapping(value, "id2label").items():
        if not (column.isascii() and column.isdecimal() and len(column) <= 9):
            raise ValueError(f"id2label has the column {column!r:.60}, expected a whole number")
        labels[int(column)] = typed.string(label, f"the label of column {column}")
    if len(labels) < len(value):
        raise ValueError("id2label names a column twice")
    return labels


def check_labels(id2label: dict[int, str]) -> None:
    """Check that each column has a name of its own: predictions are given by name."""
    if not id2label or sorted(id2label) != list(range(len(id2label))):
        raise ValueError(f"id2label numbers {sorted(id2label)!s:.200}, expected 0, 1, 2, ... without a gap")
    seen: dict[str, int] = {}
    for column, label in id2label.items():
        if (other := seen.setdefault(label, column)) != column:
            raise ValueError(f"id2label names the columns {other} and {column} {label!r:.60}: give each its own name")


def read_probe(value: Any) -> Probe:
    """Read a probe, whose text is a list if it is a pair: JSON has no tuples."""
    probe = typed.mapping(value, "a probe")
    text = probe["text"]
    if not isinstance(text, str):
        text = tuple(typed.listed(text, "a probe's text"))
        if len(text) != 2:
            raise ValueError(f"a probe's text has {len(text)} parts, expected a string or two")
    logits, reference = (tuple(typed.listed(probe[name], f"a probe's {name}")) for name in ("logits", "reference"))
    return Probe(text=text, logits=logits, reference=reference, best=probe.get("best"))


def read_manifest(path: Path) -> tuple[Manifest, str] | None:
    """Read the manifest and the tokenizer.json that an ONNX file carries.

    Args:
        path: The `.onnx` file.

    Returns:
        Both, or None where the file was not made by ftx.

    Raises:
        OnnxFileError: The file is damaged, or its manifest can't be read.
    """
    file = Snapshot(path)
    file.close()
    return carried(file)


def carried(file: Snapshot) -> tuple[Manifest, str] | None:
    """Read the manifest and the tokenizer.json that an open ONNX file carries; see `read_manifest`."""
    if MANIFEST_KEY not in file.metadata:
        return None
    try:
        return Manifest.from_json(file.metadata[MANIFEST_KEY]), file.metadata[TOKENIZER_KEY]
    except (KeyError, ValueError) as error:
        raise OnnxFileError(f"{file.path} carries a manifest that can't be used: {error!s:.300}") from error


def write_manifest(path: Path, manifest: Manifest, tokenizer_json: str) -> None:
    """Put a manifest and a tokenizer.json into an ONNX file and seal it; the file must carry none yet.

    Args:
        path: The `.onnx` file, changed in place.
        manifest: The manifest.
        tokenizer_json: The text of its tokenizer.json.
    """
    append_metadata(path, {TOKENIZER_KEY: tokenizer_json, MANIFEST_KEY: manifest.to_json()})
