"""The held-out texts of a run, `RUN/eval.jsonl`: what every later proof is made on. One JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftx import typed
from ftx.errors import DataError
from ftx.text import Text

__all__ = ["HELD_OUT_FILE", "HeldOut", "Label", "find_held_out", "read_held_out", "write_held_out"]

HELD_OUT_FILE = "eval.jsonl"
# Some thousand pages: more is no text, and a parser would hold it many times.
MAX_LINE_BYTES = 2**24

Label = str | list[str] | float


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Labelled texts that no training saw.

    Attributes:
        texts: The texts, or pairs of them.
        labels: As many as texts: a label name each, a list of names (multi-label) or a number (regression).
    """

    texts: list[Text]
    labels: list[Label]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> HeldOut:
        """Give some of the rows."""
        return HeldOut(texts=[self.texts[row] for row in rows], labels=[self.labels[row] for row in rows])


def write_held_out(path: Path, rows: Iterable[tuple[Text, Label]]) -> None:
    """Write (text, label) rows as `{"text": ..., "label": ...}` lines, pairs with a `text_pair` between."""
    with path.open("w", encoding="utf-8") as file:
        for text, label in rows:
            one = {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}
            file.write(json.dumps({**one, "label": label}) + "\n")


def read_held_out(path: Path) -> HeldOut:
    """Read a file of `{"text": ..., "label": ...}` lines, with a `text_pair` where a model judges two texts together.

    Raises:
        DataError: The file can't be read, is empty, or a line is not such an object.
    """
    texts: list[Text] = []
    labels: list[Label] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
                if not line.strip():
                    continue
                try:
                    text, label = read_row(line)
                    if texts and isinstance(text, str) != isinstance(texts[0], str):
                        raise ValueError("a pair of texts and single ones, expected one kind in a file")
                except ValueError as error:
                    raise DataError(
                        f'{path}:{number}: {error!s:.200}; expected an object like {{"text": "...", "label": "..."}}, '
                        f"got {line[:80].decode(errors='replace').strip()!r}"
                    ) from error
                texts.append(text)
                labels.append(label)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error}; expected JSON lines with text and label") from error
    if not texts:
        raise DataError(f"{path} is empty; expected JSON lines with text and label")
    return HeldOut(texts=texts, labels=labels)


def read_row(line: bytes) -> tuple[Text, Label]:
    """Read a line.

    Raises:
        ValueError: It is too long, or not such an object.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"a line of more than {MAX_LINE_BYTES / 2**20:.0f} MiB")
    row = typed.read_object(line.decode())
    text, pair, given = typed.string(row.get("text"), "text"), row.get("text_pair"), row.get("label")
    label: Label
    if isinstance(given, list):
        label = [typed.string(name, "one of the labels") for name in given]
    elif isinstance(given, str):
        label = given
    else:
        label = typed.number(given, "label")
    return (text if pair is None else (text, typed.string(pair, "text_pair"))), label


def find_held_out(checkpoint: Path) -> Path:
    """Name the held-out file of the run that a checkpoint stands in.

    Raises:
        DataError: There is none.
    """
    path = checkpoint.resolve().parent / HELD_OUT_FILE
    if not path.is_file():
        raise DataError(f"{checkpoint} has no {HELD_OUT_FILE} beside it: name labelled held-out text with --data FILE")
    return path
