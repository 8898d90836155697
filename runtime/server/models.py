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
from ftx.manifest import Probe as GoldenProbe
from ftx.runtime.batching import depends_on_batch
from ftx.runtime.fallback import REFERENCE_ATOL
from ftx.runtime.model_file import find_onnx
from ftx.runtime.predictor import Predictor
from ftx.runtime.server.batcher import Batcher, ExpiredError, Observer, OverloadedError, Ticket
from ftx.runtime.server.engine import Answer, PredictorEngine
from ftx.runtime.server.settings import ServeSettings
from ftx.text import Text

__all__ = ["Loaded", "Model", "find_models"]

log = logging.getLogger("ftx.server")
# A golden probe is asked so often at most, and who asks whether the model is ready waits so long for it at most: a
# probe of Kubernetes waits a second, by default.
PROBED_SEC, PROBE_WAIT_SEC = 1.0, 0.5
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
    _refused: tuple[int, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _probe: Probe | None = None
    _probe_lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> Loaded:
        """Open the file, check its probes and warm it up; then let it answer in the place of the one before.

        Raises:
            FtxError: It can't be used; the one before goes on to answer.
        """
        with self._lock:
            stamp = self.stamp()
            try:
                loaded = self._open(stamp)
            except Exception as error:  # one that nobody foresaw, too: the one before goes on
                self.last_error, self._refused = str(error) or type(error).__name__, stamp
                raise
            before, self.loaded = self.loaded, loaded
            self.last_error, self._refused = None, ()
            if before is not None:
                self.reloads += 1
        if before is not None:
            # Who took it before the change may still hand it texts: it ends when these are answered.
            threading.Thread(target=retire, args=(before,), name="ftx retire", daemon=True).start()
        return loaded

    def changed(self) -> bool:
        """Tell whether there is another file than the one that answers, or was refused."""
        stamp = self.stamp()
        if not stamp or self.loaded is None or stamp == self._refused:
            return False
        # The one that answers, back after it was removed or replaced, is opened too: then no failure is left to tell.
        return stamp != self.loaded.stamp or self.last_error is not None

    def stamp(self) -> tuple[int, ...]:
        """Give size and times of the file; empty where there is none now."""
        try:
            found = find_onnx(self.path).stat()
        except (FtxError, OSError):
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def ready(self) -> str | None:
        """Tell why the model should get no requests now; None where it should.

        A golden probe goes through the queue, as any text: once a second at most, however many ask.
        """
        loaded = self.loaded
        if loaded is None:
            return self.last_error or "loading"
        stuck = loaded.batcher.stuck_sec()
        if stuck > self.settings.stuck_sec:
            return f"a batch has been running for {stuck:.0f} s"
        if not loaded.manifest.probes:
            return None
        with self._probe_lock:
            now = time.monotonic()
            probe = self._probe
            if probe is None or probe.loaded is not loaded or (probe.done and now - probe.asked > PROBED_SEC):
                try:
                    ticket = loaded.batcher.submit([loaded.manifest.probes[0].text])
                except OverloadedError:
                    return None  # busy, and well: requests are refused one by one
                except RuntimeError:  # it is just replaced, or shut down
                    return None
                said = probe.said if probe is not None else None
                probe = self._probe = Probe(loaded, ticket, asked=now, said=said)
        probe.wait(PROBE_WAIT_SEC)
        if not probe.done and time.monotonic() - probe.asked > self.settings.stuck_sec:
            return "the golden probe is not answered"
        return probe.said

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
            long_text=self.settings.long_text, spinning=False, fallback=self.settings.fallback,
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
            batcher.submit(texts).future.result()  # from here on the speed is known
        except BaseException:
            predictor.close()
            raise
        if predictor.notice:
            log.warning(predictor.notice)
        return Loaded(
            engine, batcher, predictor.manifest, predictor.sha256, stamp, time.time(), time.perf_counter() - begun
        )


@dataclass
class Probe:
    """A golden probe on its way through the queue.

    Attributes:
        loaded: The model that is asked.
        ticket: Its place in the queue.
        asked: When, by the monotonic clock.
        said: What is wrong; until it is answered, what the probe before said.
    """

    loaded: Loaded
    ticket: Ticket
    asked: float
    said: str | None

    @property
    def done(self) -> bool:
        """Whether it is answered."""
        return self.ticket.future.done()

    def wait(self, sec: float) -> None:
        """Wait for its answer, but not long."""
        try:
            [answer] = self.ticket.future.result(sec)
        except (TimeoutError, OverloadedError, ExpiredError):  # the queue is long; or the model is just replaced
            return
        manifest = self.loaded.manifest
        # Beside others in a batch, where that matters, only the label must be the same.
        exact = not depends_on_batch(manifest)
        if isinstance(answer, Exception):
            self.said = f"the golden probe fails: {type(answer).__name__}"
        elif not right(answer, manifest.probes[0], manifest, exact=exact):
            self.said = "the golden probe gets another answer than where the file was exported"
        else:
            self.said = None


def check_probes(engine: PredictorEngine) -> None:
    """Check that a file answers its golden probes.

    Raises:
        OnnxFileError: It does not.
    """
    manifest = engine.predictor.manifest
    for probe in manifest.probes:
        [answer] = engine.run(engine.encode([probe.text]), all_cores=True)
        if not isinstance(answer, Answer) or not right(answer, probe, manifest):
            raise OnnxFileError(
                f"{engine.predictor.path} does not reproduce its golden probes on this machine: run ftx verify"
            )


def right(answer: Answer, probe: GoldenProbe, manifest: Manifest, *, exact: bool = True) -> bool:
    """Tell whether an answer is that of a probe, or PyTorch's where the fallback gave it.

    One in windows has no logits to compare.
    """
    if answer.logits is None:
        return True
    logits = probe.reference if answer.fallback else probe.logits
    if not exact:
        return int(answer.logits.argmax()) == int(np.argmax(logits))
    atol = REFERENCE_ATOL if answer.fallback else manifest.probe_atol
    return bool(np.abs(answer.logits - np.array(logits, dtype=np.float32)).max() <= atol)


def retire(loaded: Loaded) -> None:
    """Let a replaced model finish what it has, and go."""
    loaded.batcher.close()
    loaded.engine.predictor.close()
