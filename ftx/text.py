"""What a model reads: a text, or a pair of them."""

from __future__ import annotations

__all__ = ["Text", "clean"]

Text = str | tuple[str, str]  # a pair for models that judge two texts together


def clean(text: str) -> str:
    """Read half of a surrogate pair, which is no character, as U+FFFD, the replacement character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
