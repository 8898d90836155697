"""Make text of other kinds from held-out text: longer, shorter, upper case, misspelt, with URLs, digits and emoji.

Agreement needs no labels, so any text will do to see whether a smaller file still says what PyTorch says. The same
texts and seed give the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from ftx.text import Text

__all__ = ["MAX_TEXTS", "joined_texts", "shifted"]

# Of each kind. An export makes this many twice: to choose on, and to report on.
MAX_TEXTS = 100
# Of all texts of a kind, so that PyTorch takes about as long for long texts as for short ones.
MAX_TOKENS = 8192
INSERTED = (
    "https://www.example.com/2024/05/item?id=48213&ref=mail", "www.example.org", "@someone", "#1", "12", "3.5", "1,000",
    "99.99", "2024-05-17", "10:45", "+1 555 0100", "😀", "😡", "👍🏽", "❤️", "🎉🎉", "😭😭😭",
)  # fmt: skip


def shifted(texts: Sequence[Text], *, tokens: float, max_length: int, seed: int = 0) -> dict[str, list[Text]]:
    """Make texts of each kind.

    Args:
        texts: What to make them from; of pairs, each of the two is changed.
        tokens: How many these have on average.
        max_length: Tokens a text is truncated to. Texts are joined, 2, 4, 8 and so on, until they are as long.
        seed: Another one gives other texts.

    Returns:
        By kind up to `MAX_TEXTS` different texts, fewer where they are long.
    """
    joined = joined_texts(texts, tokens=tokens, max_length=max_length, seed=seed)
    changed = {
        name: change_each(texts, change, how_many(min(tokens, max_length)), Random(f"{seed} {name}"))
        for name, change in CHANGES.items()
    }
    return joined | changed


def joined_texts(
    texts: Sequence[Text], *, tokens: float, max_length: int, seed: int = 0, most: int = MAX_TEXTS
) -> dict[str, list[Text]]:
    """Join texts, by kind up to `most` of them; see `shifted`."""
    joined, count = {}, 2
    while count == 2 or count * tokens < 2 * max_length:
        made = min(most, how_many(min(count * tokens, max_length)))
        joined[f"joined_{count}"] = join(texts, count, made, Random(f"{seed} joined {count}"))
        count *= 2
    return joined


def how_many(tokens: float) -> int:
    """Tell how many texts of this length to make."""
    return max(1, min(MAX_TEXTS, int(MAX_TOKENS / max(1.0, tokens))))


def join(texts: Sequence[Text], count: int, made: int, random: Random) -> list[Text]:
    """Make texts by joining so many, chosen at random."""

    def one() -> Text:
        chosen = random.choices(texts, k=count)
        first, *second = (" ".join(parts) for parts in zip(*map(parts_of, chosen), strict=True))
        return (first, second[0]) if second else first

    return list(dict.fromkeys(one() for _ in range(min(made, len(texts)))))


def change_each(texts: Sequence[Text], change: Callable[[str, Random], str], made: int, random: Random) -> list[Text]:
    """Change so many texts, chosen at random; empty ones are left out."""
    chosen = random.sample(range(len(texts)), min(made, len(texts)))
    found: list[Text] = []
    for text in (texts[row] for row in sorted(chosen)):
        first, *second = (change(part, random) for part in parts_of(text))
        found.append((first, second[0]) if second else first)
    return [text for text in dict.fromkeys(found) if "".join(text).strip()]


def parts_of(text: Text) -> tuple[str, ...]:
    """Give the two texts of a pair, or a single text."""
    return (text,) if isinstance(text, str) else text


def cut(text: str, random: Random) -> str:
    """Keep 1 to 3 neighbouring words."""
    words = text.split()
    count = min(random.randint(1, 3), len(words))
    start = random.randint(0, len(words) - count)
    return " ".join(words[start : start + count])


def shout(text: str, random: Random) -> str:
    """Write in upper case, with exclamation marks: a model that ignores case sees these."""
    return f"{text.upper().rstrip('. ')}{'!' * random.randint(1, 3)}" if text.strip() else text


def misspell(text: str, random: Random) -> str:
    """Misspell a third of the words of four letters or more, one at least."""
    words = text.split()
    long = [place for place, word in enumerate(words) if len(word) > 3]
    for place in random.sample(long, -(-len(long) // 3)):
        word = words[place]
        at = random.randint(1, len(word) - 2)
        left, here, after, right = word[:at], word[at], word[at + 1], word[at + 2 :]
        words[place] = random.choice(
            [f"{left}{after}{here}{right}", f"{left}{after}{right}", f"{left}{here}{here}{after}{right}"]
        )
    return " ".join(words)


def insert(text: str, random: Random) -> str:
    """Insert a URL, a number, an emoji or the like, two to four of them."""
    words = text.split()
    for one in random.sample(INSERTED, random.randint(2, 4)):
        words.insert(random.randint(0, len(words)), one)
    return " ".join(words)


def repeat(text: str, random: Random) -> str:
    """Repeat up to three of the words three to six times."""
    words = text.split()
    for place in sorted(random.sample(range(len(words)), min(3, len(words))), reverse=True):
        words[place : place + 1] = [words[place]] * random.randint(3, 6)
    return " ".join(words)


CHANGES: dict[str, Callable[[str, Random], str]] = {
    "few_words": cut,
    "upper_case": shout,
    "typos": misspell,
    "urls_digits_emoji": insert,
    "repeated_words": repeat,
}
