from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

import ftx
from ftx.errors import ModelError
from ftx.finetune.distillation.vocabulary import compare_vocabularies, trim_vocabulary
from ftx.finetune.model.head import SINGLE_LABEL, Head
from ftx.finetune.model.hub import Pretrained, load_checkpoint, load_tokenizer
from ftx.heldout import read_held_out
from tests.conftest import NEGATIVE, NOUNS, POSITIVE

KNOWN = ["The movie was great!", "A dull plot, a superb cast.", "電影 was fine?"]
UNKNOWN = ["The music was awful", "boring script"]


@pytest.fixture
def tiny(tiny_model: object, tmp_path: Path) -> Pretrained:
    folder = tiny_model(SINGLE_LABEL)  # type: ignore[operator]
    head = Head(problem_type=SINGLE_LABEL, labels=["negative", "positive"])
    return Pretrained(model=load_checkpoint(folder), tokenizer=load_tokenizer(str(folder)), head=head)


def logits(pretrained: Pretrained, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = pretrained.model.eval()(
            **pretrained.tokenizer(texts, padding=True, return_tensors="pt")
        ).logits
    return found


def test_texts_that_were_given_are_split_and_answered_as_before(tiny: Pretrained, tmp_path: Path) -> None:
    before, size = logits(tiny, KNOWN), tiny.model.num_parameters()
    words = [tiny.tokenizer.tokenize(text) for text in KNOWN]
    trimmed = trim_vocabulary(tiny, [*KNOWN])
    tokenizer = trimmed.tokenizer
    assert len(tokenizer) == trimmed.model.config.vocab_size < len(tiny.tokenizer)
    assert trimmed.model.num_parameters() == size - 32 * (len(tiny.tokenizer) - len(tokenizer))
    assert [tokenizer.tokenize(text) for text in KNOWN] == words
    assert torch.equal(logits(trimmed, KNOWN), before)
    assert tokenizer.pad_token_id == trimmed.model.config.pad_token_id == 0
    # "music" is gone, its characters are not, and the teacher's tokenizer is as it was.
    assert tokenizer.tokenize("music") == ["m", "##u", "##s", "##i", "##c"]
    assert tiny.tokenizer.tokenize("music") == ["music"]
    # Read from its files, as any other reader would.
    tokenizer.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(str(tmp_path / "saved"))
    assert again(KNOWN, KNOWN)["input_ids"] == tokenizer(KNOWN, KNOWN)["input_ids"]
    assert (tmp_path / "saved/vocab.txt").read_text().splitlines() == sorted(
        again.get_vocab(), key=again.get_vocab().__getitem__
    )


def test_what_changes_on_other_text_is_counted(tiny: Pretrained) -> None:
    trimmed = trim_vocabulary(tiny, KNOWN)
    found = compare_vocabularies(trimmed.tokenizer, tiny.tokenizer, [*KNOWN, *UNKNOWN])  # type: ignore[list-item]
    assert found.changed_texts == 0.4
    assert (found.tokens, found.teacher_tokens) == (len(trimmed.tokenizer), len(tiny.tokenizer))
    count = [
        sum(len(one(text)["input_ids"]) for text in [*KNOWN, *UNKNOWN]) for one in (trimmed.tokenizer, tiny.tokenizer)
    ]
    assert found.token_ratio == pytest.approx(count[0] / count[1])
    assert found.token_ratio > 1
    assert found.new_unknown == 0


def test_other_tokenizers_are_refused(tiny: Pretrained) -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    other = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
    pretrained = Pretrained(model=tiny.model, tokenizer=other, head=tiny.head)
    with pytest.raises(ModelError, match="of type WordLevel, and --trim-vocab trims WordPiece alone"):
        trim_vocabulary(pretrained, ["a"])


def test_a_student_of_a_trimmed_vocabulary_is_judged_and_exported_as_any_other(
    teacher_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "more.txt").write_text(" ".join([*POSITIVE, *NEGATIVE, *NOUNS]) + "\n")
    values = {"layers": 1, "candidate_steps": 0, "max_steps": 2, "save_steps": 0, "train_rows": 4}
    plain = ftx.distill(teacher_run, **values, output=tmp_path / "plain")  # type: ignore[arg-type]
    report = ftx.distill(teacher_run, **values, trim_vocab=True, output=tmp_path / "run")  # type: ignore[arg-type]
    more = ftx.distill(teacher_run, **values, trim_vocab=tmp_path / "more.txt", output=tmp_path / "more")  # type: ignore[arg-type]
    assert plain.vocabulary is None
    assert report.vocabulary and more.vocabulary
    assert report.vocabulary.tokens < more.vocabulary.tokens <= report.vocabulary.teacher_tokens
    assert report.vocabulary.changed_texts > more.vocabulary.changed_texts == 0
    assert f"of {report.vocabulary.teacher_tokens:,} tokens" in report.to_text()
    assert json.loads((tmp_path / "run/distillation.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert json.loads((tmp_path / "run/checkpoint/config.json").read_text())["vocab_size"] == report.vocabulary.tokens
    # The figures of the report are those of the checkpoint with its own tokenizer.
    assert ftx.evaluate(run=tmp_path / "run").metrics == report.metrics
    exported = ftx.export(tmp_path / "run", tmp_path / "onnx", quantize="none")
    assert not exported.failed
    texts = read_held_out(tmp_path / "run/eval.jsonl").texts
    assert len(ftx.Predictor(tmp_path / "onnx")([str(text) for text in texts])) == 120
