"""Judge a smaller file on text of other kinds: longer, shorter, misspelt, the user's own; see `shifted`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ftx.export.parity.agreement import agreement_beside, estimate_agreement
from ftx.export.parity.gate import NOT_ENOUGH, SLACK, Gate, same_predictions
from ftx.export.parity.intervals import Interval, agreement_interval
from ftx.export.parity.reference import Reference
from ftx.export.parity.reference_set import ReferenceSet
from ftx.export.parity.shifted import MAX_TEXTS, shifted
from ftx.export.parity.values import tolerance
from ftx.heldout import HeldOut
from ftx.text import Text

__all__ = [
    "KindAgreement", "StressSet", "judge_kinds", "lowest", "missed_kinds", "stress_set", "worst_verdict"
]  # fmt: skip

GIVEN = "given"  # the kind of the user's own texts
VERDICTS = ("fails", "near", NOT_ENOUGH, "passes")  # the worst first
# So many texts say how long texts are on average.
MEASURED_LENGTHS = 1000


@dataclass(frozen=True, kw_only=True)
class KindAgreement:
    """How an ONNX file agrees with PyTorch on text of one kind.

    Attributes:
        kind: Which: `joined_N`, `few_words`, `upper_case`, `typos`, `urls_digits_emoji`, `repeated_words`, or `given`,
            the user's own.
        texts: How many.
        label_agreement: Share of them with PyTorch's label, or labels; for regression, with a value within a tenth of
            the standard deviation of PyTorch's values on held-out text.
        expected_agreement: The estimated agreement on much more text of this kind, from its margins and errors.
        beside_held_out: The estimated agreement on held-out text, were the errors on it those on this kind: whether
            errors are larger here, or only margins smaller.
        max_abs_logit_diff: Largest |difference| of a logit.
        required: The gate's limit for the estimated agreement.
        verdict: By the higher of both estimates: `passes`, `near` (at most twice the flips allowed) or `fails`.
        label_agreement_interval: Exact 95 % interval of the label agreement (Clopper and Pearson).
    """

    kind: str
    texts: int
    label_agreement: float
    expected_agreement: float
    beside_held_out: float
    max_abs_logit_diff: float
    required: float
    verdict: str
    label_agreement_interval: Interval = field(init=False)

    def __post_init__(self) -> None:
        interval = agreement_interval(self.texts * self.label_agreement, self.texts)
        object.__setattr__(self, "label_agreement_interval", interval)

    @property
    def near_boundary(self) -> bool:
        """Whether it passes only by the margins of held-out text: its own texts lie near the boundary."""
        return self.verdict == "passes" and self.expected_agreement < self.required - SLACK

    @property
    def outcome(self) -> str:
        """Say what became of the limit: whether a file passes is said of its held-out text alone."""
        return {"passes": "kept", "near": "nearly kept", "fails": "missed"}[self.verdict]

    def to_text(self) -> str:
        """Write the figures on a line."""
        low, high = self.label_agreement_interval
        why = (
            f" ({self.beside_held_out:.4f} with held-out text's margins, which are wider)" if self.near_boundary else ""
        )
        return (
            f"{self.kind} text: agreement {self.label_agreement:.4f} on {self.texts} texts (95 % interval {low:.4f} to "
            f"{high:.4f}), estimated {self.expected_agreement:.4f}: limit {self.required:g} {self.outcome}{why}"
        )


@dataclass(frozen=True, kw_only=True)
class StressSet:
    """Texts of several kinds with PyTorch's logits.

    Attributes:
        reference: All texts, kind after kind.
        kinds: How many there are of each kind, in this order.
        held_out_logits: PyTorch's on the held-out texts that these were made from. *Shape:* `(num_texts, num_labels)`.
    """

    reference: ReferenceSet
    kinds: dict[str, int]
    held_out_logits: NDArray[np.float32]

    @property
    def texts(self) -> list[Text]:
        """All texts."""
        return self.reference.held_out.texts

    @property
    def texts_by_kind(self) -> dict[str, list[Text]]:
        """The texts of each kind."""
        left = iter(self.texts)
        return {kind: list(islice(left, count)) for kind, count in self.kinds.items()}


def stress_set(reference: Reference, held_out: ReferenceSet, given: Sequence[Text] = ()) -> StressSet:
    """Make texts of all kinds from held-out ones, add the user's own, and run PyTorch on them.

    Args:
        reference: The PyTorch model.
        held_out: The held-out texts.
        given: The user's own; spread over these, `MAX_TEXTS` of them are used.
    """
    texts = held_out.held_out.texts
    some = texts[:: max(1, len(texts) // MEASURED_LENGTHS)]
    kinds = shifted(texts, tokens=reference.mean_tokens(some), max_length=reference.max_length)
    if given:
        places = np.linspace(0, len(given) - 1, min(MAX_TEXTS, len(given)))
        kinds[GIVEN] = [given[int(place)] for place in places]
    every = [text for texts in kinds.values() for text in texts]
    return StressSet(
        reference=ReferenceSet(
            held_out=HeldOut(texts=every), logits=reference.logits(every), manifest=held_out.manifest
        ),
        kinds={kind: len(texts) for kind, texts in kinds.items()},
        held_out_logits=held_out.logits,
    )


def judge_kinds(logits: NDArray[np.float32], stress: StressSet, gate: Gate) -> tuple[KindAgreement, ...]:
    """Judge a file's logits on the texts of a stress set, kind by kind. *Shape:* `(len(stress.texts), num_labels)`."""
    found, start = [], 0
    for kind, texts in stress.kinds.items():
        rows = slice(start, start + texts)
        found.append(judge_kind(kind, logits[rows], stress.reference.logits[rows], stress, gate))
        start += texts
    return tuple(found)


def judge_kind(
    kind: str, logits: NDArray[np.float32], expected: NDArray[np.float32], stress: StressSet, gate: Gate
) -> KindAgreement:
    """Judge the logits on the texts of one kind by PyTorch's. *Shape of each:* `(num_texts, num_labels)`."""
    manifest, usual = stress.reference.manifest, stress.held_out_logits
    if manifest.problem_type == "regression":
        # By the spread of held-out values: those of one kind may all be the same. NaN does not agree.
        counted = float((np.abs(logits - expected) <= tolerance(usual)).all(axis=1).mean())
        estimated = beside = counted
    else:
        counted = float(same_predictions(logits, expected, manifest).mean())
        estimated = estimate_agreement(logits, expected, manifest)
        finite = bool(np.isfinite(logits).all())
        beside = agreement_beside(logits, expected, manifest, usual) if finite else 0.0
    limit = gate.min_stress_agreement
    # Small margins are no fault of the file: with those of held-out text the same errors may flip few labels.
    judged = max(estimated, beside) + SLACK
    verdict = "passes" if judged >= limit else "near" if judged >= 1 - 2 * (1 - limit) else "fails"
    return KindAgreement(
        kind=kind,
        texts=len(logits),
        label_agreement=counted,
        expected_agreement=estimated,
        beside_held_out=beside,
        max_abs_logit_diff=float(np.abs(logits - expected).max()),
        required=limit,
        verdict=verdict,
    )


def missed_kinds(kinds: Sequence[KindAgreement]) -> list[str]:
    """Say on which kinds of text a file misses the limit."""
    return [
        f"estimated agreement {max(one.expected_agreement, one.beside_held_out):.4f} on {one.kind} text, "
        f"required {one.required:g}"
        for one in kinds
        if one.verdict != "passes"
    ]


def worst_verdict(verdict: str, kinds: Sequence[KindAgreement]) -> str:
    """Give the worst of a verdict on held-out text and those on other kinds of text."""
    return min((verdict, *(one.verdict for one in kinds)), key=VERDICTS.index)


def lowest(kinds: Sequence[KindAgreement]) -> KindAgreement | None:
    """Give the kind on which the estimated agreement is lowest, if there is any."""
    return min(kinds, key=lambda one: one.expected_agreement, default=None)
