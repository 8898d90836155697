"""What n texts can tell: intervals of shares, and the texts that a sure verdict takes."""

from __future__ import annotations

from scipy.special import betaincinv

__all__ = ["Interval", "agreement_interval", "texts_needed"]

Interval = tuple[float, float]

TAIL = 0.025  # on either side of a 95 % interval
MOST_TEXTS = 10_000_000  # whoever would need more will not collect them


def agreement_interval(kept: float, texts: float) -> Interval:
    """Compute the exact 95 % interval of a share (Clopper and Pearson 1934), as quantiles of beta distributions.

    Args:
        kept: How many texts agree; a fraction is allowed, for what is expected of more texts.
        texts: Of how many.
    """
    flips = texts - kept
    low = float(betaincinv(kept, flips + 1, TAIL)) if kept > 0 else 0.0
    high = float(betaincinv(kept + 1, flips, 1 - TAIL)) if flips > 0 else 1.0
    return low, high


def texts_needed(share: float, limit: float) -> int | None:
    """Count the texts whose exact 95 % interval excludes a limit, if the same share of them agrees.

    Returns:
        None where the share is the limit, or so near that it would take more than ten million texts.
    """

    def decides(texts: int) -> bool:
        low, high = agreement_interval(share * texts, texts)
        return low >= limit if share > limit else high < limit

    if share == limit or not decides(MOST_TEXTS):
        return None
    few, many = 0, MOST_TEXTS
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if decides(middle) else (middle, many)
    return many
