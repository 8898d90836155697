"""A stand-in for a model, and a job with it as a process of its own: `python fake_job.py INPUT OUTPUT MODEL ...`."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftx.errors import FtxError
from ftx.manifest import Manifest
from ftx.runtime import Prediction
from ftx.runtime.stream import predict_file

LABELS = {
    "single_label_classification": ["negative", "positive"],
    "multi_label_classification": ["funny", "sad", "long"],
    "regression": ["stars"],
}


class Fake:
    """Answers by a checksum of the text; "cuts" what is longer than 16 characters."""

    def __init__(
        self,
        path: Path,
        head: str = "single_label_classification",
        *,
        text_pair: bool | None = None,
        sleep_sec: float = 0.0,
        batch_size: int = 32,
    ) -> None:
        self.path, self.sha256 = path, hashlib.sha256(path.read_bytes()).hexdigest()
        self.manifest = Manifest(
            problem_type=head,
            id2label=dict(enumerate(LABELS[head])),
            max_length=16,
            input_names=("input_ids",),
            text_pair=text_pair,
        )
        self.settings = {"batch_size": batch_size, "intra_op_num_threads": 2}
        self._sleep_sec = sleep_sec

    def __call__(self, texts: Sequence[Any]) -> list[Prediction]:
        time.sleep(self._sleep_sec)
        return [self.answer(text) for text in texts]

    def answer(self, text: Any) -> Prediction:
        words = text if isinstance(text, str) else "\0".join(text)
        share = zlib.crc32(words.encode("utf-8", "surrogatepass")) / 2**32
        truncated = len(words) > 16
        if self.manifest.problem_type == "regression":
            return Prediction(text=text, value=share, scores={}, truncated=truncated)
        labels = self.manifest.labels
        scores = {label: share if number else 1 - share for number, label in enumerate(labels)}
        if self.manifest.problem_type == "multi_label_classification":
            given = [label for label in labels if scores[label] >= 0.5]
            return Prediction(text=text, labels=given, scores=scores, truncated=truncated)
        best = max(labels, key=lambda label: scores[label])
        return Prediction(text=text, label=best, score=scores[best], scores=scores, truncated=truncated)


def main() -> None:
    source, target, model, options = sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])
    limit, sleep_sec, rss = (options.pop(name, 0) for name in ("limit_bytes", "sleep_sec", "rss"))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        report = predict_file(Fake(model, sleep_sec=sleep_sec), source, target, **options)
    except FtxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    if rss:
        # Not ru_maxrss, which begins with the parent's.
        lines = Path("/proc/self/status").read_text().splitlines()
        print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))
        return
    print(report.rows, report.bad_rows, file=sys.stderr)
    os._exit(0)  # libraries' threads are no part of this


if __name__ == "__main__":
    main()
