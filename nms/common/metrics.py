"""Metrics: the registry every room counts into, and its Prometheus text form.

With `PROMETHEUS_MULTIPROC_DIR` set (several gunicorn workers) the text is the sum over all processes that write
there; use an empty directory for each start of the service.
"""

import os
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from nms.common.settings import multiprocess_directory

__all__ = ["CONTENT_TYPE_LATEST", "REGISTRY", "Counter", "Gauge", "Histogram", "RequestMeter", "leave", "render"]

_collect_all: Any = MultiProcessCollector
_mark_dead: Any = mark_process_dead
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

if (_shared := multiprocess_directory()) is not None:
    # The first metric opens its file there, so it has to exist before that line.
    _shared.mkdir(parents=True, exist_ok=True)

_requests = Counter("nms_http_requests_total", "Answered HTTP requests", ("role", "method", "route", "status"))
_seconds = Histogram(
    "nms_http_request_seconds", "Time to the end of the answer", ("role", "method", "route"), buckets=_SECONDS
)


class RequestMeter:
    """Counts the requests of one role; label look-ups are remembered, since each costs more than the count."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[tuple[str, str], Histogram] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is the template, never the path, so that clients cannot make new series."""
        method = method if method in _METHODS else "OTHER"
        counter = self._counters.get((method, route, status))
        if counter is None:
            counter = self._counters[method, route, status] = _requests.labels(self._role, method, route, status)
        counter.inc()
        timer = self._timers.get((method, route))
        if timer is None:
            timer = self._timers[method, route] = _seconds.labels(self._role, method, route)
        timer.observe(seconds)


def render() -> bytes:
    """Everything counted, as Prometheus text, of this process or of all that share PROMETHEUS_MULTIPROC_DIR."""
    registry = REGISTRY
    directory = multiprocess_directory()
    if directory is not None:
        registry = CollectorRegistry()
        _collect_all(registry, str(directory))
    return generate_latest(registry)


def leave() -> None:
    """Take this process's live gauges out of the shared directory; called when it stops."""
    directory = multiprocess_directory()
    if directory is not None:
        _mark_dead(os.getpid(), str(directory))
