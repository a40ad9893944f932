"""A real Prometheus scrapes a real daemon, evaluates our rules over it, and sees a feed die and come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from mdfeedd.daemon import catalogue, config
from mdfeedd.daemon.supervisor import Limits, State, Supervisor
from mdfeedd.ring import Writer
from mdfeedd.ring.lines import LineKey, WriterLines

PROMETHEUS = shutil.which("prometheus")
CONFIG = Path(__file__).parents[2] / "config" / "prometheus"
DASHBOARD = CONFIG.parent / "grafana" / "mdfeedd.json"
pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not installed (Debian: prometheus)"
)

DAEMON = """
shm_dir: {shm_dir}
metrics: {{port: 0, token: {{file: {folder}/token}}}}
feeds:
  - name: good
    vendor: synthetic
    capacity: 1024
    options: {{instruments: 4, rate: 2000}}
  - name: bad
    vendor: synthetic
    capacity: 1024
    options: {{instruments: 4, rate: 2000}}
consumers:
  - name: bars-maker
    type: bars
    rings: [good, bad]
    options: {{ring: bars, intervals_s: [1]}}
  - name: journal
    type: journal
    rings: [good]
    options: {{path: {folder}/journal}}
"""
WAIT_S = 120.0


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Server:
    """One Prometheus with our rules, every `for` of them gone, that looks every second."""

    def __init__(self, folder, target):
        self.port = free_port()
        rules = re.sub(r"(?m)^ +for: .*\n", "", (CONFIG / "mdfeedd.rules.yml").read_text())
        (folder / "mdfeedd.rules.yml").write_text(rules)
        given = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
        given["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        given["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
        given["scrape_configs"][0]["authorization"] = {"credentials_file": str(folder / "token")}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(given))
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    PROMETHEUS,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def api(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        """Labels and value of each sample."""
        found = self.api("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def firing(self):
        found = self.query('ALERTS{alertstate="firing"}')
        return {
            (labels["alertname"], labels.get("child") or labels.get("feed")) for labels, _ in found
        }

    async def until(self, condition):
        """The first true answer of `condition`, which may ask this server."""
        deadline = time.monotonic() + WAIT_S
        while True:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if found := await asyncio.to_thread(condition):
                    return found
            assert time.monotonic() < deadline, f"it never came: {self.firing()}"
            await asyncio.sleep(0.2)


@pytest.fixture
def lines(shm_dir):
    """The ring of a feed with two lines, as one of CME has them."""
    with Writer("lined", 1024, directory=shm_dir) as writer:
        keys = [LineKey(310, "incremental", side) for side in "AB"]
        rows = WriterLines(writer, keys)
        for key in keys:
            rows.set(key, {"received_packets": 1000, "last_packet_ns": time.monotonic_ns()})
        yield


def queries_of_dashboard():
    """Each panel's title and query, with its variables as Grafana fills them in for 'All'."""
    filled = {
        "$__rate_interval": "10s",
        "$__range": "1m",
        "$instance": ".*",
        "$feed": ".*",
        "$ring": ".*",
    }
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for variable, value in filled.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression, panel["title"]
            yield panel["title"], expression


def test_every_panel_of_the_dashboard_has_data(shm_dir, tmp_path, lines):
    """Each query over the daemon's own metrics: none is refused, and each gives at least one series."""
    waited = "rate(mdfeedd_reader_latency_seconds_count[10s]) > 0"

    async def scenario():
        async with running(shm_dir, tmp_path) as (_, server):
            await server.until(lambda: server.query(waited))
            return {
                (title, expression): await asyncio.to_thread(server.query, expression)
                for title, expression in queries_of_dashboard()
            }

    found = asyncio.run(scenario())
    assert len(found) > 50
    assert [title for title, samples in found.items() if not samples] == []


@contextlib.asynccontextmanager
async def running(shm_dir, folder):
    (folder / "token").write_text("sesame\n")  # both read it: the daemon and Prometheus
    plan = config.parse(DAEMON.format(shm_dir=shm_dir, folder=folder))
    async with Supervisor(plan, limits=Limits(restart_first_s=0.01)) as supervisor:
        server = Server(folder, f"127.0.0.1:{supervisor.exporter.port}")
        try:
            yield supervisor, server
        finally:
            server.close()


def test_prometheus_reads_every_series_and_evaluates_every_rule(shm_dir, tmp_path, lines):
    async def scenario():
        async with running(shm_dir, tmp_path) as (_, server):
            await server.until(lambda: server.query("mdfeedd_reader_latency_seconds_count > 5"))
            names = {
                labels["__name__"]
                for labels, _ in await asyncio.to_thread(server.query, '{__name__=~"mdfeedd_.*"}')
            }
            groups = (await asyncio.to_thread(server.api, "rules"))["groups"]
            metadata = await asyncio.to_thread(server.api, "metadata")
            quantile = await server.until(
                lambda: server.query("reader:mdfeedd_reader_latency_seconds:p99_5m")
            )
            up = await asyncio.to_thread(server.query, 'up{job="mdfeedd"}')
        return names, groups, metadata, quantile, up

    names, groups, metadata, quantile, up = asyncio.run(scenario())
    assert [value for _, value in up] == [1]
    absent = {  # of feeds that tell it; while there is something to be told
        "mdfeedd_feed_last_record_timestamp_seconds",
        "mdfeedd_feed_doubted_since_timestamp_seconds",
    }
    for metric in catalogue.metrics():
        kind = metric.kind == "histogram"
        assert metric.name in absent or metric.name + "_bucket" * kind in names, metric.name
        if metric.name not in absent:
            known = metadata.get(metric.name) or metadata[metric.name.removesuffix("_total")]
            assert known[0]["type"] == metric.kind
            assert known[0]["help"] == metric.help
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 30
    assert {rule.get("lastError") for rule in rules} <= {None, ""}
    assert {rule["health"] for rule in rules} == {"ok"}
    assert {labels["ring"] for labels, _ in quantile} >= {"good"}
    assert all(0 < value < 200 for _, value in quantile)


def test_a_feed_that_is_killed_again_and_again_raises_alerts_and_they_clear(shm_dir, tmp_path):
    async def scenario():
        async with running(shm_dir, tmp_path) as (supervisor, server):
            await server.until(
                lambda: server.query("rate(mdfeedd_ring_tick_published_total[10s]) > 0")
            )
            bad = supervisor.find("bad")
            while bad.state is not State.FAILED:  # the crash-loop limit ends this
                if bad.process is not None:
                    bad.process.signal(signal.SIGKILL)
                bad.attempts = 0  # without the back-off
                await asyncio.sleep(0.05)
            await server.until(lambda: ("MdfeeddChildGivenUp", "bad") in server.firing())
            assert ("MdfeeddChildGivenUp", "good") not in server.firing()
            code = await asyncio.to_thread(ready, supervisor)
            assert code == 503
            supervisor.tell_reloaded(well=False)
            await server.until(lambda: ("MdfeeddConfigReloadFailed", None) in server.firing())
            supervisor.tell_reloaded(well=True)
            await server.until(lambda: ("MdfeeddConfigReloadFailed", None) not in server.firing())

    asyncio.run(scenario())


def ready(supervisor):
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{supervisor.exporter.port}/readyz", timeout=10
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
