"""The input of a model: a text, or a pair of texts."""

from __future__ import annotations

__all__ = ["Text", "clean"]

Text = str | tuple[str, str]  # a pair for models that read pairs


def clean(text: str) -> str:
    """Replace lone surrogates, which are not characters, by U+FFFD, the replacement character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
