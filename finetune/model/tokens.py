"""Tokenise texts, truncated to what a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets

from ftx.errors import ModelError, RecipeError
from ftx.finetune.model.head import Example
from ftx.finetune.model.hub import Pretrained, positions
from ftx.finetune.recipe import Recipe

__all__ = ["check_max_length", "check_token_types", "tokenise"]

# Characters to tokenise at once: truncated tokens take memory too, some 200 bytes per character.
CHARACTERS_AT_ONCE = 1_000_000


def check_max_length(recipe: Recipe, pretrained: Pretrained) -> None:
    """Check that a recipe's max_length fits its model.

    Raises:
        RecipeError: The model has fewer positions, or special tokens alone would fill the length.
    """
    longest = positions(pretrained.model.config)
    pair = bool(recipe.text_pair_column)
    shortest = pretrained.tokenizer.num_special_tokens_to_add(pair=pair) + (2 if pair else 1)
    if not shortest <= recipe.max_length <= longest:
        raise RecipeError(
            f"max_length is {recipe.max_length}, expected {shortest} to {longest}, what {recipe.model} reads: "
            "set it with --max-length"
        )


def check_token_types(rows: Any, pretrained: Pretrained) -> None:
    """Check that a model has as many token types as its tokenizer gives: another for the second text of a pair.

    Args:
        rows: From `tokenise`; all have the same types.
        pretrained: The model with its tokenizer.

    Raises:
        ModelError: It has fewer.
    """
    if "token_type_ids" not in rows.column_names or not len(rows):
        return
    given = max(rows[0]["token_type_ids"], default=0) + 1
    for name, weights in pretrained.model.named_parameters():
        if name.endswith("token_type_embeddings.weight") and len(weights) < given:
            raise ModelError(
                f"The tokenizer gives {given} token types, and the model has {len(weights)} (type_vocab_size in its "
                f"config.json), expected {given} or more: put the tokenizer beside it that it was trained with"
                f"{', or train on single texts' if given > 1 else ''}"
            )


def tokenise(rows: list[Example], tokenizer: Any, max_length: int) -> Any:
    """Make a data set of token ids and labels, not padded yet.

    Returns:
        A `datasets.Dataset` with the tokenizer's outputs, `labels`, `length` (tokens kept) and `token_count` (tokens
        before truncation).
    """
    pairs = bool(rows) and isinstance(rows[0][0], tuple)
    columns = {"text": [text[0] if isinstance(text, tuple) else text for text, _ in rows]}
    if pairs:
        columns["text_pair"] = [text[1] for text, _ in rows]
    rows_set = datasets.Dataset.from_dict({**columns, "labels": [target for _, target in rows]})

    def tokenise_batch(batch: dict[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = {"length": [], "token_count": []}
        for some in portions(list(zip(*(batch[name] for name in columns), strict=True))):
            texts = [list(column) for column in zip(*some, strict=True)]
            found = tokenizer(*texts, truncation=True, max_length=max_length)
            if pairs:  # the overflow of a pair comes in overlapping pieces
                counts = [len(ids) for ids in tokenizer(*texts)["input_ids"]]
            else:  # the overflow of a text is there already, in pieces with special tokens of their own
                special = tokenizer.num_special_tokens_to_add()
                counts = [len(one) + sum(len(rest) - special for rest in one.overflowing) for one in found.encodings]
            for name, values in found.items():
                outputs.setdefault(name, []).extend(values)
            outputs["length"] += [len(ids) for ids in found["input_ids"]]
            outputs["token_count"] += counts
        return outputs

    datasets.disable_progress_bars()
    return rows_set.map(tokenise_batch, batched=True, remove_columns=list(columns), keep_in_memory=True)


def portions(texts: list[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    """Divide texts, or pairs of texts, into parts of bounded memory."""
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
