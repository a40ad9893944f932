"""A server that speaks TLS with a certificate of its own, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from mdfeedd.sinks import SinkError
from mdfeedd.sinks.postgres.options import PostgresOptions

ACCESS = """
local all all trust
hostssl all all 127.0.0.1/32 trust
"""


def certificate(folder, name):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture
def tls_server(load_server, tmp_path):
    """With server.pem, and stranger.pem of somebody else, in its folder."""
    pytest.importorskip("psycopg")
    servers = load_server("postgres")
    if servers.binaries() is None:
        pytest.skip(servers.NOT_INSTALLED)
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates with")
    server = servers.PostgresServer(access=ACCESS)
    for name in ("server", "stranger"):
        certificate(tmp_path, name)
    for name in ("server.pem", "server.key"):
        place = server.folder / name
        shutil.copy(tmp_path / name, place)
        place.chmod(0o600)
        if server.as_user:
            os.chown(place, server.as_user["user"], server.as_user["group"])
    with (server.data / "postgresql.conf").open("a") as file:
        file.write(
            f"ssl = on\nssl_cert_file = '{server.folder}/server.pem'\n"
            f"ssl_key_file = '{server.folder}/server.key'\n"
        )
    try:
        server.start()
        yield server, tmp_path
    finally:
        server.remove()


def test_rows_go_by_tls_and_what_is_wrong_is_told(tls_server, give):
    from mdfeedd.sinks.postgres import PostgresSink

    server, folder = tls_server

    def sink(dsn, name):
        place = {"host": "127.0.0.1", "port": server.port, "dbname": "postgres", "user": "postgres"}
        return PostgresSink(PostgresOptions(dsn=dsn, **place), name)

    verify = f"sslmode=verify-full sslrootcert={folder}/server.pem"
    store = sink(verify, "store")
    store.write(give.batch_of(give.quotes(1, 50)))
    assert server.execute("select count(*) from mdfeedd.quote") == [(50,)]
    used = server.execute("select bool_or(ssl) from pg_stat_ssl")
    assert used == [(True,)]
    store.close()
    wrong = {
        "certificate verify failed": verify.replace("server.pem", "stranger.pem"),
        "no encryption|SSL": "sslmode=disable",
        "does not exist": verify.replace("server.pem", "nowhere.pem"),
    }
    for words, dsn in wrong.items():
        other = sink(dsn, "other")
        with pytest.raises(SinkError, match=words) as told:
            other.position("cme")
        assert told.value.retriable
        assert "\n" not in str(told.value)
        other.close()
