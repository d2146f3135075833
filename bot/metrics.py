"""/metrics for Prometheus, /healthz and /readyz: counts and times by route and state, nothing about persons."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from sqlalchemy import select

from bot.shell import SHELL

log = structlog.get_logger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
METRICS: web.AppKey[Metrics] = web.AppKey("metrics")


class Metrics:
    """The numbers of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "qingting_requests_total", "HTTP requests", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "qingting_request_seconds", "HTTP request times", ["route"], registry=self.registry
        )
        self._of: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        known = self._of.get((route, status))
        if known is None:  # as many as routes times status codes
            known = self.requests.labels(route, status), self.seconds.labels(route)
            self._of[route, status] = known
        known[0].inc()
        known[1].observe(seconds)


def instrument(app: web.Application) -> None:
    """Count requests, answer probes."""
    app[METRICS] = Metrics()
    app.middlewares.insert(0, _measured)
    app.router.add_get("/healthz", _healthy)
    app.router.add_get("/readyz", _ready)
    app.router.add_get("/metrics", _show)


@web.middleware
async def _measured(request: web.Request, handler: _Handler) -> web.StreamResponse:
    metrics = request.app[METRICS]
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "none"
    began = time.perf_counter()
    status = 500
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as refusal:
        status = refusal.status
        raise
    finally:
        metrics.request(route, status, time.perf_counter() - began)


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _ready(request: web.Request) -> web.Response:
    try:
        async with request.app[SHELL].storage.read() as session:
            await session.scalar(select(1))
    except Exception as error:
        log.error("ready.no", error=type(error).__name__)
        return web.Response(status=503, text="storage")
    return web.Response(text="ready")


async def _show(request: web.Request) -> web.Response:
    """For a scraper on this machine or behind the operator's own proxy."""
    return web.Response(body=generate_latest(request.app[METRICS].registry), content_type="text/plain")
