"""What a server measures, as Prometheus reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from ftx.runtime.server.models import Loaded, Model

__all__ = ["Metrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TEXTS = (1, 2, 4, 8, 16)


class Metrics:
    """Counts and histograms of one server.

    Args:
        models: The models, by name; their queues and files are read when the metrics are asked for.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models
        self.registry = CollectorRegistry()
        self.registry.register(self)
        add = self.registry
        self.requests = Counter("ftx_requests", "Requests.", ["dialect", "status"], registry=add)
        self.latency = Histogram("ftx_request_seconds", "Of a request.", ["dialect"], buckets=SECONDS, registry=add)
        self.wait = Histogram("ftx_queue_wait_seconds", "A text waited.", ["model"], buckets=SECONDS, registry=add)
        self.batch_texts = Histogram("ftx_batch_texts", "Texts of a batch.", ["model"], buckets=TEXTS, registry=add)
        self.batch_sec = Histogram("ftx_batch_seconds", "Of a batch.", ["model"], buckets=SECONDS, registry=add)
        self.tokens = Counter("ftx_tokens", "Tokens that were run.", ["model"], registry=add)
        self.padding = Counter("ftx_padding_tokens", "Tokens of padding that were run.", ["model"], registry=add)
        self.shed = Counter("ftx_shed", "Requests that were not answered, by reason.", ["reason"], registry=add)
        self.truncated = Counter("ftx_truncated_texts", "Texts longer than the model reads.", ["model"], registry=add)
        self.fallback = Counter("ftx_fallback_texts", "Texts that the fallback answered.", ["model"], registry=add)
        self.beyond = Counter(
            "ftx_beyond_calibration_texts", "Texts longer than int8 was calibrated on.", ["model"], registry=add
        )
        self.labels = Counter("ftx_predictions", "Predictions by label.", ["model", "label"], registry=add)
        # Of every request: to look their values up costs more than to count.
        self._requested, self.predicted = cache(self.requests.labels), cache(self.labels.labels)
        self._took = cache(self.latency.labels)

    def observer(self, model: str) -> Observed:
        """Give what a model's batcher tells of its batches."""
        return Observed(self, model)

    def answered(self, dialect: str, status: int, sec: float) -> None:
        """Count a request that was answered, or refused."""
        self._requested(dialect, str(status)).inc()
        self._took(dialect).observe(sec)

    def render(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        """Read what is true now: queues, files, memory."""
        named: dict[str, tuple[str, Callable[[Loaded], float]]] = {
            "ftx_queued_tokens": ("Tokens of waiting texts, estimated.", lambda it: it.batcher.queued_tokens),
            "ftx_predicted_wait_seconds": ("Of a short request.", lambda it: it.batcher.predicted_wait_sec),
            "ftx_unfinished_requests": ("Accepted and not answered yet.", lambda it: it.batcher.unfinished),
            "ftx_model_loaded_timestamp_seconds": ("When the file was opened.", lambda it: it.loaded_at),
            "ftx_model_load_seconds": ("To open, check and warm up the file.", lambda it: it.load_sec),
        }
        for name, (said, value) in named.items():
            gauge = GaugeMetricFamily(name, said, labels=["model"])
            for model in self._models.values():
                if model.loaded is not None:
                    gauge.add_metric([model.name], value(model.loaded))
            yield gauge
        info = GaugeMetricFamily("ftx_model_info", "The file that answers.", labels=["model", "sha256"])
        failed = GaugeMetricFamily("ftx_model_reload_failed", "Whether the newest file was refused.", labels=["model"])
        for model in self._models.values():
            if model.loaded is not None:
                info.add_metric([model.name, model.loaded.sha256], 1)
            failed.add_metric([model.name], int(model.last_error is not None))
        yield info
        yield failed
        yield GaugeMetricFamily("ftx_resident_memory_bytes", "RSS of the process.", value=resident_bytes())


class Observed:
    """Takes note of the batches of one model."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._wait = metrics.wait.labels(model)
        self._texts, self._sec = metrics.batch_texts.labels(model), metrics.batch_sec.labels(model)
        self._tokens, self._padding = metrics.tokens.labels(model), metrics.padding.labels(model)

    def ran(self, tokens: list[int], waits: list[float], sec: float) -> None:
        """Take note of a batch."""
        self._texts.observe(len(tokens))
        self._sec.observe(sec)
        self._tokens.inc(sum(tokens))
        self._padding.inc(len(tokens) * max(tokens) - sum(tokens))
        for wait in waits:
            self._wait.observe(wait)


def resident_bytes() -> int:
    """Read the memory that the process holds now; where the system does not tell, the most that it held, or 0."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no file of a user
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
