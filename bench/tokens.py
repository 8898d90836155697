"""Count tokens, and make texts of a given length."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

from ftx.runtime.model_file import describe
from ftx.runtime.tokenization import encode, load_tokenizer
from ftx.text import Text

__all__ = ["LENGTHS", "count_tokens", "texts_of_length"]

LENGTHS = (8, 16, 32, 64, 128, 256, 512)


def count_tokens(path: Path, texts: list[Text]) -> list[int]:
    """Count the tokens of each text as an ONNX file reads it: truncated, with special tokens."""
    manifest, tokenizer_json = describe(path)
    return [len(encoding) for encoding in encode(load_tokenizer(tokenizer_json, manifest, path), texts)]


def texts_of_length(path: Path, texts: list[Text], count: int) -> dict[int, list[Text]]:
    """Make texts of the words of others, by their number of tokens: each of `LENGTHS` that the model reads.

    Args:
        path: The ONNX file whose tokenizer counts.
        texts: Where the words come from; of pairs, both texts.
        count: Texts of each length.
    """
    longest = describe(path)[0].max_length
    words = " ".join(text if isinstance(text, str) else " ".join(text) for text in texts).split()
    [empty] = count_tokens(path, [""])
    sizes = dict(zip(words, (tokens - empty for tokens in count_tokens(path, list(words))), strict=True))
    supply = cycle([word for word in words if sizes[word] > 0])
    made: dict[int, list[Text]] = {}
    for length in LENGTHS:
        if length > longest or length <= empty or not any(sizes.values()):
            continue
        made[length] = []
        for _ in range(count):
            some: list[str] = []
            left = length - empty
            # A word that is too long is passed over; where only such are left, the text stays a little shorter.
            for word in islice(supply, length + len(words)):
                if sizes[word] <= left:
                    some.append(word)
                    left -= sizes[word]
                if not left:
                    break
            made[length].append(" ".join(some))
    return made
