"""Trim a WordPiece vocabulary to the tokens that given texts need, and say what that changes on other text."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ftx.errors import ModelError
from ftx.finetune.model.hub import Pretrained, load_tokenizer
from ftx.text import Text

__all__ = ["Trimmed", "compare_vocabularies", "trim_vocabulary"]

AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class Trimmed:
    """A trimmed vocabulary beside the teacher's, on held-out text.

    Attributes:
        tokens: Tokens that are left.
        teacher_tokens: Tokens of the teacher.
        changed_texts: Share of the held-out texts that are split into other tokens.
        token_ratio: Tokens of all held-out texts, as a multiple of the teacher's.
        new_unknown: Unknown tokens in them that the teacher does not have.
    """

    tokens: int
    teacher_tokens: int
    changed_texts: float
    token_ratio: float
    new_unknown: int

    def to_text(self) -> str:
        """Write the figures for the terminal."""
        return (
            f"vocabulary {self.tokens:,} of {self.teacher_tokens:,} tokens; {100 * self.changed_texts:.1f} % of the "
            f"held-out texts are split otherwise; {self.token_ratio:.3f} times the tokens, {self.new_unknown} new [UNK]"
        )


def trim_vocabulary(pretrained: Pretrained, texts: list[Text]) -> Pretrained:
    """Drop the tokens that neither these texts nor single characters need, from tokenizer and embedding table.

    These texts are split as before: WordPiece takes the longest token that fits, and all that it takes of them stay.
    Other words fall apart into shorter tokens, at worst into characters.

    Args:
        pretrained: A model, which is changed, and its tokenizer, which is not.
        texts: What is tokenised as before.

    Raises:
        ModelError: The tokenizer is not a WordPiece tokenizer.
    """
    old = json.loads(pretrained.tokenizer.backend_tokenizer.to_str())
    if (kind := old["model"]["type"]) != "WordPiece":
        raise ModelError(f"The teacher's tokenizer is of type {kind}, and --trim-vocab trims WordPiece alone: omit it")
    prefix = old["model"]["continuing_subword_prefix"]
    kept = {one["id"] for one in old["added_tokens"]} | {old["model"]["vocab"][old["model"]["unk_token"]]}
    kept |= {number for word, number in old["model"]["vocab"].items() if len(word.removeprefix(prefix)) == 1}
    for ids in token_ids(pretrained.tokenizer, texts):
        kept.update(ids)
    order = sorted(kept)
    tokenizer = renumbered(pretrained.tokenizer, {number: place for place, number in enumerate(order)})
    model = pretrained.model
    table = model.get_input_embeddings()
    rows = table.weight.detach()[torch.tensor(order, device=table.weight.device)].clone()
    model.set_input_embeddings(
        torch.nn.Embedding(len(order), rows.shape[1], padding_idx=tokenizer.pad_token_id, _weight=rows)
    )
    model.config.vocab_size = len(order)
    for name in ("pad", "bos", "eos", "cls", "sep"):
        if getattr(model.config, f"{name}_token_id", None) is not None:
            setattr(model.config, f"{name}_token_id", getattr(tokenizer, f"{name}_token_id"))
    return replace(pretrained, tokenizer=tokenizer)


def renumbered(tokenizer: Any, places: dict[int, int]) -> Any:
    """Copy a tokenizer with some of its tokens only, by their old and new ids."""
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        path = Path(scratch) / "tokenizer.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = values["model"]["vocab"]
        left = {word: places[number] for word, number in vocabulary.items() if number in places}
        values["model"]["vocab"] = left
        for one in values["added_tokens"]:
            one["id"] = places[one["id"]]
        post = values["post_processor"] or {}
        for one in post.get("special_tokens", {}).values():  # TemplateProcessing
            one["ids"] = [places[number] for number in one["ids"]]
        for name in ("cls", "sep"):  # BertProcessing
            if isinstance(post.get(name), list):
                post[name] = [post[name][0], places[post[name][1]]]
        path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
        words = sorted(left, key=left.__getitem__)
        (Path(scratch) / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        config = Path(scratch) / "tokenizer_config.json"
        settings = json.loads(config.read_text(encoding="utf-8"))
        decoder = settings.get("added_tokens_decoder", {})
        settings["added_tokens_decoder"] = {str(places[int(number)]): one for number, one in decoder.items()}
        config.write_text(json.dumps(settings), encoding="utf-8")
        found = load_tokenizer(scratch)
    found.name_or_path = tokenizer.name_or_path
    return found


def compare_vocabularies(tokenizer: Any, teacher_tokenizer: Any, held_out: list[Text]) -> Trimmed:
    """Compare how a trimmed tokenizer and its teacher's split text that neither was made for."""
    changed = unknown = 0
    counts = [0, 0]
    both = (token_ids(one, held_out) for one in (tokenizer, teacher_tokenizer))
    for ours, theirs in zip(*both, strict=True):
        words = [one.convert_ids_to_tokens(ids) for one, ids in ((tokenizer, ours), (teacher_tokenizer, theirs))]
        changed += words[0] != words[1]
        unknown += max(0, ours.count(tokenizer.unk_token_id) - theirs.count(teacher_tokenizer.unk_token_id))
        counts[0] += len(ours)
        counts[1] += len(theirs)
    return Trimmed(
        tokens=len(tokenizer),
        teacher_tokens=len(teacher_tokenizer),
        changed_texts=changed / len(held_out),
        token_ratio=counts[0] / counts[1],
        new_unknown=unknown,
    )


def token_ids(tokenizer: Any, texts: list[Text]) -> Iterator[list[int]]:
    """Tokenise texts whole, some at a time."""
    for start in range(0, len(texts), AT_ONCE):
        some = texts[start : start + AT_ONCE]
        pairs = [text if isinstance(text, tuple) else (text,) for text in some]
        columns = [list(column) for column in zip(*pairs, strict=True)]
        yield from tokenizer(*columns, truncation=False, verbose=False)["input_ids"]
