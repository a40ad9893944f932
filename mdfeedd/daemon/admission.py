"""Who may ask the daemon over HTTP, and what: by the host that is named, and by a token.

    Host: of this machine ─┐
                           ├─► path in OPEN ─► all ─► without the token: healthz and readyz say yes or no, and no more
    Authorization: Bearer ─┘   else ─► who shows the token, where one is configured

A page on the web can have a browser on this machine (or in its network) ask us under a name of its own that it lets
point here (DNS rebinding), and read the answer. So a name has to be one of ours: an address in numbers, localhost,
this machine's own, that of `metrics.host`, or one of `metrics.names`. Who shows the token needs no name.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from mdfeedd.daemon.http_message import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.daemon.http_message import Request

__all__ = ["Admission"]

OPEN: Final = frozenset({"/", "/healthz", "/readyz"})
"""The page holds nothing but itself; probes of life are asked by who has no token."""
_SCHEME: Final = "bearer"


class Admission:
    """`token`: "" admits everybody who names this machine rightly."""

    def __init__(self, token: str, host: str = "", names: Iterable[str] = ()) -> None:
        self._token = token.encode()
        own = (socket.gethostname(), "localhost", host, *names)
        self._names = {name.lower().rstrip(".") for name in own if name}

    def admit(self, request: Request) -> bool:
        """Whether the request may see all; without that, it may see what is open. Raises `Refused`."""
        shown = self._token != b"" and self._shows_token(request)
        if not shown and not self._is_ours(request.headers.get("host")):
            sentence = (
                "this daemon does not go by that name: metrics.names has those that it answers to, "
                "and addresses in numbers always do"
            )
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, sentence)
        if shown or not self._token:
            return True
        if request.path not in OPEN:
            sentence = "a token is needed: Authorization: Bearer TOKEN (metrics.token)"
            raise Refused(HTTPStatus.UNAUTHORIZED, sentence, ("WWW-Authenticate", "Bearer"))
        return False

    def _shows_token(self, request: Request) -> bool:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(shown.strip().encode("latin-1"), self._token)
        return same and scheme.lower() == _SCHEME

    def _is_ours(self, host: str | None) -> bool:
        if host is None:  # HTTP/1.0: no browser
            return True
        name = _without_port(host).lower().rstrip(".")
        return name in self._names or _is_address(name)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
