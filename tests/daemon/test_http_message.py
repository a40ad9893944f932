"""Requests that are answered, and all that is not one request in one reading."""

from __future__ import annotations

import random
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdfeedd.daemon.http_message import (
    END,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    Refused,
    Response,
    encode,
    parse,
)

SOUND = b"GET /metrics?x=1 HTTP/1.1\r\nHost: 127.0.0.1:9464\r\nAccept:  a/b, c;q=0.5 \r\n\r\n"


def test_what_a_scrape_asks():
    request = parse(SOUND)
    assert (request.method, request.path) == ("GET", "/metrics")
    assert request.headers == {"host": "127.0.0.1:9464", "accept": "a/b, c;q=0.5"}


def test_host_may_be_missing_before_http_1_1():
    assert parse(b"HEAD / HTTP/1.0\r\n\r\n").headers == {}


def test_fields_of_one_name_are_joined():
    request = parse(b"GET / HTTP/1.0\r\nAccept: a\r\naccept: b\r\n\r\n")
    assert request.headers["accept"] == "a, b"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.0" + END, 431),
        (b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nauthorization: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\x00y\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(head, status):
    with pytest.raises(Refused) as refused:
        parse(head)
    assert refused.value.status == status
    assert str(refused.value)


def test_response_is_closed_and_may_load_nothing():
    head, _, body = encode(Response(b"x")).partition(END)
    fields = head.decode().split("\r\n")
    assert fields[0] == "HTTP/1.1 200 OK"
    assert "Connection: close" in fields
    assert "Content-Length: 1" in fields
    assert "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'" in fields
    assert "X-Content-Type-Options: nosniff" in fields
    assert body == b"x"
    assert encode(Response(b"x"), with_body=False).endswith(END)


def path_of(head):
    """The path; None where the request is refused."""
    try:
        return parse(head).path
    except Refused:
        return None


def _cut(rng, data):
    at = rng.randrange(len(data))
    return (
        data[:at]
        + rng.choice((b"", b"\r\n", b"\x00", b": ", b" ", data[: at // 2]))
        + data[at + rng.randrange(3) :]
    )


def test_mutated_requests_are_read_or_refused():
    for seed in range(3000):
        rng = random.Random(seed)
        data = SOUND
        for _ in range(rng.randint(1, 4)):
            data = _cut(rng, data)
        path = path_of(data)
        assert path is None or (path.startswith("/") and "?" not in path), (seed, data)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes(data):
    path_of(data + END)
