"""How sure a verdict is: whether the interval of what was measured lies on one side of its limit."""

from __future__ import annotations

from dataclasses import dataclass

from ftx.export.parity.gate import Gate, Parity
from ftx.export.parity.intervals import Interval, texts_needed

__all__ = ["Certainty", "certainty_of"]


@dataclass(frozen=True, kw_only=True)
class Certainty:
    """What the texts say with 95 % confidence about much more text like them.

    Attributes:
        texts: How many there were.
        label_agreement: Share of them that agree.
        label_agreement_interval: Exact 95 % interval of that share (Clopper and Pearson).
        min_agreement: The gate's limit.
        agreement: `above` or `below` the limit if the whole interval is, else `undecided`.
        held_out_needed: How many held-out texts would decide it, if the same share of them agreed; None where more
            than ten million would be needed.
        used_share: The share of the held-out texts that is reported on; the rest chooses among candidates.
        accuracy: Non-inferiority of the accuracy, by its paired 95 % interval: `non-inferior` if the interval ends
            below the loss that the gate allows, `inferior` if it begins above, else `undecided`; None where accuracy
            is not measured.
        max_accuracy_loss: That loss, the margin of non-inferiority.
        accuracy_loss_interval: The paired interval; None likewise.
    """

    texts: int
    label_agreement: float
    label_agreement_interval: Interval
    min_agreement: float
    agreement: str
    held_out_needed: int | None
    used_share: float
    accuracy: str | None
    max_accuracy_loss: float
    accuracy_loss_interval: Interval | None

    def agreement_text(self) -> str:
        """Say how sure the agreement is."""
        low, high = self.label_agreement_interval
        seen = f"{self.label_agreement:.4f} on {self.texts} texts, 95 % interval {low:.4f} to {high:.4f}"
        if self.agreement != "undecided":
            return f"{seen}: {self.agreement} {self.min_agreement:g} with 95 % confidence"
        asked = f"whether it is at least {self.min_agreement:g} on more such text is undecided"
        return f"{seen}: {asked}; {self.needed_text()}"

    def needed_text(self) -> str:
        """Say how many held-out texts would decide on which side of the limit the agreement is."""
        if self.held_out_needed is None:
            return "no practical number of texts would decide it at this agreement, which is too near the limit"
        halves = "" if self.used_share == 1 else f" (of which {self.held_out_needed * self.used_share:,.0f} report)"
        return f"{self.held_out_needed:,} held-out texts{halves} would decide it at this agreement"

    def accuracy_text(self) -> str:
        """Say whether the accuracy is non-inferior; empty where it is not measured."""
        if self.accuracy is None or self.accuracy_loss_interval is None:
            return ""
        low, high = (100 * side for side in self.accuracy_loss_interval)
        shown = {"non-inferior": "shown", "inferior": "refuted", "undecided": "undecided"}[self.accuracy]
        return (
            f"non-inferiority with a margin of {100 * self.max_accuracy_loss:g} points is {shown}: the paired 95 % "
            f"interval of the loss is {low:+.2f} to {high:+.2f} points"
        )


def certainty_of(parity: Parity, gate: Gate, *, used_share: float = 1.0) -> Certainty:
    """Say how sure a comparison is.

    Args:
        parity: What was measured.
        gate: The limits.
        used_share: The share of the held-out texts that it was measured on.
    """
    low, high = parity.label_agreement_interval
    needed = texts_needed(parity.label_agreement, gate.min_agreement)
    loss = parity.accuracy_loss_interval
    return Certainty(
        texts=parity.texts,
        label_agreement=parity.label_agreement,
        label_agreement_interval=parity.label_agreement_interval,
        min_agreement=gate.min_agreement,
        agreement="above" if low >= gate.min_agreement else "below" if high < gate.min_agreement else "undecided",
        held_out_needed=None if needed is None else round(needed / used_share),
        used_share=used_share,
        accuracy=None if loss is None else non_inferiority(loss, gate.max_accuracy_loss),
        max_accuracy_loss=gate.max_accuracy_loss,
        accuracy_loss_interval=loss,
    )


def non_inferiority(loss: Interval, margin: float) -> str:
    """Judge a loss by its interval and a margin (Piaggio et al. 2012, "Reporting of noninferiority trials")."""
    low, high = loss
    return "non-inferior" if high <= margin else "inferior" if low > margin else "undecided"
