"""The faults that happen at some point, each a few lines on a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.sim.databento import layouts
from mdfeedd.sim.databento.script import FATAL_CODES
from mdfeedd.sim.databento.stream import Close, HalfClose

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdfeedd.sim.databento.script import Fault
    from mdfeedd.sim.databento.session import Session

__all__ = ["fire"]

UNKNOWN_RTYPE: Final = 0x77
TBBO_V4: Final = 0xC5
_SHORT_BYTES: Final = 32
_EXAMPLE: Final = layouts.system(0, 0, "Heartbeat")
_TEXTS: Final = {
    1: "User authentication failed",
    2: "API key was deactivated",
    3: "Connection limit exceeded",
    4: "Failed to resolve symbol: SIMULATED",
    5: "Invalid subscription",
    6: "Internal error",
    7: "Skipped records after slow reading",
    8: "Replay data aged out",
}


def fire(session: Session, fault: Fault, part: bytes) -> None:
    """Let it happen. `part`: what the session would say next, of which some may be sent."""
    _EVENTS[fault.kind](session, fault, part)


def _fin(session: Session, fault: Fault, part: bytes) -> None:
    session.close(part=_cut(session, part) if fault.part else b"")


def _rst(session: Session, fault: Fault, part: bytes) -> None:
    session.close(part=_cut(session, part) if fault.part else b"", reset=True)


def _cut(session: Session, part: bytes) -> bytes:
    """What is cut: the line or metadata that was next, or a record like the last one."""
    if part or not session.is_streaming:
        return part
    return session.last_raw or _EXAMPLE


def _half_close(session: Session, _fault: Fault, _part: bytes) -> None:
    session.end(HalfClose(), "half-closed")


def _silence(session: Session, fault: Fault, _part: bytes) -> None:
    session.quiet(fault.seconds)


def _heartbeat(session: Session, _fault: Fault, _part: bytes) -> None:
    session.system(0, "Heartbeat")


def _end_of_interval(session: Session, fault: Fault, _part: bytes) -> None:
    session.system(4, fault.text or "End of interval for ohlcv-1s")


def _slow_warning(session: Session, fault: Fault, _part: bytes) -> None:
    session.system(2, fault.text or "Slow reading: the client is behind")


def _system(session: Session, fault: Fault, _part: bytes) -> None:
    session.system(fault.code, fault.text or "Simulated")


def _error(session: Session, fault: Fault, _part: bytes) -> None:
    known = _TEXTS.get(fault.code, "Simulated error")
    is_fatal = fault.fatal if fault.code not in _TEXTS else fault.code in FATAL_CODES
    session.error(fault.code, fault.text or known, is_fatal=is_fatal)


def _skipped(session: Session, fault: Fault, _part: bytes) -> None:
    """A reader that wants all is warned only, unless the fault insists."""
    if session.account.handshake.get("slow_reader_behavior") == "warn" and not fault.always:
        session.system(2, "Slow reading: the client is behind")
    else:
        session.skip_left += fault.count


def _remap(session: Session, fault: Fault, _part: bytes) -> None:
    items = session.mapped()
    if not items:
        return
    instrument_id = session.rng.choice(items)
    symbol = fault.text or f"SIM{instrument_id % 1_000}Z9"
    session.core.renamed[instrument_id] = symbol
    session.account.renamed.append((session.records, instrument_id, symbol))
    session.wire.symbols[instrument_id] = symbol
    session.mapping(instrument_id, (1, symbol), symbol)


def _strange(session: Session, rtype: int, size: int) -> None:
    words = max(4, min(size // 4, layouts.MAX_WORDS - 2))
    header = layouts.HEADER.pack(words, rtype, 1, 1, session.now_ns)
    body = session.rng.randbytes(words * 4 - len(header))
    session.stray(header + body)


def _unknown_rtype(session: Session, fault: Fault, _part: bytes) -> None:
    for _ in range(fault.count):
        _strange(session, UNKNOWN_RTYPE, fault.size)


def _tbbo_v4(session: Session, _fault: Fault, _part: bytes) -> None:
    _strange(session, TBBO_V4, 96)


def _long_record(session: Session, fault: Fault, _part: bytes) -> None:
    session.wire.longer_bytes = -(-fault.size // 4) * 4


def _short_record(session: Session, _fault: Fault, _part: bytes) -> None:
    """One more, of the type of the last one, cut so that its own fields are not all there."""
    rtype = (session.last_raw or _EXAMPLE)[1]
    header = layouts.HEADER.pack(_SHORT_BYTES // 4, rtype, 1, 1, session.now_ns)
    session.stray(header + bytes(_SHORT_BYTES - len(header)))


def _zero_length(session: Session, _fault: Fault, _part: bytes) -> None:
    session.destroy(layouts.HEADER.pack(0, 1, 1, 1, session.now_ns))


def _garbage(session: Session, fault: Fault, _part: bytes) -> None:
    """Begins with a length that no record has, so that all can tell it from the first byte on."""
    session.destroy(bytes([session.rng.randint(0, 3)]) + session.rng.randbytes(fault.size))


def _omit(session: Session, fault: Fault, _part: bytes) -> None:
    session.omit_left += fault.count


def _weekly_restart(session: Session, fault: Fault, _part: bytes) -> None:
    session.core.restart(session.now_ns, fault.seconds)
    session.end(Close(), "weekly restart")


_EVENTS: Final[dict[str, Callable[[Session, Fault, bytes], None]]] = {
    "fin": _fin,
    "rst": _rst,
    "half_close": _half_close,
    "silence": _silence,
    "heartbeat": _heartbeat,
    "end_of_interval": _end_of_interval,
    "slow_warning": _slow_warning,
    "system": _system,
    "error": _error,
    "skipped": _skipped,
    "remap": _remap,
    "unknown_rtype": _unknown_rtype,
    "tbbo_v4": _tbbo_v4,
    "long_record": _long_record,
    "short_record": _short_record,
    "zero_length": _zero_length,
    "garbage": _garbage,
    "omit": _omit,
    "weekly_restart": _weekly_restart,
}
