"""Brokers that speak TLS, with certificates of their own, and ask for ours."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from mdfeedd.sinks import SinkError


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with broker.pem and broker.key, and those of a stranger."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("broker", "stranger"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    return folder


def tls(folder, whom="broker", trusted="broker"):
    """Options of a client."""
    return {
        "security_protocol": "ssl",
        "tls_ca_file": str(folder / f"{trusted}.pem"),
        "tls_cert_file": str(folder / f"{whom}.pem"),
        "tls_key_file": str(folder / f"{whom}.key"),
    }


def test_records_go_by_tls_and_what_is_wrong_is_told(
    own_kafka, certificates, batches, sink_to, read
):
    broker = own_kafka(tls=(certificates / "broker.pem", certificates / "broker.key"))
    ring, (first, second, *_) = batches(count=2)
    sink = sink_to(broker.tls_address, **tls(certificates))
    sink.write(first)
    sink.write(second)
    assert len(read(broker, ring.name).records()) == 1000
    wrong = {
        "verif": tls(certificates, trusted="stranger"),  # whom we do not know
        "(unknown|bad) certificate|alert": tls(certificates, whom="stranger"),  # who is not known
        "security_protocol": {},  # plain to a port of TLS
    }
    for words, given in wrong.items():
        other = sink_to(broker.tls_address, timeout_s=3.0, **given)
        with pytest.raises(SinkError, match=words) as told:
            other.position(ring.name)
        assert told.value.retriable
    other = sink_to(broker, timeout_s=3.0, **tls(certificates))  # and TLS to a plain port
    with pytest.raises(SinkError, match="connecting to a PLAINTEXT broker listener"):
        other.position(ring.name)
