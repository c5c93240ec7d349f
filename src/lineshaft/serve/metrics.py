"""What the server counts: requests by route and status, latency, batch sizes, queues, refusals by reason."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from lineshaft.serve.answer import Answer

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one app, in a registry of their own; labels come from fixed sets, never from a request."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lineshaft_requests", "Requests by route and status", ["route", "status"], registry=self._registry
        )
        self._latency = Histogram(
            "lineshaft_request_seconds", "From head to answer", ["route"], buckets=_SECONDS, registry=self._registry
        )
        self._refused = Counter("lineshaft_refused", "Refusals by reason", ["reason"], registry=self._registry)
        self._rows = Histogram(
            "lineshaft_batch_rows", "Rows per batch", ["model"], buckets=_ROWS, registry=self._registry
        )
        self._model = Histogram(
            "lineshaft_batch_seconds", "Model time per batch", ["model"], buckets=_SECONDS, registry=self._registry
        )
        self._queue = Gauge("lineshaft_queue_rows", "Rows waiting", ["model"], registry=self._registry)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count one refusal by its code."""
        self._refused.labels(reason).inc()

    def watch(self, model: str, waiting_rows: Callable[[], int]) -> Callable[[int, float], None]:
        """Show a model's queue, and return what its batcher calls after each batch with rows and seconds."""
        self._queue.labels(model).set_function(waiting_rows)
        rows_seen, time_seen = self._rows.labels(model), self._model.labels(model)

        def ran(rows: int, seconds: float) -> None:
            rows_seen.observe(rows)
            time_seen.observe(seconds)

        return ran

    def page(self) -> Answer:
        """Return everything in the text form of Prometheus."""
        return Answer(200, generate_latest(self._registry), ((b"content-type", CONTENT_TYPE_LATEST.encode()),))
