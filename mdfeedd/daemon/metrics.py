"""`/metrics`, `/status`, `/healthz`, `/readyz`: shared memory read at each request, on a registry and thread of their own.

    http_server ─► http_message.parse ─► admission ─► Exporter ─► http_message.encode

Nothing is counted here. Rings, feeds and readers (those of other programs too) say what they did in shared
memory; the supervisor knows only its children's states and restarts, and file systems say what room they have.
"""

from __future__ import annotations

import json
import platform
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from mdfeedd.daemon import catalogue, disks, exposition, page
from mdfeedd.daemon.admission import Admission
from mdfeedd.daemon.catalogue import STATES, Metric, Sample
from mdfeedd.daemon.channels import channels_of
from mdfeedd.daemon.exposition import Table
from mdfeedd.daemon.http_message import Response
from mdfeedd.daemon.http_server import HttpServer
from mdfeedd.daemon.status import (
    BEAT_LIMIT_S,
    feed_row,
    look,
    readers_of,
    rings_of,
    shown_consumers,
    snapshot,
)
from mdfeedd.secret import Reference, read_token

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.metrics_core import Metric as Family

    from mdfeedd.daemon.http_message import Request
    from mdfeedd.daemon.plan import MetricsPlan, Plan
    from mdfeedd.daemon.supervisor import Supervisor
    from mdfeedd.ring.inspect import RingInfo
    from mdfeedd.ring.latency import Latency

    Tables = dict[str, Table]
    """By the name of the metric."""


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
        plan = self._supervisor.plan
        infos, unreadable = look(plan.shm_dir, rings_of(plan))
        for info in infos.values():
            self._ring(tables, info, readers_of(plan.consumers, info.name))
            if info.lines:
                self._channels(tables, info)
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

    def _channels(self, tables: Tables, info: RingInfo) -> None:
        """As the troubles have it."""
        found = (child for child in self._supervisor.children if child.name == info.name)
        for channel in channels_of(feed_row(info.name, info, next(found, None))):
            labels = (info.feed, str(channel.number))
            _add(tables, catalogue.CHANNEL_SILENT, labels, channel.is_silent)

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
    """What is served by HTTP. It listens when the constructor returns; raises `OSError` with one sentence.

    Raises `SecretError` for a token that cannot be read.
    """

    def __init__(self, supervisor: Supervisor, plan: MetricsPlan) -> None:
        self._supervisor = supervisor
        self.registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
        self._collector = RingCollector(supervisor)
        self.registry.register(self._collector)
        self._page = page.Page(lambda: supervisor.plan)
        self._admission = Admission(_token(plan), plan.host, plan.names)
        try:
            self._server = HttpServer(plan.host, plan.port, self._answer)
        except OSError as error:
            hint = " (another mdfeedd? choose another metrics.port)" if error.errno == 98 else ""
            what = f"cannot serve /metrics on {plan.host} port {plan.port}: {error.strerror}{hint}"
            raise OSError(what) from error
        self.host: str = self._server.host
        self.port: int = self._server.port
        self.url: str = plan.url(self.port)

    def close(self) -> None:
        """Stop listening. A request that is being answered may be cut."""
        self._server.close()

    def admit_by(self, plan: MetricsPlan) -> None:
        """From now on by another token and other names. Raises `SecretError`."""
        self._admission = Admission(_token(plan), plan.host, plan.names)

    def _answer(self, request: Request) -> Response:
        path = request.path
        sees_all = self._admission.admit(request)
        if path == "/metrics":
            return self._metrics(request.headers.get("accept", ""))
        if path == "/healthz":
            return self._health(sees_all=sees_all)
        if path == "/readyz":
            return self._readiness(sees_all=sees_all)
        if path == "/status":
            return _json(self._status())
        if path == "/":
            return self._page.html()
        if path == "/last":
            return self._page.last()
        body = b"/, /last, /metrics, /status, /healthz and /readyz are here\n"
        return Response(body, status=HTTPStatus.NOT_FOUND)

    def _metrics(self, accept: str) -> Response:
        kind = exposition.content_type(accept)
        return Response(exposition.render(self._collector.tables(), kind), kind)

    def _status(self) -> dict[str, Any]:
        return snapshot(self._supervisor.plan.shm_dir, self._supervisor)

    def _readiness(self, *, sees_all: bool) -> Response:
        """200 once every feed has a ring with a living writer that shows signs of life; else 503 and which not."""
        shown = self._status()
        body = {key: shown[key] for key in (("ready", "faults") if sees_all else ("ready",))}
        return _json(body, well=shown["ready"])

    def _health(self, *, sees_all: bool) -> Response:
        """200 while the supervisor's loop runs: a child that failed is no reason to kill the others."""
        healthy = self._supervisor.beat_age_s < BEAT_LIMIT_S
        if not sees_all:
            return _json({"healthy": healthy}, well=healthy)
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
        return _json(body, well=healthy)


def _token(plan: MetricsPlan) -> str:
    return read_token(Reference(plan.token_credential, plan.token_file, plan.token_env))


def _json(body: dict[str, Any], *, well: bool = True) -> Response:
    status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(json.dumps(body).encode() + b"\n", "application/json", status)
