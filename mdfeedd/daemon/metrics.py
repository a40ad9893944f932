"""`/metrics`, `/status`, `/healthz`, `/readyz`: shared memory read at each request, on a registry and thread of their own.

Nothing is counted here. Rings, feeds and readers (those of other programs too) say what they did in shared
memory; the supervisor knows only its children's states and restarts, and file systems say what room they have.
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

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from mdfeedd.daemon import catalogue, disks, exposition, page
from mdfeedd.daemon.catalogue import STATES, Metric, Sample
from mdfeedd.daemon.exposition import Table
from mdfeedd.daemon.status import BEAT_LIMIT_S, look, shown_consumers, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric as Family

    from mdfeedd.daemon.plan import MetricsPlan, Plan
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.ring.inspect import RingInfo
    from mdfeedd.ring.latency import Latency

    Tables = dict[str, Table]
    """By the name of the metric."""

MAX_REQUESTS: Final = 8
"""HTTP requests answered at once; more are turned away."""
REQUEST_TIMEOUT_S: Final = 5.0


class RingCollector(Collector):
    """The catalogue over one folder of rings and one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._seen: Plan | None = None
        self._fingerprint = ""

    def describe(self) -> Iterable[Family]:
        """Nothing: registering must not read shared memory."""
        return ()

    def collect(self) -> Iterator[Family]:
        """All families, each with its samples: for a registry of prometheus_client."""
        for table in self.tables():
            yield table.expanded()

    def tables(self) -> list[Table]:
        """The same as `exposition.render` takes it."""
        start = time.perf_counter()
        tables: Tables = {}
        infos, unreadable = look(self._supervisor.plan.shm_dir)
        ours = {child.name for child in self._supervisor.plan.consumers}
        for info in infos.values():
            self._ring(tables, info, ours)
        self._children(tables)
        self._disks(tables)
        _add(tables, catalogue.RING_UNREADABLE, (), len(unreadable))
        _add(tables, catalogue.BEAT_AGE, (), self._supervisor.beat_age_s)
        self._configuration(tables)
        _add(tables, catalogue.BUILD_INFO, (_version(), platform.python_version()), 1)
        _add(tables, catalogue.SCRAPE_DURATION, (), time.perf_counter() - start)
        return list(tables.values())

    @staticmethod
    def _ring(tables: Tables, info: RingInfo, ours: set[str]) -> None:
        _add_all(tables, catalogue.RING_SAMPLES, (info.name,), info)
        if info.name == info.feed:  # a feed's counters lie in its first ring
            _add_all(tables, catalogue.FEED_SAMPLES, (info.feed,), info.counters)
            for line in info.lines:
                key = line.key
                named = (info.feed, str(key.channel), key.kind, key.side)
                _add_all(tables, catalogue.LINE_SAMPLES, named, line.values)
        for consumer in shown_consumers(info, ours):
            labels = (info.name, consumer.name)
            _add_all(tables, catalogue.READER_SAMPLES, labels, consumer)
            if consumer.name in ours or any(consumer.counters.values()):
                _add_all(tables, catalogue.CONSUMER_SAMPLES, labels, consumer.counters)

    def _configuration(self, tables: Tables) -> None:
        plan = self._supervisor.plan
        if plan is not self._seen:  # it is long where there are many topics
            self._seen, self._fingerprint = plan, plan.fingerprint()
        _add(tables, catalogue.CONFIG_OK, (), self._supervisor.config_ok)
        _add(tables, catalogue.CONFIG_TIME, (), self._supervisor.config_time_s)
        _add(tables, catalogue.CONFIG_INFO, (self._fingerprint,), 1)

    def _disks(self, tables: Tables) -> None:
        for child, path in disks.folders(self._supervisor.plan):
            found = disks.room(path)
            if found is not None:
                labels = (child.name, child.kind, path)
                _add(tables, catalogue.DISK_SIZE, labels, found.size_bytes)
                _add(tables, catalogue.DISK_FREE, labels, found.free_bytes)

    def _children(self, tables: Tables) -> None:
        now = time.monotonic()
        for child in self._supervisor.children:
            labels = (child.name, child.kind)
            _add(tables, catalogue.CHILD_RESTART, labels, child.restarts)
            _add(tables, catalogue.CHILD_HANG, labels, child.hangs)
            _add(tables, catalogue.CHILD_STATE, labels, STATES.index(child.state.value))
            uptime = now - child.started if child.pid else 0.0
            _add(tables, catalogue.CHILD_UPTIME, labels, uptime)


def _add_all(
    tables: Tables, samples: Iterable[Sample], labels: tuple[str, ...], source: Any
) -> None:
    for sample in samples:
        value = sample.value(source)
        if value is not None:
            _add(tables, sample.metric, (*labels, *sample.extra), value)


def _add(tables: Tables, metric: Metric, labels: tuple[str, ...], value: float | Latency) -> None:
    table = tables.get(metric.name)
    if table is None:
        table = tables[metric.name] = Table(metric)
    table.samples.append((labels, value))


def _version() -> str:
    import mdfeedd  # noqa: PLC0415 - the package's own namespace is not needed before the first scrape

    return mdfeedd.__version__


class Exporter:
    """The HTTP server. It listens when the constructor returns; raises `OSError` with one sentence."""

    def __init__(self, supervisor: Supervisor, plan: MetricsPlan) -> None:
        self._supervisor = supervisor
        self.registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
        self._collector = RingCollector(supervisor)
        self.registry.register(self._collector)
        self._page = page.Page(lambda: supervisor.plan)
        try:
            self._server = _server_class(plan.host)((plan.host, plan.port), _Handler)
        except OSError as error:
            hint = " (another mdfeedd? choose another metrics.port)" if error.errno == 98 else ""
            what = f"cannot serve /metrics on {plan.host} port {plan.port}: {error.strerror}{hint}"
            raise OSError(what) from error
        self._server.set_app(self._answer)
        self.port: int
        self.host: str | bytes | bytearray
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
            return self._metrics(environ, start)
        if path == "/healthz":
            return self._health(start)
        if path == "/readyz":
            return self._readiness(start)
        if path == "/status":
            return _json(start, self._status())
        if path in page.PATHS:
            return self._page.answer(environ, start)
        start("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"/, /metrics, /status, /healthz and /readyz are here\n"]

    def _metrics(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        kind = exposition.content_type(environ.get("HTTP_ACCEPT", ""))
        body = exposition.render(self._collector.tables(), kind)
        start("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def _status(self) -> dict[str, Any]:
        return snapshot(self._supervisor.plan.shm_dir, self._supervisor)

    def _readiness(self, start: Callable[..., Any]) -> Iterable[bytes]:
        """200 once every feed has a ring with a living writer that shows signs of life; else 503 and which not."""
        shown = self._status()
        body = {key: shown[key] for key in ("ready", "faults")}
        return _json(start, body, well=shown["ready"])

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
        return _json(start, body, well=healthy)


def _json(start: Callable[..., Any], body: dict[str, Any], *, well: bool = True) -> Iterable[bytes]:
    status = "200 OK" if well else "503 Service Unavailable"
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    start(status, headers)
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
