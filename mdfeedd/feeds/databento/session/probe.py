"""``mdfeedd check --connect``: log in, subscribe, and tell what the gateway says. Writes no ring."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from mdfeedd.feeds.databento.codec import (
    DbnDecoder,
    DbnError,
    ErrorMessage,
    LocalInstruments,
    Symbology,
    SystemMessage,
)
from mdfeedd.feeds.databento.session.connect import connect
from mdfeedd.feeds.databento.session.ending import CODES, Ending, SessionEnd
from mdfeedd.feeds.databento.session.key import read_key
from mdfeedd.feeds.databento.session.lsg import (
    START_LINE,
    Greeting,
    Handshake,
    Request,
    Stage,
    subscription_lines,
)
from mdfeedd.feeds.protocol import ProbeLine, Severity

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from mdfeedd.feeds.databento.codec.symbology import MappingMessage
    from mdfeedd.feeds.databento.options import DatabentoOptions

__all__ = ["PROBE_S", "probe"]

PROBE_S: Final = 10.0
"""For all of it."""
QUIET_S: Final = 1.0
"""Without news of subscriptions for so long after the last acknowledgement, there is nothing more to learn."""
MAX_TOLD: Final = 10
"""Symbols of one kind that are named."""
_RECEIVE_BYTES: Final = 1 << 16
_BUFFER_BYTES: Final = 1 << 20
_SUBSCRIBED: Final = 1
_SEVERITY: Final = {77: Severity.CREDENTIALS, 78: Severity.CONFIG}


class _Names(Symbology):
    """Remembers what was mapped."""

    def __init__(self) -> None:
        super().__init__(LocalInstruments())
        self.asked: set[str] = set()
        self.raw: set[str] = set()

    def mapping(self, message: MappingMessage) -> bool:
        self.asked.add(message.stype_in_symbol)
        self.raw.add(message.stype_out_symbol)
        return super().mapping(message)


def probe(options: DatabentoOptions) -> Iterator[ProbeLine]:
    """A line as soon as it is known; after one that is not ok there is no other."""
    deadline_s = time.monotonic() + PROBE_S
    try:
        foreign = bool(options.gateway)
        key = read_key(options.key_env, options.key_file, options.key_credential, foreign=foreign)
        yield ProbeLine(True, "the API key was read")
        host, port = options.address()
        with connect(host, port, _BUFFER_BYTES) as sock:
            yield ProbeLine(True, f"connected to {sock.getpeername()[0]} port {port}")
            handshake = Handshake(Greeting(options.dataset, "mdfeedd-check"), key)
            _shake(sock, handshake, deadline_s)
            yield ProbeLine(
                True,
                f"the key is accepted for {options.dataset}, session {handshake.session_id or '?'}",
            )
            yield from _subscribe(sock, options, handshake.surplus, deadline_s)
    except SessionEnd as end:
        then = end.ending.then
        hint = f": {then.hint}" if then.hint else ""
        yield ProbeLine(False, end.text + hint, _SEVERITY.get(then.status, Severity.UNAVAILABLE))


def _shake(sock: socket.socket, handshake: Handshake, deadline_s: float) -> None:
    while handshake.stage is not Stage.READY:
        data = _receive(sock, deadline_s)
        if data is None:
            raise SessionEnd(
                Ending.SILENT, f"the gateway does not answer: waited for {handshake.stage.value}"
            )
        _send(sock, handshake.receive(data))


def _subscribe(
    sock: socket.socket, options: DatabentoOptions, surplus: bytes, deadline_s: float
) -> Iterator[ProbeLine]:
    """Live only, whatever the options say of the past."""
    requests = [
        Request(number, one.schema, one.stype, one.symbols)
        for number, one in enumerate(options.subscriptions)
    ]
    for line in subscription_lines(requests):
        _send(sock, line)
    _send(sock, START_LINE)
    names = _Names()
    decoder = DbnDecoder(names, accept_newer=options.accept_newer_dbn)
    accepted, refused, records = 0, [], 0
    quiet_s, learnt = deadline_s, (0, 0, 0)
    data: bytes | None = surplus
    while data is not None:
        try:
            records += len(decoder.decode(data, time.time_ns()).ticks)
        except DbnError as fault:
            raise SessionEnd(Ending.BROKEN, str(fault)) from None
        for event in decoder.take_events():
            if isinstance(event, SystemMessage):
                accepted += event.code == _SUBSCRIBED
            elif isinstance(event, ErrorMessage):
                if event.code in CODES:
                    raise SessionEnd(CODES[event.code], f"error {event.code}: {event.text}")
                refused.append(event.text)
        known = (accepted, len(refused), len(names.raw))
        if accepted >= len(requests) and known != learnt:  # data alone are no news
            quiet_s, learnt = min(deadline_s, time.monotonic() + QUIET_S), known
        data = _receive(sock, quiet_s)
    yield from _found(requests, accepted, names, refused, records)


def _found(
    requests: list[Request], accepted: int, names: _Names, refused: list[str], records: int
) -> Iterator[ProbeLine]:
    if accepted < len(requests):
        yield ProbeLine(
            True,
            f"{accepted} of {_count(len(requests), 'subscription')} were acknowledged within {PROBE_S:.0f} s",
            Severity.WARNING,
        )
    else:
        these = "the subscription is" if accepted == 1 else f"all {accepted} subscriptions are"
        yield ProbeLine(True, f"{these} accepted")
    for text in refused[:MAX_TOLD]:
        yield ProbeLine(True, f"refused: {text}", Severity.WARNING)
    if len(refused) > MAX_TOLD:
        yield ProbeLine(True, f"... and {len(refused) - MAX_TOLD} more refusals", Severity.WARNING)
    raw = sorted(names.raw)
    shown = ", ".join(raw[:MAX_TOLD]) + (" ..." if len(raw) > MAX_TOLD else "")
    told = (
        f"{_count(len(raw), 'instrument')}: {shown}"
        if raw
        else "no symbol was resolved to an instrument"
    )
    yield ProbeLine(True, told, Severity.OK if raw else Severity.WARNING)
    yield ProbeLine(True, f"{_count(records, 'tick')} came meanwhile")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except OSError as error:
        raise SessionEnd(Ending.RESET, f"the connection broke: {error.strerror}") from None


def _receive(sock: socket.socket, until_s: float) -> bytes | None:
    """What came; None if nothing did until then. Raises `SessionEnd` at the end of the stream."""
    while time.monotonic() < until_s:
        try:
            data = sock.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            continue
        except OSError as error:
            raise SessionEnd(Ending.RESET, f"the connection broke: {error.strerror}") from None
        if not data:
            raise SessionEnd(Ending.CLOSED, "closed by the gateway")
        return data
    return None
