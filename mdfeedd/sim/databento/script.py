"""What goes wrong, as data: which fault, in which session, when.

    Script((Fault("rst", after_records=100), Fault("refuse", session=1, count=3)))
    Fault.parse("error:code=6,session=1,at=described")

Sessions count from 0 in the order of connects, refused ones included; `session=None` is every one. A fault
happens at a stage, or when so many market records have been handed over in its session (of a replay:
`after_replayed`), or so many seconds after its start; modes (see `MODES`) hold from the beginning.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

__all__ = ["KINDS", "MODES", "STAGES", "Fault", "Script"]

#: Stages of a session, in order: what has just happened.
STAGES: Final = {
    "connected": "before the greeting",
    "greeted": "between greeting and challenge",
    "challenged": "after the challenge",
    "authenticating": "the client's answer is there, and stays unanswered",
    "authenticated": "after success",
    "subscribed": "the first subscription has come",
    "started": "before the metadata",
    "described": "after the metadata, before anything else",
}
#: Faults that hold from the beginning of the session, or apply to something that it says once.
MODES: Final = {
    "bad_key": "refuse the right key (text)",
    "one_byte_writes": "every byte of the handshake in a write of its own",
    "separate_writes": "every line of the handshake in two writes",
    "unknown_key": "control lines with a key that nobody knows",
    "trailing_bar": "control lines that end with a bar",
    "cut_anywhere": "writes of the stream cut at any byte (size: at most so many a write)",
    "version": "metadata and records of another version of DBN (code: 1 to 4)",
    "data_before_mapping": "symbol mappings come after so many records (count)",
    "plain_control": "control records without ts_out in a session that has it",
    "late_open": "each subscription begins a while after the metadata or the one before (seconds: so long)",
    "no_ack": "subscriptions are not acknowledged",
    "other_replay": "replayed records have another ts_recv than they had live (size: ns later)",
    "aged_out": "a replay is refused as too old (error 8)",
    "refuse": "closed at once (count: so many connects in a row)",
}
#: Faults that happen at some point.
EVENTS: Final = {
    "fin": "the gateway closes (part: in the middle of a line or record)",
    "rst": "the connection is reset (part)",
    "half_close": "the gateway closes its half and reads on",
    "silence": "nothing more is sent (seconds: for so long)",
    "heartbeat": "a heartbeat though there are data",
    "end_of_interval": "a system message of code 4",
    "slow_warning": "a system message of code 2",
    "system": "a system message of any code (code, text)",
    "error": "an error of any code (code, text); fatal ones, and unknown ones if `fatal`, end the session",
    "skipped": "so many records of schemas that allow it are left out, then error 7 (count, always)",
    "remap": "an instrument_id stands for another symbol (text)",
    "unknown_rtype": "a record of a type that is none (count)",
    "tbbo_v4": "a record of type 0xC5",
    "long_record": "a record longer than its struct (size: bytes more)",
    "short_record": "a record more, shorter than its struct",
    "zero_length": "a record of length 0: nothing after it can be read",
    "garbage": "bytes that are no record (size)",
    "omit": "so many records of a replay are not sent (count)",
    "weekly_restart": "all sessions are closed, and connects refused (seconds: for so long)",
}
KINDS: Final = MODES | EVENTS
#: Events that make sense at stages before there is a stream.
EARLY: Final = frozenset({"fin", "rst", "half_close", "silence", "weekly_restart"})
FATAL_CODES: Final = frozenset({1, 2, 3, 5, 6, 8})
#: After these a client has nothing to hope for.
_PERMANENT: Final = frozenset({"bad_key", "aged_out"})
#: Not drawn at random: nobody knows whether it happens, and who drops doubles by content cannot stand it.
_DELIBERATE: Final = frozenset({"other_replay"})
_MAX_COUNT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Of the numbers, each kind reads those that `KINDS` names for it."""

    kind: str
    session: int | None = 0
    at: str = ""
    after_records: int | None = None
    after_replayed: int | None = None
    after_s: float | None = None
    count: int = 1
    code: int = 0
    size: int = 32
    seconds: float = 0.0
    part: bool = False
    fatal: bool = False
    always: bool = False
    text: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a fault is one of {', '.join(sorted(KINDS))}, not {self.kind!r}")
        if self.at and self.at not in STAGES:
            raise ValueError(f"{self.kind}: at: one of {', '.join(STAGES)}, not {self.at!r}")
        given = [self.at or None, self.after_records, self.after_replayed, self.after_s]
        if sum(value is not None for value in given) > 1:
            raise ValueError(
                f"{self.kind}: happens at one point: at, after_records, ... not several"
            )
        if self.at and self.at != "described" and self.kind not in EARLY:
            raise ValueError(f"{self.kind}: needs a stream, there is none at {self.at!r}")
        if self.kind == "version" and self.code not in (1, 2, 3, 4):
            raise ValueError(f"version: code: 1 to 4, not {self.code}")
        if self.count < 1 or self.size < 1 or self.count > _MAX_COUNT or self.size > _MAX_COUNT:
            raise ValueError(f"{self.kind}: count and size: 1 to {_MAX_COUNT}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """``fin``, ``rst:after_records=100``, ``error:code=6,session=all,at=described``."""
        kind, _, rest = text.partition(":")
        known = {field.name: str(field.type) for field in fields(cls)}
        values: dict[str, Any] = {}
        for item in rest.replace(":", ",").split(",") if rest else ():
            name, _, value = item.partition("=")
            if name not in known or name == "kind":
                names = ", ".join(n for n in known if n != "kind")
                raise ValueError(f"{kind}: has {names}, not {name!r}")
            values[name] = _read(kind, name, known[name], value)
        return cls(kind, **values)

    @property
    def is_mode(self) -> bool:
        """Whether it holds from the beginning."""
        return self.kind in MODES

    def due(self, records: int, replayed: int, seconds: float) -> bool:
        """Whether an event without a stage happens now; one without any point happens at the first chance."""
        if self.at:
            return False
        if self.after_replayed is not None:
            return replayed >= self.after_replayed
        if self.after_s is not None:
            return seconds >= self.after_s
        return records >= (self.after_records or 0)


def _read(kind: str, name: str, of: str, value: str) -> Any:
    try:
        if of.startswith("bool"):
            return {"": True, "1": True, "true": True, "0": False, "false": False}[value]
        if name == "session" and value == "all":
            return None
        if of.startswith("int"):
            return int(value)
        if of.startswith("float"):
            return float(value)
    except (KeyError, ValueError):
        raise ValueError(f"{kind}: {name}: {value!r} is no {of.partition(' ')[0]}") from None
    return value


@dataclass(frozen=True, slots=True)
class Script:
    """The faults of all sessions."""

    faults: tuple[Fault, ...] = ()

    def of(self, session: int) -> list[Fault]:
        """Those of a session."""
        return [f for f in self.faults if f.session is None or f.session == session]

    def refuses(self, session: int) -> bool:
        """Whether that connect is refused."""
        return any(
            f.kind == "refuse" and (f.session is None or f.session <= session < f.session + f.count)
            for f in self.faults
        )

    @classmethod
    def random(cls, seed: int, *, sessions: int = 3, permanent: bool = False) -> Self:
        """One or two faults in each of the first sessions; none after which nothing can come, unless `permanent`."""
        rng = random.Random(f"script {seed}")  # noqa: S311 - chance, not secrets
        faults: list[Fault] = []
        for session in range(sessions):
            drawn = (_draw(rng, permanent=permanent) for _ in range(rng.randint(1, 2)))
            faults.extend(replace(fault, session=session) for fault in drawn)
        return cls(tuple(faults))


def _draw(rng: random.Random, *, permanent: bool) -> Fault:
    never = _DELIBERATE if permanent else _DELIBERATE | _PERMANENT
    kinds = sorted(KINDS.keys() - never)
    kind = rng.choice(kinds)
    code = rng.randint(1, 4 if permanent else 3) if kind == "version" else 0
    fault = Fault(kind, count=rng.randint(1, 20), code=code, size=4 * rng.randint(1, 30))
    if kind == "refuse":
        return replace(fault, count=rng.randint(1, 3))
    if kind == "late_open":
        return replace(fault, seconds=rng.choice((0.2, 1.0, 5.0)))
    if fault.is_mode:
        return fault
    if kind in ("error", "system"):
        codes = range(1, 9) if permanent else (3, 4, 6)
        code = rng.choice([*codes, 77, 255]) if kind == "error" else rng.randint(0, 9)
        fault = replace(fault, code=code, fatal=rng.random() < 0.5, text="simulated")
    if kind in ("silence", "weekly_restart"):
        fault = replace(fault, seconds=rng.choice((3.0, 20.0, 60.0, 600.0)))
    if kind in ("fin", "rst"):
        fault = replace(fault, part=rng.random() < 0.5)
    if kind in EARLY and rng.random() < 0.3:
        return replace(fault, at=rng.choice(list(STAGES)))
    if kind == "omit" or rng.random() < 0.2:
        return replace(fault, after_replayed=rng.randint(0, 60))
    return replace(fault, after_records=rng.choice((0, rng.randint(1, 300))))
