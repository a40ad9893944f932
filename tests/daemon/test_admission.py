"""Who may ask: by which name, with which token."""

from __future__ import annotations

import socket

import pytest

from mdfeedd.daemon.admission import Admission
from mdfeedd.daemon.http_message import Refused, Request


def ask(admission, path="/status", host="127.0.0.1:9464", **headers):
    if host is not None:
        headers["host"] = host
    return admission.admit(Request("GET", path, headers))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:9464", "[::1]:9464", "10.1.2.3", "localhost", "LOCALHOST:1", "localhost.", None,
        "feeds.example", "scrape.me:80", socket.gethostname(),
    ],
)  # fmt: skip
def test_names_of_ours(host):
    assert ask(Admission("", "feeds.example", ("scrape.me",)), host=host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[evil]",
        "0x7f.1",
    ],
)
def test_name_that_somebody_has_pointed_at_us(host):
    """DNS rebinding: a page of evil.example asks evil.example, which now is 127.0.0.1."""
    for path in ("/", "/status", "/metrics", "/healthz"):
        with pytest.raises(Refused, match=r"metrics\.names") as refused:
            ask(Admission(""), path, host)
        assert refused.value.status == 421


def test_token_opens_everything_by_any_name():
    admission = Admission("sesame-ö")
    shown = "Bearer sesame-ö".encode().decode("latin-1")  # as a header comes
    assert ask(admission, host="anything.example", authorization=shown)
    assert ask(admission, authorization=shown.replace("Bearer", "bearer"))


@pytest.mark.parametrize(
    "shown", [None, "", "Bearer", "Bearer sesam", "Basic sesame", "sesame", "Bearer sesame x"]
)
def test_without_the_token_there_is_little_to_see(shown):
    headers = {} if shown is None else {"authorization": shown}
    for path in ("/status", "/metrics", "/last", "/nothing"):
        with pytest.raises(Refused, match="token") as refused:
            ask(Admission("sesame"), path, **headers)
        assert refused.value.status == 401
        assert ("WWW-Authenticate", "Bearer") in refused.value.headers
    for path in ("/", "/healthz", "/readyz"):
        assert ask(Admission("sesame"), path, **headers) is False
