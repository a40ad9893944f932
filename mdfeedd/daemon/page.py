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
from mdfeedd.daemon.http_message import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.daemon.plan import Plan

_ANYWHERE: Final = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "")  # noqa: S104 - read, not bound


class Page:
    """The page and what it asks for. `plan_of` gives the plan that runs: a reload may have changed it."""

    def __init__(self, plan_of: Callable[[], Plan]) -> None:
        self._plan_of = plan_of
        self._board = Board(plan_of().shm_dir)
        self._html = resources.files("mdfeedd.daemon").joinpath("page.html").read_bytes()
        self._headers = (("Content-Security-Policy", policy(self._html.decode())),)

    def html(self) -> Response:
        """The page, which holds no data."""
        return Response(self._html, "text/html; charset=utf-8", headers=self._headers)

    def last(self) -> Response:
        """What the board has, and where the fan-outs listen."""
        plan = self._plan_of()
        if plan.metrics is not None and not plan.metrics.prices:
            return Response(b'{"fanouts": [], "rings": []}\n', "application/json")
        told = json.dumps({"fanouts": fanouts_of(plan)})[:-1].encode()
        return Response(told + b", " + self._board.answer()[1:], "application/json")


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
