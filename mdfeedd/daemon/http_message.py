"""HTTP/1 as far as a page and a scrape need it. Sans-IO: bytes to a request, a response to bytes.

    head of a request, to its empty line ──► parse ──► Request     what was asked, undecoded
                                                  └──► Refused     a status and one sentence
    Response ──► encode ──► bytes, of a connection that is closed then

A request has no body, and what can be read in two ways is refused, not guessed: a proxy before us must never have
understood another request than we do. Limits: `MAX_HEAD_BYTES`, `MAX_FIELDS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["END", "MAX_HEAD_BYTES", "Refused", "Request", "Response", "encode", "parse"]

END: Final = b"\r\n\r\n"
MAX_HEAD_BYTES: Final = 8192
MAX_FIELDS: Final = 64

_LINE: Final = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.([01])")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_ONCE: Final = frozenset({"host", "authorization", "content-length"})
_METHODS: Final = ("GET", "HEAD")


class Refused(Exception):
    """A request that is not answered as it was meant. One sentence, which is the body."""

    def __init__(self, status: HTTPStatus, sentence: str, *headers: tuple[str, str]) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: GET or HEAD. `path` is as it came, without the query; names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = field(default=())


def parse(head: bytes) -> Request:
    """The request of a whole head, its empty line included. Raises `Refused`."""
    if not head.endswith(END) or len(head) > MAX_HEAD_BYTES:
        raise Refused(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too long"
        )
    line, *fields = head[: -len(END)].split(b"\r\n")
    asked = _LINE.fullmatch(line)
    if asked is None:
        raise Refused(HTTPStatus.BAD_REQUEST, "the request line is not METHOD /PATH HTTP/1.1")
    method = asked[1].decode()
    if method not in _METHODS:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD only", ("Allow", "GET, HEAD"))
    headers = _headers(fields)
    if asked[3] == b"1" and "host" not in headers:
        raise Refused(HTTPStatus.BAD_REQUEST, "a request of HTTP/1.1 names the host")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "requests here have no body")
    return Request(method, asked[2].decode().partition("?")[0], headers)


def _headers(fields: list[bytes]) -> dict[str, str]:
    if len(fields) > MAX_FIELDS:
        raise Refused(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MAX_FIELDS} header fields"
        )
    headers: dict[str, str] = {}
    for one in fields:
        found = _FIELD.fullmatch(one)
        if found is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "a header field is not NAME: VALUE")
        name, value = found[1].decode().lower(), found[2].decode("latin-1")
        if name in headers and name in _ONCE:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is there twice")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


_ALWAYS: Final = (
    ("Connection", "close"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
_POLICY: Final = "Content-Security-Policy"
_NOTHING: Final = (_POLICY, "default-src 'none'; frame-ancestors 'none'")


def encode(response: Response, *, with_body: bool = True) -> bytes:
    """All of it. Without a policy of its own a response may load nothing, whatever a browser takes it for."""
    fields = [
        ("Date", formatdate(usegmt=True)),
        ("Content-Type", response.kind),
        ("Content-Length", str(len(response.body))),
        *_ALWAYS,
        *response.headers,
    ]
    if all(name != _POLICY for name, _ in response.headers):
        fields.append(_NOTHING)
    head = f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields)
    return head.encode("latin-1") + b"\r\n" + (response.body if with_body else b"")
