"""From texts to token ids, cut to what a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets

from ftx.errors import RecipeError
from ftx.finetune.model.head import Example
from ftx.finetune.model.hub import positions
from ftx.finetune.recipe import Recipe

__all__ = ["check_max_length", "tokenise"]

# Characters that are tokenised at once: what is cut off takes memory, too, some 200 bytes a character.
CHARACTERS_AT_ONCE = 1_000_000


def check_max_length(recipe: Recipe, config: Any, tokenizer: Any) -> None:
    """Check that a model has positions for as many tokens as the recipe asks for.

    Args:
        recipe: Says to how many tokens a text is cut.
        config: The model's.
        tokenizer: Its tokenizer, which adds special tokens.

    Raises:
        RecipeError: It has not, or nothing of a text would be left.
    """
    longest = positions(config)
    pair = bool(recipe.text_pair_column)
    shortest = tokenizer.num_special_tokens_to_add(pair=pair) + (2 if pair else 1)
    if not shortest <= recipe.max_length <= longest:
        raise RecipeError(
            f"max_length is {recipe.max_length}, expected {shortest} to {longest}, what {recipe.model} reads: "
            "name it with --max-length"
        )


def tokenise(rows: list[Example], tokenizer: Any, max_length: int) -> Any:
    """Make a data set of token ids and labels; padding waits for the batch.

    Returns:
        A `datasets.Dataset` with what the tokenizer gives, `labels`, `length` (tokens kept) and `token_count` (tokens
        of the whole text).
    """
    pairs = bool(rows) and isinstance(rows[0][0], tuple)
    columns = {"text": [text[0] if isinstance(text, tuple) else text for text, _ in rows]}
    if pairs:
        columns["text_pair"] = [text[1] for text, _ in rows]
    rows_set = datasets.Dataset.from_dict({**columns, "labels": [target for _, target in rows]})

    def encode(batch: dict[str, Any]) -> dict[str, Any]:
        encoded: dict[str, Any] = {"length": [], "token_count": []}
        for some in portions(list(zip(*(batch[name] for name in columns), strict=True))):
            texts = [list(column) for column in zip(*some, strict=True)]
            found = tokenizer(*texts, truncation=True, max_length=max_length)
            if pairs:  # what is cut off a pair comes in pieces that overlap
                whole = [len(ids) for ids in tokenizer(*texts)["input_ids"]]
            else:  # what is cut off a text comes along for free, with special tokens of its own
                special = tokenizer.num_special_tokens_to_add()
                whole = [len(one) + sum(len(rest) - special for rest in one.overflowing) for one in found.encodings]
            for name, values in found.items():
                encoded.setdefault(name, []).extend(values)
            encoded["length"] += [len(ids) for ids in found["input_ids"]]
            encoded["token_count"] += whole
        return encoded

    datasets.disable_progress_bars()
    return rows_set.map(encode, batched=True, remove_columns=list(columns), keep_in_memory=True)


def portions(texts: list[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    """Divide texts, or pairs of them, so that none of the parts takes much memory."""
    some: list[tuple[str, ...]] = []
    size = 0
    for one in texts:
        some.append(one)
        size += sum(map(len, one))
        if size >= CHARACTERS_AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some
