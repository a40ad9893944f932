"""What a gateway did and was asked, session by session: the truth that a client is held to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Control", "Request", "Sent", "SessionAccount"]


class Sent(NamedTuple):
    """A market record, as it was before ts_out was added; `instrument_id` is in it, too."""

    raw: bytes
    schema: str
    replayed: bool
    index_ns: int
    instrument_id: int
    snapshot: bool = False


class Control(NamedTuple):
    """A system message, error or mapping; `after` is how many market records went before it."""

    kind: str
    code: int
    text: str
    after: int


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription, its chunks put together. late: it came after the start, its `start` was ignored."""

    schema: str
    stype: str
    symbols: tuple[str, ...]
    start_ns: int | None
    snapshot: bool
    id: str
    late: bool


@dataclass(slots=True)
class SessionAccount:
    """One connect. `sent` holds what was handed over completely, in the order of the wire.

    records, replayed: their numbers, for gateways that do not keep them. skipped: left out under error 7. omitted: left out of a replay.
    forgotten: records that the market had forgotten before the session came to them. broken_at: from that place in `sent` on the
    stream cannot be read, controls_until: from that place in `controls` on. ended: how, in words; "" while it goes on.
    """

    number: int
    peer: str
    connected_ns: int
    sent: list[Sent] = field(default_factory=list)
    skipped: list[Sent] = field(default_factory=list)
    omitted: list[Sent] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    handshake: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    lines: list[dict[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    renamed: list[tuple[int, int, str]] = field(default_factory=list)
    session_id: str = ""
    version: int = 3
    forgotten: int = 0
    records: int = 0
    replayed: int = 0
    bytes_sent: int = 0
    broken_at: int | None = None
    controls_until: int | None = None
    ended: str = ""
    ended_ns: int | None = None

    @property
    def readable(self) -> list[Sent]:
        """Of `sent`, what a client can read."""
        return self.sent[: self.broken_at]

    @property
    def readable_controls(self) -> list[Control]:
        """Of `controls`, what a client can read."""
        return self.controls[: self.controls_until]

    @property
    def authenticated(self) -> bool:
        """Whether it came so far."""
        return bool(self.session_id)
