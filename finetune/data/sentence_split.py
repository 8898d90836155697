"""Hold sentences out, so that no sentence is in both splits."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict

from ftx.finetune.model.head import Example
from ftx.text import Text

__all__ = ["sample", "sentence_key", "split"]


def sentence_key(text: Text) -> str:
    """Reduce a text to what identifies its sentence: letters and digits, ignoring case and punctuation.

    Pairs are the same if both texts are.
    """
    if isinstance(text, tuple):
        return "\n".join(map(sentence_key, text))
    folded = unicodedata.normalize("NFKD", text).casefold()
    key = "".join(character for character in folded if character.isalnum())
    return key or text.strip()  # "?!" and "..." are different texts


def split(rows: list[Example], strata: list[str], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Hold out a share of the sentences of each stratum.

    Rows with the same sentence go to the same split. The sentences of a stratum are sorted by the SHA-256 of seed and
    sentence, and the first ones are held out: the same on every machine, whatever the order of the rows.

    Args:
        rows: Texts and targets.
        strata: The stratum of each row, from `head.strata`.
        share: The share to hold out.
        seed: Another seed holds other sentences out.

    Returns:
        The training rows and the held-out rows, each in the order given.
    """
    keys = [sentence_key(text) for text, _ in rows]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for key, stratum in zip(keys, strata, strict=True):
        counts[key][stratum] += 1
    by_stratum: dict[str, list[str]] = defaultdict(list)
    for key, found in counts.items():
        by_stratum[min(found, key=lambda stratum: (-found[stratum], stratum))].append(key)
    held_out: set[str] = set()
    for alike in by_stratum.values():
        alike.sort(key=lambda key: digest(seed, key))
        # At least one sentence of each stratum that has two; never the last one.
        held_out.update(alike[: min(max(1, round(share * len(alike))), len(alike) - 1)])
    sides: tuple[list[Example], list[Example]] = ([], [])
    for row, key in zip(rows, keys, strict=True):
        sides[key in held_out].append(row)
    return sides


def sample(rows: list[Example], count: int, seed: int) -> list[Example]:
    """Sample rows by the same kind of hash, 0 for all; they keep the order given."""
    if not count or count >= len(rows):
        return rows
    chosen = sorted(range(len(rows)), key=lambda place: digest(seed, f"{place}:{rows[place][0]}"))[:count]
    return [rows[place] for place in sorted(chosen)]


def digest(seed: int, key: str) -> bytes:
    """Hash a key with the seed: a random order that is the same on every machine."""
    return hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogatepass")).digest()
