"""What was tried, what was measured of it, and which one is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ftx.export.parity import Gate, Parity
from ftx.export.quantization.race import Speed

__all__ = ["Candidate", "by_surety", "choose", "is_sure", "judge", "mark_front"]

# What passes more surely may be this much slower than the fastest that passes.
SURETY_KEEPS = 0.85
# A noisy machine is no reason to take what is clearly slower.
MAX_SPREAD = 0.03


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One form of the model, measured on the texts that choose.

    Attributes:
        name: What it is called.
        kind: `int8`: one of ours, which may be chosen; `fp32`; `peer`: another toolkit's, for comparison.
        scheme: How it was made.
        size_bytes: Of its file.
        parity: Against PyTorch, in batches of 32.
        expected_agreement: What label agreement comes to on much more text like this, by the margins.
        batch_flips: Labels that differ between alone and batched; None where activations have fixed scales.
        verdict: By the gate: `passes`, `near` or `fails`.
        speed: Where it was timed.
        on_front: Whether none is better in one respect and worse in none.
    """

    name: str
    kind: str
    scheme: dict[str, Any]
    size_bytes: int
    parity: Parity
    expected_agreement: float
    batch_flips: int | None
    verdict: str
    speed: Speed | None = None
    on_front: bool = False

    @property
    def goals(self) -> tuple[float, ...]:
        """What is better when it is more: faithfulness, speed alone, speed in batches, smallness."""
        if self.speed is None:
            return ()
        parity, speed = self.parity, self.speed
        faithful = (parity.label_agreement, -parity.max_abs_prob_diff, -parity.p99_abs_prob_diff)
        return (*faithful, -speed.latency_ratio, speed.throughput_ratio, -self.size_bytes)

    def to_text(self) -> str:
        """Write the figures on a line."""
        flips = "" if self.batch_flips is None else f", {self.batch_flips} labels hang on batch-mates"
        return (
            f"{self.name}: label agreement {self.parity.label_agreement:.4f} (expected {self.expected_agreement:.4f}), "
            f"p99 |Δp| {self.parity.p99_abs_prob_diff:.3f}{flips}, {self.size_bytes / 2**20:.1f} MiB: {self.verdict}"
        )


def judge(parity: Parity, alone: Parity | None, batch_flips: int | None, gate: Gate) -> str:
    """Judge a candidate on the texts that choose."""
    results = [parity] if alone is None else [parity, alone]
    share = (batch_flips or 0) / parity.texts
    if all(result.same_answers(gate) for result in results) and share <= gate.max_batch_flips:
        return "passes"
    near = all(result.nearly_same_answers(gate) for result in results) and share <= 2 * gate.max_batch_flips
    return "near" if near else "fails"


def mark_front(candidates: list[Candidate]) -> list[Candidate]:
    """Mark the Pareto front among those that were timed."""
    timed = [candidate for candidate in candidates if candidate.speed]
    front = {one.name for one in timed if not any(dominates(other, one) for other in timed)}
    return [replace(candidate, on_front=candidate.name in front) for candidate in candidates]


def dominates(one: Candidate, other: Candidate) -> bool:
    """Tell whether one is at least as good in every respect and better in one."""
    pairs = list(zip(one.goals, other.goals, strict=True))
    return all(mine >= theirs for mine, theirs in pairs) and any(mine > theirs for mine, theirs in pairs)


def choose(candidates: list[Candidate], gate: Gate) -> Candidate | None:
    """Choose the fastest that passes; among those as fast within the measurement's spread, the most faithful.

    What passes by a hair here would fail on other text as often as not, so one that is expected to flip half as many
    labels as the gate allows is taken first, if that costs little speed. fp32 may win; then int8 has nothing to offer.

    Returns:
        The choice, or None where no int8 is near the gate.
    """
    tiers = by_surety([one for one in candidates if one.kind == "int8" and one.speed], gate)
    passing = tiers[-2] or tiers[-1]
    if not passing:
        return None
    fastest = max(passing, key=score)
    fp32 = max((one for one in candidates if one.kind == "fp32" and one.speed), key=score, default=None)
    if fp32 and score(fp32) > score(fastest):
        return fp32
    for tier in tiers:
        if tier and max(map(score, tier)) >= SURETY_KEEPS * score(fastest):
            best = max(tier, key=score)
            bar = score(best) - min(best.speed.spread if best.speed else 0.0, MAX_SPREAD)
            return max((one for one in tier if score(one) >= bar), key=lambda one: one.expected_agreement)
    return fastest


def by_surety(candidates: list[Candidate], gate: Gate) -> list[list[Candidate]]:
    """Sort candidates into those that pass surely, probably, just so, and those that are near."""
    passing = [one for one in candidates if one.verdict == "passes"]
    return [
        [one for one in passing if is_sure(one, gate)],
        [one for one in passing if one.expected_agreement >= gate.min_agreement],
        passing,
        [one for one in candidates if one.verdict == "near"],
    ]


def is_sure(candidate: Candidate, gate: Gate) -> bool:
    """Tell whether a candidate passes and is expected to flip at most half the labels that the gate allows."""
    sure = 1 - (1 - gate.min_agreement) / 2
    return candidate.verdict == "passes" and candidate.expected_agreement >= sure


def score(candidate: Candidate) -> float:
    """Give a candidate's speed."""
    return candidate.speed.score if candidate.speed else 0.0
