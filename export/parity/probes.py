"""Golden probes: a few texts with their logits, stored in the file so that any machine can check them.

The texts are ftx's own: a shipped file must not contain its owner's data.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ftx.export.parity.reference import Reference
from ftx.manifest import Manifest, Probe
from ftx.runtime import Predictor
from ftx.text import Text

__all__ = ["add_probes"]

TEXTS = [
    "This movie was great!",
    "I did not like the film at all.",
    "",
    "It's fine, I guess; the first half-hour drags, but the ending (no spoilers) makes up for it.",
    "¡Qué película tan extraña! Café, naïve, Straße, ЗДРАВСТВУЙТЕ.",
    "電影很好看 😀👍🏽 한국어",
    "a\tb\r\nc\u0000d\u200be\ufeff 1234567890 #@$%^&*",
    "The same words again and again. " * 200,
]
# How much a probe's logits may differ on another machine. fp32: another order of summation. int8: an activation on the
# other side of a rounding boundary changes everything after it; a wrong kernel changes logits by 0.1 or more.
FP32_ATOL = 1e-3
INT8_ATOL = 0.05


def add_probes(manifest: Manifest, path: Path, reference: Reference) -> Manifest:
    """Add the logits of the file at `path` to its manifest, each text alone in its batch."""
    texts: list[Text] = [*TEXTS]
    if manifest.text_pair:
        texts = [*zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True)]
    found = Predictor(path, batch_size=1).logits(texts)
    expected = reference.logits(texts, batch_size=1)
    probes = tuple(
        Probe(
            text=text,
            logits=tuple(map(float, own)),
            reference=tuple(map(float, other)),
            best=reference.id2label[int(own.argmax())],
        )
        for text, own, other in zip(texts, found, expected, strict=True)
    )
    return replace(manifest, probes=probes, probe_atol=INT8_ATOL if manifest.quantization.is_reduced else FP32_ATOL)
