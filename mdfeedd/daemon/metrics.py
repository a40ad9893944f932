"""`/metrics` and `/healthz`: shared memory read at each scrape, on a registry and a thread of their own.

Nothing is counted here. Rings, feeds and readers (those of other programs too) say what they did in shared
memory; the supervisor knows only its children's states and restarts.
"""

from __future__ import annotations

import json
import platform
import socket
import socketserver
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from mdfeedd.daemon import catalogue
from mdfeedd.daemon.catalogue import STATES, Metric, Sample
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import inspect, list_rings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mdfeedd.daemon.plan import MetricsPlan
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.ring.inspect import ConsumerInfo, RingInfo

MAX_RINGS: Final = 1024
"""Rings of one folder that are exported."""
MAX_REQUESTS: Final = 8
"""HTTP requests answered at once; more are turned away."""
REQUEST_TIMEOUT_S: Final = 5.0
BEAT_LIMIT_S: Final = 10.0
"""A supervisor whose loop has not run for as long is not healthy."""

_Family = CounterMetricFamily | GaugeMetricFamily


class RingCollector(Collector):
    """The catalogue over one folder of rings and one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def describe(self) -> Iterable[_Family]:
        """Nothing: registering must not read shared memory."""
        return ()

    def collect(self) -> Iterator[_Family]:
        """All families, each with its samples."""
        start = time.perf_counter()
        families: dict[str, _Family] = {}
        unreadable = 0
        for info in self._rings():
            if info is None:
                unreadable += 1
            else:
                self._ring(families, info)
        self._children(families)
        _add(families, catalogue.RING_UNREADABLE, (), unreadable)
        _add(families, catalogue.BEAT_AGE, (), self._supervisor.beat_age_s)
        _add(families, catalogue.BUILD_INFO, (_version(), platform.python_version()), 1)
        _add(families, catalogue.SCRAPE_DURATION, (), time.perf_counter() - start)
        yield from families.values()

    def _rings(self) -> Iterator[RingInfo | None]:
        directory = self._supervisor.plan.shm_dir
        try:
            names = list_rings(directory)[:MAX_RINGS]
        except RingError:
            return
        for name in names:
            try:
                yield inspect(name, directory)
            except (RingError, ValueError):  # another user's, another version's, or no ring at all
                yield None

    def _ring(self, families: dict[str, _Family], info: RingInfo) -> None:
        _add_all(families, catalogue.RING_SAMPLES, (info.name,), info)
        if info.name == info.feed:  # a feed's counters lie in its first ring
            _add_all(families, catalogue.FEED_SAMPLES, (info.feed,), info.counters)
        ours = {child.name for child in self._supervisor.plan.consumers}
        shown: dict[str, ConsumerInfo] = {}
        for consumer in info.consumers:
            if consumer.alive or (consumer.name in ours and consumer.name not in shown):
                shown[consumer.name] = consumer
        for consumer in shown.values():
            labels = (info.name, consumer.name)
            _add_all(families, catalogue.READER_SAMPLES, labels, consumer)
            if consumer.name in ours or any(consumer.counters.values()):
                _add_all(families, catalogue.CONSUMER_SAMPLES, labels, consumer.counters)

    def _children(self, families: dict[str, _Family]) -> None:
        now = time.monotonic()
        for child in self._supervisor.children:
            labels = (child.name, child.kind)
            _add(families, catalogue.CHILD_RESTART, labels, child.restarts)
            _add(families, catalogue.CHILD_STATE, labels, STATES.index(child.state.value))
            uptime = now - child.started if child.pid else 0.0
            _add(families, catalogue.CHILD_UPTIME, labels, uptime)


def _add_all(
    families: dict[str, _Family], samples: Iterable[Sample], labels: tuple[str, ...], source: Any
) -> None:
    for sample in samples:
        value = sample.value(source)
        if value is not None:
            _add(families, sample.metric, (*labels, *sample.extra), value)


def _add(
    families: dict[str, _Family], metric: Metric, labels: tuple[str, ...], value: float
) -> None:
    family = families.get(metric.name)
    if family is None:
        make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = families[metric.name] = make(metric.name, metric.help, labels=metric.labels)
    family.add_metric(labels, value)


def _version() -> str:
    import mdfeedd  # noqa: PLC0415 - the package's own namespace is not needed before the first scrape

    return mdfeedd.__version__


class Exporter:
    """The HTTP server. It listens when the constructor returns; raises `OSError` with one sentence."""

    def __init__(self, supervisor: Supervisor, plan: MetricsPlan) -> None:
        self._supervisor = supervisor
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(RingCollector(supervisor))
        self._metrics_app = make_wsgi_app(self.registry)
        try:
            self._server = _server_class(plan.host)((plan.host, plan.port), _Handler)
        except OSError as error:
            hint = " (another mdfeedd? choose another metrics.port)" if error.errno == 98 else ""
            what = f"cannot serve /metrics on {plan.host} port {plan.port}: {error.strerror}{hint}"
            raise OSError(what) from error
        self._server.set_app(self._answer)
        self.host, self.port = self._server.server_address[:2]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening. A request that is being answered may be cut."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics_app(environ, start)
            return answer
        if path == "/healthz":
            return self._health(start)
        start("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"/metrics and /healthz are here\n"]

    def _health(self, start: Callable[..., Any]) -> Iterable[bytes]:
        """200 while the supervisor's loop runs: a child that failed is no reason to kill the others."""
        healthy = self._supervisor.beat_age_s < BEAT_LIMIT_S
        body = {
            "healthy": healthy,
            "children": [
                {
                    "name": child.name,
                    "kind": child.kind,
                    "state": child.state.value,
                    "pid": child.pid,
                    "restarts": child.restarts,
                    "last_exit": child.last_exit,
                }
                for child in self._supervisor.children
            ],
        }
        status = "200 OK" if healthy else "503 Service Unavailable"
        start(status, [("Content-Type", "application/json")])
        return [json.dumps(body).encode() + b"\n"]


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: scrapes are not news."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    _free = threading.BoundedSemaphore(MAX_REQUESTS)

    def server_bind(self) -> None:
        """Bind without asking DNS for the host's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "mdfeedd", self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if fewer than `MAX_REQUESTS` are busy."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread's body."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is no error of ours."""


def _server_class(host: str) -> type[_Server]:
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    if family == socket.AF_INET6:
        return type("_ServerV6", (_Server,), {"address_family": family})
    return _Server
