"""TimescaleDB and Kafka as the README has them: against a real PostgreSQL and a real broker."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mdfeedd.ring import Reader, RingMissing

KEPT = 4000


class Database(NamedTuple):
    """How to get there, and whether tables are to be hypertables."""

    dsn: str
    has_timescale: bool

    def rows(self, statement: str) -> list:
        """The rows of a statement; none as long as nobody has made the schema."""
        import psycopg

        with psycopg.connect(self.dsn, autocommit=True) as connection:
            there = connection.execute(
                "select to_regclass('mdfeedd.trades') is not null"
            ).fetchone()
            return connection.execute(statement).fetchall() if there == (True,) else []


@pytest.fixture(params=["postgres", "timescale"])
def database(request, readme):
    """A server of this test's own."""
    pytest.importorskip("psycopg")
    module = readme.server_module(request.param)
    if request.param == "postgres":
        if module.binaries() is None:
            pytest.skip(module.NOT_INSTALLED)
        server = module.PostgresServer()
        try:
            server.start()
            yield Database(server.dsn(), has_timescale=False)
        finally:
            server.remove()
        return
    if module.VARIABLE in os.environ:
        pytest.skip(f"the database of {module.VARIABLE} may have a schema mdfeedd in use")
    try:
        server = module.TimescaleServer()
    except module.NotHereError as error:
        pytest.skip(str(error))
    yield Database(server.dsn, has_timescale=True)
    server.stop()


def test_into_a_database(place, readme, database) -> None:
    place.values["dsn"] = database.dsn
    place.values["password"] = place.folder / "password"
    place.values["password"].write_text(secrets.token_hex(8))
    for name in ("daemon", "timescaledb"):
        place.write(name)
    daemon = place.start("exec mdfeedd run -c mdfeedd.yaml 2>daemon.log")
    try:
        ticks, bars = place.text("timescaledb query").text.strip().rstrip(";").split(";\n")
        found = readme.until(lambda: database.rows(ticks), "trades in the database")
        assert all(count > 0 and low <= high for _, count, low, high in found)
        readme.until(lambda: database.rows(bars), "bars in the database")
        if database.has_timescale:
            assert database.rows("select from timescaledb_information.hypertables")
    finally:
        place.end(daemon)
    assert "Traceback" not in (place.folder / "daemon.log").read_text()


def records(ring: str, directory: str, readme) -> np.ndarray:
    """The first records of a ring of another process."""

    def attached() -> Reader | None:
        try:
            return Reader(ring, start="oldest", directory=directory)
        except RingMissing:
            return None

    parts: list[np.ndarray] = []
    with readme.until(attached, f"the ring {ring}") as reader:

        def enough() -> bool:
            batch = reader.read(1 << 16, timeout=1.0)
            assert not batch.lost
            parts.append(batch.records.copy())
            return sum(map(len, parts)) >= KEPT

        readme.until(enough, "records")
    return np.concatenate(parts)[:KEPT]


@pytest.mark.slow
def test_to_another_host(place, readme, apache, tmp_path) -> None:
    far = Path(place.shm) / "far"
    far.mkdir()
    place.values |= {
        "brokers": apache.address,
        "shm_b": far,
        "dsn": "host=nowhere",
        "password": "/x",
    }
    for name in ("daemon", "timescaledb", "kafka", "kafka far"):
        path = place.write(name)
        if name == "timescaledb":  # its journal alone
            path.write_text(path.read_text().partition("  - name: warehouse")[0])
    there = place.start("exec mdfeedd run -c host-b.yaml 2>b.log")
    here = place.start("exec mdfeedd run -c mdfeedd.yaml 2>a.log")
    try:
        origin, copy = (records("demo", folder, readme) for folder in (place.shm, str(far)))
    finally:
        place.end(here)
        place.end(there)
    fields = ["seq", "ts_event", "ts_recv", "kind", "flags", "payload"]
    assert (origin[fields] == copy[fields]).all()
