"""Values that do not belong into a file, and files that are none: what a stranger's model may be made of."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CONFIG", "RAW", "SETTINGS", "TOKENIZER", "UNREADABLE", "Spoilt"]

# Takes the place of a value in JSON, for what Python's json would not write.
PLACE = '"here"'
RAW = {
    "null": "null", "true": "true", "false": "false", "minus": "-1", "zero": "0", "one": "1", "broken": "1.5",
    "int32": str(2**31), "uint32": str(2**32), "int64": str(2**63), "huge": str(10**30), "digits": "9" * 5000,
    "exponent": "1e400", "nan": "NaN", "infinite": "-Infinity", "empty": '""', "word": '"yes"', "number": '"7"',
    "long": json.dumps("x" * 10**6), "surrogate": '"\\ud800"', "list": "[]", "numbers": "[1, 2.5]", "lists": "[[[]]]",
    "words": '["a", null]', "object": "{}", "labels": '{"0": "a", "1": "a"}', "gap": '{"0": "a", "7": "b"}',
    "letters": '{"a": "b"}', "objects": '{"0": {"1": []}}', "deep": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000, "open": "[", "nothing": "",
}  # fmt: skip
# Fields that ftx reads.
CONFIG = [
    "id2label",
    "problem_type",
    "max_position_embeddings",
    "pad_token_id",
    "thresholds",
    "text_pair",
    "num_labels",
    "model_type",
]
SETTINGS = ["model_max_length", "truncation_side", "do_lower_case"]
TOKENIZER = [
    "version",
    "truncation",
    "padding",
    "added_tokens",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "decoder",
    "model",
]


@dataclass(frozen=True, kw_only=True)
class Spoilt:
    """A field of a file with a value that does not belong there."""

    file: str
    field: str
    value: str

    def __str__(self) -> str:
        return f"{self.file}: {self.field} = {self.value} ({RAW[self.value]:.40})"

    def spoil(self, text: str) -> str:
        """Put the value into the file's text."""
        values = json.loads(text)
        inner = values
        *path, last = self.field.split(".")
        for name in path:
            inner = inner[int(name) if name.isdigit() else name]
        inner[last] = json.loads(PLACE)
        return json.dumps(values).replace(PLACE, RAW[self.value])


# Makes of a path something that is no model and no JSON.
UNREADABLE: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a loop": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("gone"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: path.symlink_to("/dev/null"),
    "memory": lambda path: path.symlink_to("/proc/self/mem"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "text": lambda path: path.write_text("This movie was great!\n" * 100),
    "very large": lambda path: (path.touch(), os.truncate(path, 2**40)),
    "page": lambda path: path.write_text("<!doctype html><title>Sign in</title>"),
    "pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "pickle": lambda path: path.write_bytes(b"\x80\x04\x95\x05\0\0\0\0\0\0\0\x8c\x01a\x94."),
    "packed": lambda path: path.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0"),
    "long field": lambda path: path.write_bytes(b"\x08\x08\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    "groups": lambda path: path.write_bytes(b"\x0b" * 100_000),
}  # fmt: skip
