"""The daemon's HTTP with a token: what is open without it, who may ask, and what a reload changes."""

from __future__ import annotations

import asyncio
import http.client
import json
from types import SimpleNamespace

import pytest

from mdfeedd.cli.attached import Attachment
from mdfeedd.daemon import config
from mdfeedd.daemon.config import ConfigError
from mdfeedd.daemon.showing import as_written
from mdfeedd.daemon.supervisor import StartError, Supervisor

PATHS = ("/", "/metrics", "/status", "/last", "/healthz", "/readyz")


def plan_of(shm_dir, **metrics):
    feeds = [{"name": "f", "vendor": "synthetic", "capacity": 256, "options": {"rate": 100}}]
    return config.check({"shm_dir": shm_dir, "metrics": {"port": 0, **metrics}, "feeds": feeds})


def get(supervisor, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", supervisor.exporter.port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return SimpleNamespace(
            status=answer.status, body=answer.read().decode(), headers=answer.headers
        )
    finally:
        connection.close()


def supervised(plan, examine):
    async def scenario():
        async with Supervisor(plan) as supervisor:
            await examine(supervisor)

    asyncio.run(scenario())


async def ask(supervisor, path, **headers):
    return await asyncio.to_thread(get, supervisor, path, **headers)


def test_token_from_a_file(shm_dir, tmp_path):
    token = tmp_path / "token"
    token.write_text("sesame\n")

    async def examine(supervisor):
        for path in PATHS:
            assert (await ask(supervisor, path, Authorization="Bearer sesame")).status == 200
        for path in ("/metrics", "/status", "/last"):
            refused = await ask(supervisor, path)
            assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "f" not in json.dumps(refused.body).split()
            assert (await ask(supervisor, path, Authorization="Bearer other")).status == 401
            assert (
                await ask(supervisor, f"{path}?token=sesame")
            ).status == 401  # it would be in logs
        assert json.loads((await ask(supervisor, "/healthz")).body) == {"healthy": True}
        assert json.loads((await ask(supervisor, "/readyz")).body) == {"ready": True}
        assert "sesame" not in (await ask(supervisor, "/")).body
        # who may read the file sees more: `mdfeedd status` and `top`
        port = supervisor.exporter.port
        plan = plan_of(shm_dir, port=port, token={"file": str(token)})
        seen = await asyncio.to_thread(Attachment(shm_dir, plan.metrics).look)
        assert seen.answered
        plan = plan_of(shm_dir, port=port)
        seen = await asyncio.to_thread(Attachment(shm_dir, plan.metrics).look)
        assert not seen.answered
        assert "token" in seen.why

    supervised(plan_of(shm_dir, token={"file": str(token)}), examine)


def test_page_of_another_site_that_points_its_name_at_us_reads_nothing(shm_dir):
    async def examine(supervisor):
        for path in PATHS:
            assert (await ask(supervisor, path, Host="evil.example:9464")).status == 421
            assert (await ask(supervisor, path, Host="feeds.example")).status == 200

    supervised(plan_of(shm_dir, names=["feeds.example"]), examine)


def test_every_answer_may_be_embedded_by_nobody(shm_dir):
    async def examine(supervisor):
        for path in (*PATHS, "/nothing"):
            headers = (await ask(supervisor, path)).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert headers["Cache-Control"] == "no-store"
            assert headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert headers["Server"] is None
            assert headers["Access-Control-Allow-Origin"] is None

    supervised(plan_of(shm_dir), examine)


def test_token_that_cannot_be_read_keeps_the_daemon_from_starting(shm_dir, tmp_path, monkeypatch):
    async def examine(_supervisor):
        raise AssertionError("it started")

    for where in ({"file": str(tmp_path / "none")}, {"env": "NO_SUCH_TOKEN"}):
        with pytest.raises(StartError, match="token") as refused:
            supervised(plan_of(shm_dir, token=where), examine)
        assert refused.value.status == 77  # systemd does not try it again
    monkeypatch.setenv("EMPTY", " ")
    supervised_with = plan_of(shm_dir, token={"env": "EMPTY"})
    with pytest.raises(StartError, match="empty"):
        supervised(supervised_with, examine)


def test_reload_brings_another_token_and_keeps_the_old_one_where_it_cannot(shm_dir, monkeypatch):
    monkeypatch.setenv("FIRST", "one")
    monkeypatch.setenv("SECOND", "two")

    async def examine(supervisor):
        port = supervisor.exporter.port
        assert (await ask(supervisor, "/status", Authorization="Bearer one")).status == 200
        supervisor.serve_metrics(plan_of(shm_dir, token={"env": "SECOND"}).metrics)
        assert supervisor.exporter.port == port
        assert (await ask(supervisor, "/status", Authorization="Bearer one")).status == 401
        assert (await ask(supervisor, "/status", Authorization="Bearer two")).status == 200
        with pytest.raises(StartError, match="NO_SUCH_TOKEN"):
            supervisor.serve_metrics(plan_of(shm_dir, token={"env": "NO_SUCH_TOKEN"}).metrics)
        assert (await ask(supervisor, "/status", Authorization="Bearer two")).status == 200

    supervised(plan_of(shm_dir, token={"env": "FIRST"}), examine)


def test_token_is_a_reference_and_shown_as_one(shm_dir):
    plan = plan_of(shm_dir, token={"credential": "metrics"}, names=["a"])
    assert as_written(plan)["metrics"] == {
        "host": "127.0.0.1", "port": 0, "prices": True, "names": ["a"], "token": {"credential": "metrics"},
    }  # fmt: skip
    with pytest.raises(ConfigError, match="a secret is not written here"):
        plan_of(shm_dir, token="sesame")


def test_token_of_two_sources_is_refused(shm_dir):
    with pytest.raises(ConfigError, match="token_env: token_file is given already"):
        plan_of(shm_dir, token_file="/run/token", token_env="TOKEN")
