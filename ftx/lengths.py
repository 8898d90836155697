"""The maximum number of tokens that a model reads, from its config.json."""

from __future__ import annotations

from typing import Any

from ftx import typed

__all__ = ["DEFAULT_POSITIONS", "longest_input", "token_limit"]

# BERT's, and transformers' default if config.json does not say.
DEFAULT_POSITIONS = 512
# transformers writes 10 ** 30 for "no limit", as an integer or a float; no text is nearly this long.
NO_LIMIT = 10**15
# Their position ids start after the padding token's id, so that of 514 positions a text can use 512
# (create_position_ids_from_input_ids in transformers' modeling_roberta.py and its like).
OFFSET_MODELS = {
    "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
}  # fmt: skip


def longest_input(model_type: str | None, max_position_embeddings: int | None, pad_token_id: int | None) -> int:
    """Compute how many tokens, including special ones, a model has positions for.

    Args:
        model_type: The architecture, as in config.json.
        max_position_embeddings: Rows of the position table; None: BERT's 512.
        pad_token_id: The padding token; None: the architecture's default, 1 for those whose position ids depend on it.
    """
    count = DEFAULT_POSITIONS if max_position_embeddings is None else max_position_embeddings
    if model_type not in OFFSET_MODELS:
        return count
    return count - (1 if pad_token_id is None else pad_token_id) - 1


def token_limit(value: Any) -> int | None:
    """Parse a tokenizer's `model_max_length`; None if it sets no limit.

    Raises:
        ValueError: It is not a number of tokens.
    """
    if value is None or (isinstance(value, (int, float)) and value >= NO_LIMIT):
        return None
    return typed.whole(value, "model_max_length", least=1, most=NO_LIMIT)
