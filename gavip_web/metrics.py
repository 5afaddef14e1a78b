"""Prometheus metrics of a service.

Invariant: label values come from code (handler classes, methods, statuses), never from requests, so
that a client cannot make the number of time series grow.
"""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)


class Metrics:
    """The metrics every service has; services add their own to ``registry``.

    Parameters
    ----------
    service : str
        Name of the service, the prefix of its own metrics.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, service: str) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "gavip_http_requests_total",
            "Requests served.",
            ["handler", "method", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "gavip_http_request_seconds",
            "Seconds from request to the end of the answer (streams excluded).",
            ["handler", "method"],
            registry=self.registry,
        )
        self.streams = Gauge(
            "gavip_http_streams", "Open server-sent event streams.", registry=self.registry
        )

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)
