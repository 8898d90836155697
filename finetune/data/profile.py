"""Statistics of the data, shown before training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ftx.finetune.data.labelled_text import LabelledText
from ftx.finetune.model.head import REGRESSION, Example, Head

__all__ = ["DataProfile", "profile"]


@dataclass(frozen=True, kw_only=True)
class DataProfile:
    """Statistics of the data; `data` in `RUN/metrics.json`.

    Attributes:
        train_rows: Training rows.
        eval_rows: Held-out rows.
        problem_type: The kind of head.
        train_label_counts: Training rows per label; empty for regression.
        eval_label_counts: Held-out rows per label; empty for regression.
        value_range: For regression: smallest, mean and largest training value; else empty.
        token_percentiles: Tokens per text, special tokens included: p50, p90, p99, max.
        truncated_share: Share of the texts that are truncated to max_length.
        duplicates: Rows that repeat the sentence of another row, ignoring case and punctuation.
        two_labels: Sentences with conflicting labels in different rows.
        leaks: Training rows discarded because their sentence is in the validation file or split.
        bad_rows: Unusable rows that were skipped.
        nul_texts: Texts with NUL characters, which are left as they are.
    """

    train_rows: int
    eval_rows: int
    problem_type: str
    train_label_counts: dict[str, int]
    eval_label_counts: dict[str, int]
    value_range: dict[str, float]
    token_percentiles: dict[str, int]
    truncated_share: float
    duplicates: int
    two_labels: int
    leaks: int
    bad_rows: int
    nul_texts: int = 0

    def to_text(self) -> str:
        """Format the statistics for the terminal."""
        counts = ", ".join(f"{label} {count}" for label, count in self.train_label_counts.items())
        if self.value_range:
            counts = "values, " + ", ".join(f"{name} {value:.3g}" for name, value in self.value_range.items())
        lengths = ", ".join(f"{name} {count}" for name, count in self.token_percentiles.items())
        lines = [
            f"Data: {self.train_rows} training rows, {self.eval_rows} held-out rows",
            f"  head       {self.problem_type.replace('_', ' ')}",
            f"  labels     {counts}",
            f"  tokens     {lengths}; {self.truncated_share:.1%} of the texts are truncated to max_length",
            f"  sentences  {self.duplicates} duplicate rows, {self.two_labels} sentences with conflicting labels",
        ]
        if self.leaks:
            lines.append(
                f"  leakage    {self.leaks} training rows discarded, as their sentence is in the validation data"
            )
        if self.bad_rows:
            lines.append(f"  bad rows   {self.bad_rows} skipped, see bad_rows.jsonl in the run folder")
        if self.nul_texts:
            lines.append(
                f"  WARNING    {self.nul_texts} texts have NUL characters: was the file UTF-16, or binary, once?"
            )
        return "\n".join(lines)


def profile(data: LabelledText, token_counts: list[int], max_length: int) -> DataProfile:
    """Compute the statistics of a data set.

    Args:
        data: Training and held-out rows.
        token_counts: Tokens of each text of either, before truncation.
        max_length: Tokens to truncate a text to.
    """
    counts = np.asarray(token_counts)
    percentiles = {f"p{p}": int(np.percentile(counts, p)) for p in (50, 90, 99)}
    return DataProfile(
        train_rows=len(data.train),
        eval_rows=len(data.held_out),
        problem_type=data.head.problem_type,
        train_label_counts=label_counts(data.train, data.head),
        eval_label_counts=label_counts(data.held_out, data.head),
        value_range=value_range(data.train, data.head),
        token_percentiles={**percentiles, "max": int(counts.max())},
        truncated_share=float((counts > max_length).mean()),
        duplicates=data.duplicates,
        two_labels=data.two_labels,
        leaks=data.leaks,
        bad_rows=len(data.bad_rows.rows),
        nul_texts=sum("\0" in "".join(text) for text, _ in data.train + data.held_out),
    )


def label_counts(rows: list[Example], head: Head) -> dict[str, int]:
    """Count the rows per label, in the order of the labels."""
    if head.problem_type == REGRESSION:
        return {}
    counts: Counter[str] = Counter()
    for _, target in rows:
        label = head.label(target)
        counts.update(label if isinstance(label, list) else [str(label)])
    return {label: counts[label] for label in head.labels}


def value_range(rows: list[Example], head: Head) -> dict[str, float]:
    """Return the smallest, mean and largest value of a regression; empty for classification."""
    if head.problem_type != REGRESSION:
        return {}
    values = np.asarray([target for _, target in rows])
    return {"min": float(values.min()), "mean": float(values.mean()), "max": float(values.max())}
