"""The models that a server holds: opened, checked, warmed up, and replaced while it serves."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ftx.errors import FtxError, OnnxFileError
from ftx.manifest import Manifest
from ftx.runtime.model_file import find_onnx
from ftx.runtime.predictor import Predictor, depends_on_batch
from ftx.runtime.server.batcher import Batcher, ExpiredError, Observer, OverloadedError
from ftx.runtime.server.engine import Answer, PredictorEngine
from ftx.runtime.server.settings import ServeSettings
from ftx.text import Text

__all__ = ["Loaded", "Model", "find_models"]

log = logging.getLogger("ftx.server")
# A probe that is right was asked so recently: readiness does not ask again.
PROBED_SEC = 1.0
WARM_UP = "A sentence of some length, so that memory and speed are known before the first request comes. " * 4


def find_models(path: Path) -> dict[str, Path]:
    """Find what a path serves: a file, a folder with one export, or a folder of these, each by its name.

    Returns:
        The path of each model, by its name.

    Raises:
        OnnxFileError: There is none.
    """
    if path.is_dir():
        try:
            find_onnx(path)
        except OnnxFileError:
            found = {}
            for folder in sorted(path.iterdir()):
                if folder.is_dir() and any(folder.glob("*.onnx")):
                    found[folder.name] = folder
            if not found:
                raise
            return found
    return {path.resolve().stem if path.is_file() else path.resolve().name: path}


@dataclass(frozen=True)
class Loaded:
    """An open model file and its workers.

    Attributes:
        engine: Runs batches.
        batcher: Its queue.
        manifest: What the file says of itself.
        sha256: Of the file.
        stamp: Size and times of the file when it was opened.
        loaded_at: Seconds since the epoch.
        load_sec: Seconds that opening, checking and warming up took.
    """

    engine: PredictorEngine
    batcher: Batcher
    manifest: Manifest
    sha256: str
    stamp: tuple[int, ...]
    loaded_at: float
    load_sec: float


@dataclass
class Model:
    """A model by its name; what it serves may be replaced.

    Attributes:
        name: In paths and metrics.
        path: Of its file or folder.
        settings: How it is served.
        observer: Is told of its batches.
        loaded: What answers now; None before the first file was opened.
        last_error: Why the newest file is not served; None where it is.
    """

    name: str
    path: Path
    settings: ServeSettings
    observer: Observer | None = None
    loaded: Loaded | None = None
    last_error: str | None = None
    reloads: int = 0
    _probed: float = 0.0
    _refused: tuple[int, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> Loaded:
        """Open the file, check its probes and warm it up; then let it answer in the place of the one before.

        Raises:
            FtxError: It can't be used; the one before goes on to answer.
        """
        with self._lock:
            stamp = self.stamp()
            try:
                loaded = self._open(stamp)
            except FtxError as error:
                self.last_error, self._refused = str(error), stamp
                raise
            before, self.loaded = self.loaded, loaded
            self.last_error, self._refused = None, ()
            self._probed = time.monotonic()
            if before is not None:
                self.reloads += 1
        if before is not None:
            # Who took it before the change may still hand it texts: it ends when these are answered.
            threading.Thread(target=retire, args=(before,), name="ftx retire", daemon=True).start()
        return loaded

    def changed(self) -> bool:
        """Tell whether there is another file than the one that answers, or was refused."""
        stamp = self.stamp()
        return bool(stamp) and self.loaded is not None and stamp not in (self.loaded.stamp, self._refused)

    def stamp(self) -> tuple[int, ...]:
        """Give size and times of the file; empty where there is none now."""
        try:
            found = find_onnx(self.path).stat()
        except (FtxError, OSError):
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def ready(self) -> str | None:
        """Tell why the model should get no requests now; None where it should.

        A golden probe goes through the queue, as any text, unless one did within the last second.
        """
        loaded = self.loaded
        if loaded is None:
            return self.last_error or "loading"
        stuck = loaded.batcher.stuck_sec()
        if stuck > self.settings.stuck_sec:
            return f"a batch has been running for {stuck:.0f} s"
        if time.monotonic() - self._probed < PROBED_SEC:
            return None
        if loaded.manifest.probes:
            probe = loaded.manifest.probes[0]
            try:
                ticket = loaded.batcher.submit([probe.text])
                [answer] = ticket.future.result(self.settings.stuck_sec)
            except OverloadedError:
                return None  # busy, and well: requests are refused one by one
            except (TimeoutError, ExpiredError, RuntimeError) as error:
                return f"the golden probe was not answered: {error}"
            # Beside others in a batch, where that matters, only the label must be the same.
            exact = not depends_on_batch(loaded.manifest)
            if not isinstance(answer, Answer) or not right(answer, probe.logits, loaded.manifest, exact=exact):
                return "the golden probe gets another answer than where the file was exported"
        self._probed = time.monotonic()
        return None

    def close(self, timeout_sec: float | None = None) -> int:
        """Finish what was accepted; give how many requests could not be finished in time."""
        loaded = self.loaded
        if loaded is None:
            return 0
        lost = loaded.batcher.close(timeout_sec)
        if not lost:
            loaded.engine.predictor.close()
        return lost

    def _open(self, stamp: tuple[int, ...]) -> Loaded:
        begun = time.perf_counter()
        predictor = Predictor(
            self.path, intra_op_num_threads=self.settings.threads, invariant=self.settings.invariant,
            long_text=self.settings.long_text, spinning=False,
        )  # fmt: skip
        try:
            before = self.loaded
            labels = predictor.manifest.labels
            if before is not None and labels != before.manifest.labels and not self.settings.allow_label_change:
                raise OnnxFileError(
                    f"{predictor.path} has the labels {', '.join(labels)}, and the file that is served "
                    f"{', '.join(before.manifest.labels)}: allow it with --allow-label-change"
                )
            engine = PredictorEngine(predictor)
            check_probes(engine)
            texts: list[Text] = [WARM_UP] * 16
            if predictor.manifest.text_pair:
                texts = [(WARM_UP, WARM_UP)] * 16
            encoded = engine.encode(texts)
            for all_cores in (True, False):
                engine.run(encoded[:1] if all_cores else encoded[:4], all_cores=all_cores)
            batcher = Batcher(engine, max_queue_sec=self.settings.max_queue_sec, observer=self.observer)
            batcher.submit(texts).future.result()
        except BaseException:
            predictor.close()
            raise
        if predictor.notice:
            log.warning(predictor.notice)
        return Loaded(
            engine, batcher, predictor.manifest, predictor.sha256, stamp, time.time(), time.perf_counter() - begun
        )


def check_probes(engine: PredictorEngine) -> None:
    """Check that a file answers its golden probes.

    Raises:
        OnnxFileError: It does not.
    """
    manifest = engine.predictor.manifest
    for probe in manifest.probes:
        [answer] = engine.run(engine.encode([probe.text]), all_cores=True)
        if not isinstance(answer, Answer) or not right(answer, probe.logits, manifest):
            raise OnnxFileError(
                f"{engine.predictor.path} does not reproduce its golden probes on this machine: run ftx verify"
            )


def right(answer: Answer, logits: tuple[float, ...], manifest: Manifest, *, exact: bool = True) -> bool:
    """Tell whether an answer is that of a probe. One in windows has no logits to compare."""
    if answer.logits is None:
        return True
    if not exact:
        return int(answer.logits.argmax()) == int(np.argmax(logits))
    return bool(np.abs(answer.logits - np.array(logits, dtype=np.float32)).max() <= manifest.probe_atol)


def retire(loaded: Loaded) -> None:
    """Let a replaced model finish what it has, and go."""
    loaded.batcher.close()
    loaded.engine.predictor.close()
