"""A stand-in for a model, and a job with it as a process of its own: `python fake_job.py INPUT OUTPUT MODEL ...`."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ftx.errors import FtxError
from ftx.manifest import Manifest
from ftx.runtime import Prediction, PredictSettings
from ftx.runtime.stream import journal, predict_file, rejects, writing

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
        batch_size: int = 32,
        labels: Sequence[str] = (),
    ) -> None:
        self.path, self.sha256 = path, hashlib.sha256(path.read_bytes()).hexdigest()
        self.manifest = Manifest(
            problem_type=head,
            id2label=dict(enumerate(labels or LABELS[head])),
            max_length=16,
            input_names=("input_ids",),
            text_pair=text_pair,
        )
        self.settings = PredictSettings(batch_size=batch_size, intra_op_num_threads=2)

    def __call__(self, texts: Sequence[Any]) -> list[Prediction]:
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
            return Prediction(text=text, labels=given, scores=scores, truncated=truncated, margin=share)
        best = max(labels, key=lambda label: scores[label])
        return Prediction(text=text, label=best, score=scores[best], scores=scores, truncated=truncated, margin=share)


def count_steps(step: Callable[[], None]) -> None:
    """Have `step` called before each write, sync, renaming and removal."""

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **values: Any) -> Any:
            step()
            return function(*args, **values)

        return stepped

    os.fsync = counted(os.fsync)
    shutil.rmtree = counted(shutil.rmtree)
    for name in ("replace", "unlink", "mkdir", "touch"):
        setattr(Path, name, counted(getattr(Path, name)))
    for module in (writing, journal, rejects):
        module.write_whole = counted(module.write_whole)


def kill_at(number: int) -> None:
    """Have this process killed before its step of a number."""
    left = [number]

    def step() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    count_steps(step)


def main() -> None:
    source, target, model, options = sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])
    limit, files, killed, rss = (options.pop(name, 0) for name in ("limit_bytes", "limit_files", "kill_at", "rss"))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if files:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 + files, hard))  # beside the standard streams
    if killed:
        kill_at(killed)
    try:
        report = predict_file(Fake(model), source, target, **options)
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
