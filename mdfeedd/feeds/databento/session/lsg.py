"""The text part of a live session: greeting, challenge, authentication, subscriptions. Sans-IO.

::

    S: lsg_version=0.9.4             C: auth=<answer>|dataset=GLBX.MDP3|encoding=dbn|ts_out=0|...
    S: cram=<challenge>              S: success=1|session_id=1760000001
                                     C: schema=mbp-1|stype_in=raw_symbol|symbols=ESZ6,NQZ6|...   (many)
                                     C: start_session

Lines are ``key=value`` joined by ``|``. Their order, keys that are not known and a ``|`` at the end mean nothing.
Source: Databento's "Raw TCP API" and its published clients.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mdfeedd.feeds.databento.session.key import Key

__all__ = [
    "MAX_LINES",
    "MAX_LINE_BYTES",
    "START_LINE",
    "SYMBOLS_PER_LINE",
    "Greeting",
    "Handshake",
    "Request",
    "Stage",
    "parse_line",
    "subscription_lines",
]

MAX_LINE_BYTES: Final = 8192
MAX_LINES: Final = 64
"""Of the handshake, those with nothing for us included."""
SYMBOLS_PER_LINE: Final = 500
START_LINE: Final = b"start_session\n"


class Stage(enum.Enum):
    """What the gateway has to say next."""

    GREETING = "the greeting"
    CHALLENGE = "the challenge"
    ANSWER = "the answer to our authentication"
    READY = "nothing: it waits for subscriptions"


@dataclass(frozen=True, slots=True)
class Greeting:
    """What we say of ourselves and of the session that we want."""

    dataset: str
    client: str
    encoding: Literal["dbn", "json"] = "dbn"
    compression: Literal["none", "zstd"] = "none"
    ts_out: bool = False
    heartbeat_s: int = 30
    slow_reader: Literal["warn", "skip"] = "warn"


@dataclass(frozen=True, slots=True)
class Request:
    """One subscription of this session. `start_ns`: replay from there; None: live only."""

    id: int
    schema: str
    stype: str
    symbols: tuple[str, ...]
    start_ns: int | None = None
    snapshot: bool = False


class Handshake:
    """Bytes of the gateway in, bytes for it out, until `stage` is READY.

    `surplus` is what came after the last line. Raises `SessionEnd`.
    """

    def __init__(self, greeting: Greeting, key: Key) -> None:
        self.stage: Stage = Stage.GREETING
        self.session_id: str = ""
        self.lsg_version: str = ""
        self.surplus: bytes = b""
        self._greeting = greeting
        self._key = key
        self._lines = 0

    def receive(self, data: bytes) -> bytes:
        """What to send in return."""
        self.surplus += data
        answer = b""
        while self.stage is not Stage.READY:
            line, newline, rest = self.surplus.partition(b"\n")
            if len(line) > MAX_LINE_BYTES:
                raise SessionEnd(Ending.MALFORMED, f"a line of more than {MAX_LINE_BYTES} bytes")
            if not newline:
                break
            self.surplus = rest
            self._lines += 1
            if self._lines > MAX_LINES:
                raise SessionEnd(Ending.MALFORMED, f"more than {MAX_LINES} lines of greeting")
            answer += self._line(parse_line(line))
        return answer

    def _line(self, fields: dict[str, str]) -> bytes:
        if self.stage is Stage.GREETING and "lsg_version" in fields:
            self.lsg_version = fields["lsg_version"]
            self.stage = Stage.CHALLENGE
        if fields.get("success") == "0":
            raise refusal(fields.get("error", "no reason given"))
        if self.stage in (Stage.GREETING, Stage.CHALLENGE) and "cram" in fields:
            self.stage = Stage.ANSWER
            return self._authentication(fields["cram"])
        if self.stage is Stage.ANSWER and "success" in fields:
            if fields["success"] != "1":
                raise SessionEnd(Ending.MALFORMED, f"success={fields['success'][:40]!r}")
            self.session_id = fields.get("session_id", "")
            self.stage = Stage.READY
        return b""

    def _authentication(self, challenge: str) -> bytes:
        wanted = self._greeting
        fields = {
            "auth": self._key.answer(challenge),
            "dataset": wanted.dataset,
            "encoding": wanted.encoding,
            "ts_out": str(int(wanted.ts_out)),
            "compression": wanted.compression,
            "heartbeat_interval_s": str(wanted.heartbeat_s),
            "slow_reader_behavior": wanted.slow_reader,
            "client": wanted.client,
        }
        return _join(fields)


def parse_line(line: bytes) -> dict[str, str]:
    """The fields of a line without its end. Raises `SessionEnd` for what is no such line."""
    try:
        text = line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        raise SessionEnd(Ending.MALFORMED, f"a line that is not UTF-8: {line[:40]!r}") from None
    fields = {}
    for part in text.removesuffix("|").split("|"):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise SessionEnd(Ending.MALFORMED, f"a line that is not key=value|...: {text[:80]!r}")
        fields[key] = value
    return fields


def subscription_lines(requests: Sequence[Request]) -> Iterator[bytes]:
    """All lines of all requests, at most `SYMBOLS_PER_LINE` symbols each."""
    for request in requests:
        chunks = [
            request.symbols[at : at + SYMBOLS_PER_LINE]
            for at in range(0, len(request.symbols), SYMBOLS_PER_LINE)
        ]
        for chunk in chunks:
            fields = {
                "schema": request.schema,
                "stype_in": request.stype,
                "symbols": ",".join(chunk),
            }
            if request.start_ns is not None:
                fields["start"] = str(request.start_ns)
            fields["snapshot"] = str(int(request.snapshot))
            fields["id"] = str(request.id)
            fields["is_last"] = str(int(chunk is chunks[-1]))
            yield _join(fields)


def _join(fields: dict[str, str]) -> bytes:
    return "|".join(f"{key}={value}" for key, value in fields.items()).encode() + b"\n"
