"""The status page: `/` is one HTML file that asks for `/status` and `/last`, and for nothing of other hosts.

    page.html ─► the browser ─► GET /status, each second     how everything is (`mdfeedd.daemon.status`)
                            └─► GET /last, each two seconds  last prices and bars (`mdfeedd.daemon.board`)
                            └─► the fan-out's WebSocket, if one is configured: the chart's instrument, live

Names of instruments, feeds and errors are others' and may be hostile: the page puts them in as text, never as
HTML, and its policy lets no script run but its own, which is known by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.daemon.board import Board

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mdfeedd.daemon.plan import Plan

PATHS: Final = ("/", "/last")
_ANYWHERE: Final = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "")  # noqa: S104 - read, not bound


class Page:
    """Answers `PATHS`. `plan_of` gives the plan that runs: a reload may have changed it."""

    def __init__(self, plan_of: Callable[[], Plan]) -> None:
        self._plan_of = plan_of
        self._board = Board(plan_of().shm_dir)
        self._html = resources.files("mdfeedd.daemon").joinpath("page.html").read_bytes()
        self._headers = [*_COMMON, ("Content-Security-Policy", policy(self._html.decode()))]

    def answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """A WSGI answer: GET and HEAD only."""
        method = environ.get("REQUEST_METHOD", "GET")
        if method not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [*_COMMON, ("Allow", "GET, HEAD")])
            return [b""]
        if environ.get("PATH_INFO", "/") == "/last":
            kind, headers, body = "application/json", list(_COMMON), self._last()
        else:
            kind, headers, body = "text/html; charset=utf-8", self._headers, self._html
        start("200 OK", [("Content-Type", kind), *headers])
        return [b"" if method == "HEAD" else body]

    def _last(self) -> bytes:
        """What the board has, and where the fan-outs listen."""
        plan = self._plan_of()
        if plan.metrics is not None and not plan.metrics.prices:
            return b'{"fanouts": [], "rings": []}\n'
        told = {"fanouts": fanouts_of(plan)}
        return json.dumps(told)[:-1].encode() + b", " + self._board.answer()[1:]


_COMMON: Final = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]


def policy(html: str) -> str:
    """The page's Content-Security-Policy: its own script and style by their hashes, and connections."""
    scripts, styles = (
        " ".join(f"'sha256-{_sha256(text)}'" for text in re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL))
        for tag in ("script", "style")
    )  # fmt: skip
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self' ws: wss:; "
        f"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def fanouts_of(plan: Plan) -> list[dict[str, Any]]:
    """Each fan-out with its rings and port; `host` is "" where it is the one that the page came from."""
    return [
        {
            "rings": list(child.rings),
            "port": child.options["port"],
            "host": "" if child.options["host"] in _ANYWHERE else child.options["host"],
        }
        for child in plan.consumers
        if child.plugin == "fanout" and child.options["port"]
    ]
