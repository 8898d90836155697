"""What was tried, what was measured of it, and which one is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ftx.export.parity.gate import ENOUGH_TEXTS, NOT_ENOUGH, Gate, Parity
from ftx.export.parity.stress import KindAgreement, lowest, missed_kinds, worst_verdict
from ftx.export.search.timing import Speed

__all__ = ["Candidate", "choose", "mark_front", "missed", "verdict"]

# The share of the fastest one's speed, and of its throughput alone, that one of higher estimated agreement must have.
KEPT_SPEED = 0.9


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One form of the model, measured on the texts to choose on.

    Attributes:
        name: What it is called.
        kind: `int8`: one that may be chosen; `fp32`; `peer`: another toolkit's, for comparison.
        scheme: How it was made.
        size_bytes: Of its file.
        parity: Against PyTorch, in batches of 32.
        expected_agreement: The estimated label agreement on much more text like this, from the margins.
        batch_flips: Labels that differ between alone and batched; None where activations have fixed scales.
        verdict: By the gate: `passes`, `near` or `fails`; `not enough text` where too few would have to pass it.
        missed: Which limits of the gate it misses.
        speed: Where it was timed.
        on_front: Whether it is on the Pareto front: no other is better in one respect and worse in none.
        stress: How it agrees on other kinds of text; empty where it was not tried on them.
    """

    name: str
    kind: str
    scheme: dict[str, Any]
    size_bytes: int
    parity: Parity
    expected_agreement: float
    batch_flips: int | None
    verdict: str
    missed: tuple[str, ...] = ()
    speed: Speed | None = None
    on_front: bool = False
    stress: tuple[KindAgreement, ...] = ()

    def stressed(self, kinds: tuple[KindAgreement, ...]) -> Candidate:
        """Add what was measured on other kinds of text; a form that misses the limit there does not pass."""
        missed = (*self.missed, *missed_kinds(kinds))
        return replace(self, stress=kinds, verdict=worst_verdict(self.verdict, kinds), missed=missed)

    @property
    def keeps_limits(self) -> bool:
        """Whether it may be chosen: it keeps the gate's limits, on however few texts."""
        return self.verdict in ("passes", NOT_ENOUGH)

    @property
    def goals(self) -> tuple[float, ...]:
        """What to maximise: faithfulness, speed alone and in batches, smallness; empty where it was not timed."""
        if self.speed is None:
            return ()
        parity, speed = self.parity, self.speed
        faithful = (self.expected_agreement, -parity.max_abs_prob_diff, -parity.p99_abs_prob_diff)
        return (*faithful, -speed.latency_ratio, speed.throughput_ratio, -self.size_bytes)

    def to_text(self) -> str:
        """Write the figures on a line."""
        what, largest = ("values that agree", "|Δvalue|") if self.parity.values else ("label agreement", "|Δp|")
        flips = "" if self.batch_flips is None else f", {self.batch_flips} predictions depend on batch composition"
        why = f" ({'; '.join(self.missed)})" if self.missed else ""
        worst = lowest(self.stress)
        other = f", on {worst.kind} text {worst.expected_agreement:.4f}" if worst else ""
        return (
            f"{self.name}: {what} {self.parity.label_agreement:.4f} (estimated {self.expected_agreement:.4f}), "
            f"p99 {largest} {self.parity.p99_abs_prob_diff:.3f}{flips}{other}, {self.size_bytes / 2**20:.1f} MiB: "
            f"{self.verdict}{why}"
        )


def verdict(parity: Parity, alone: Parity | None, estimated: float, batch_flips: int | None, gate: Gate) -> str:
    """Judge a candidate on the texts to choose on.

    By the estimated agreement, which varies less than the counted flips; those need only be near the gate.
    """
    share = (batch_flips or 0) / parity.texts
    near = all(result.is_near(gate) for result in ([parity] if alone is None else [parity, alone]))
    if near and estimated >= gate.min_agreement and share <= gate.max_batch_flips:
        return "passes" if parity.texts >= ENOUGH_TEXTS else NOT_ENOUGH
    return "near" if near and estimated >= gate.floor and share <= 2 * gate.max_batch_flips else "fails"


def missed(
    parity: Parity, alone: Parity | None, estimated: float, batch_flips: int | None, gate: Gate
) -> tuple[str, ...]:
    """Say why a candidate does not pass `verdict`; empty where it does."""
    if verdict(parity, alone, estimated, batch_flips, gate) in ("passes", NOT_ENOUGH):
        return ()
    both = (parity, alone or parity)
    worst = min(both, key=lambda result: result.label_agreement)
    found = max(both, key=lambda result: result.accuracy_loss).missed(
        gate, agreement=None if parity.values else estimated
    )
    if worst.label_agreement < gate.floor and not parity.values:
        found.append(f"counted agreement {worst.label_agreement:.4f}, required {gate.floor:g}")
    if (batch_flips or 0) / parity.texts > gate.max_batch_flips:
        found.append(
            f"{batch_flips} of {parity.texts} predictions depend on batch composition, "
            f"allowed {gate.max_batch_flips:.1%}"
        )
    return tuple(found)


def mark_front(candidates: list[Candidate]) -> list[Candidate]:
    """Mark the Pareto front among those that were timed."""
    timed = [candidate for candidate in candidates if candidate.speed]
    front = {one.name for one in timed if not any(dominates(other, one) for other in timed)}
    return [replace(candidate, on_front=candidate.name in front) for candidate in candidates]


def dominates(one: Candidate, other: Candidate) -> bool:
    """Tell whether one is at least as good in every respect and better in one."""
    pairs = list(zip(one.goals, other.goals, strict=True))
    return all(mine >= theirs for mine, theirs in pairs) and any(mine > theirs for mine, theirs in pairs)


def choose(candidates: list[Candidate]) -> Candidate | None:
    """Choose among the forms that pass: the fastest, trading up to a tenth of its speed for estimated agreement.

    Where none was timed, or none passes and some are near, the one with the highest estimated agreement is chosen, and
    between equals the one that was tried first. fp32 may be the fastest; then int8 has nothing to offer.

    Returns:
        The choice, or None where no int8 form is near the gate.
    """
    ours = [one for one in candidates if one.kind == "int8"]
    passing = [one for one in ours if one.keeps_limits]
    timed = [one for one in passing if one.speed]
    if not timed:
        return surest(passing or [one for one in ours if one.verdict == "near"])
    fastest = max(timed, key=score)
    fp32 = max((one for one in candidates if one.kind == "fp32" and one.speed), key=score, default=None)
    if fp32 and score(fp32) > score(fastest):
        return fp32
    return surest(
        [
            one
            for one in timed
            if score(one) >= KEPT_SPEED * score(fastest) and throughput(one) >= KEPT_SPEED * throughput(fastest)
        ]
    )


def surest(candidates: list[Candidate]) -> Candidate | None:
    """Give the first of those with the highest estimated agreement."""
    return max(candidates, key=lambda one: one.expected_agreement, default=None)


def throughput(candidate: Candidate) -> float:
    """Give a candidate's throughput."""
    return candidate.speed.throughput_ratio if candidate.speed else 0.0


def score(candidate: Candidate) -> float:
    """Give a candidate's speed."""
    return candidate.speed.score if candidate.speed else 0.0
