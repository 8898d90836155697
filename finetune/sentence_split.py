"""Hold sentences out, so that no sentence stands on both sides."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict

from ftx.finetune.table import Row

__all__ = ["sample", "sentence_key", "split"]


def sentence_key(text: str) -> str:
    """Reduce a text to what makes it the same sentence: its letters and digits, ignoring case and punctuation."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    key = "".join(character for character in folded if character.isalnum())
    return key or text.strip()  # "?!" and "..." are different texts all the same


def split(rows: list[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Hold out a share of the sentences of each label.

    Rows with the same sentence go to the same side. The sentences of a label are put in the order of the SHA-256 of
    seed and sentence, and the first ones are held out: the same on every machine, whatever the order of the rows.

    Returns:
        The rows to learn from and the rows held out, each in the order given.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts[sentence_key(row.text)][row.label] += 1
    by_label: dict[str, list[str]] = defaultdict(list)
    for key, labels in counts.items():
        by_label[min(labels, key=lambda label: (-labels[label], label))].append(key)
    held_out: set[str] = set()
    for keys in by_label.values():
        keys.sort(key=lambda key: digest(seed, key))
        # At least one sentence of each label that has two; never the last one.
        held_out.update(keys[: min(max(1, round(share * len(keys))), len(keys) - 1)])
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[sentence_key(row.text) in held_out].append(row)
    return sides


def sample(rows: list[Row], count: int, seed: int) -> list[Row]:
    """Take so many rows by the same kind of order, 0 for all; they stay in the order given."""
    if not count or count >= len(rows):
        return rows
    chosen = sorted(range(len(rows)), key=lambda place: digest(seed, f"{place}:{rows[place].text}"))[:count]
    return [rows[place] for place in sorted(chosen)]


def digest(seed: int, key: str) -> bytes:
    """Hash a key with the seed: an order without pattern that every machine agrees on."""
    return hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogatepass")).digest()
