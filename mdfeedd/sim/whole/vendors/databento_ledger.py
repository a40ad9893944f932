"""What the process took of a gateway's records, matched with the rings: each once, in order, under its name.

::

    Connection.stream[:taken] ─► databento_facts.read ─► facts, session after session ─► matched with the tape's rows
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from mdfeedd.sim.databento.layouts import recode
from mdfeedd.sim.whole.vendors.databento_facts import (
    ERROR,
    HANDSHAKE_LINES,
    MAPPING,
    SYSTEM,
    Fact,
    Stream,
    Tick,
    read,
    unpacked,
)
from mdfeedd.tick import DEFINITION, GAP, QUOTE, Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.sim.whole.tape import Tape
    from mdfeedd.sim.whole.vendors.databento import DatabentoActor
    from mdfeedd.sim.whole.vendors.databento_net import Connection

__all__ = ["Hole", "Ledger", "Session"]

AHEAD: Final = 40  # facts or rows that are looked at to tell what a difference is
ARRIVAL_NS: Final = 1_000_000  # between the time that a tick tells and its appearance
_BAR_FIELDS: Final = ["ts_open", "interval_s", "open", "high", "low", "close", "volume"]
_REPLAYED: Final = int(Flag.REPLAYED)
_FATAL: Final = frozenset({1, 2, 3, 5, 6, 8})
_REFUSED: Final = 4


class _Row(NamedTuple):
    """Of a record, as the tape has it."""

    tick: Tick
    instrument_id: int
    is_replayed: bool
    place: int
    at_ns: int


class Hole(NamedTuple):
    """A GAP or a RECOVERED."""

    place: int
    line: int
    first: int
    last: int
    reason: int
    instrument_id: int
    at_ns: int
    offset_ns: int


@dataclass(slots=True)
class Session:
    """A connection, and what the process can have read of it. sure: so many facts at least."""

    connection: Connection
    stream: Stream
    sure: int
    sure_end: int
    rows: dict[str, tuple[int, int]] = field(
        default_factory=dict
    )  # by schema: first and last place
    most: dict[str, int] = field(
        default_factory=dict
    )  # by schema: place in its timeline that it came to

    def wants(self, schema: str, symbols: set[str], *, at_once: bool = False) -> bool:
        """Whether one of these symbols was asked for, `at_once` or later in the session."""
        return any(
            one.schema == schema
            and not (at_once and one.late)
            and (one.symbols == ("ALL_SYMBOLS",) or symbols & set(one.symbols))
            for one in self.connection.account.requests
        )


class Ledger:
    """What the process took, matched with what the rings got; `records` first, on which all else rests."""

    def __init__(self, actor: DatabentoActor, tape: Tape) -> None:
        self.actor = actor
        self.tape = tape
        options = actor.options
        self.policy: dict[str, str] = {one.schema: str(one.policy) for one in options.subscriptions}
        self.line: dict[str, int] = {
            one.schema: i + 1 for i, one in enumerate(options.subscriptions)
        }
        self.truth: dict[str, list[Any]] = {schema: _all(actor, schema) for schema in self.policy}
        self.place_of: dict[str, dict[int, int]] = {
            schema: {id(record.raw): i for i, record in enumerate(records)}
            for schema, records in self.truth.items()
        }
        self.contents: dict[tuple[str, int], dict[bytes, list[int]]] = {}
        self.packed: bool = options.compression == "zstd"
        self.sessions: list[Session] = [self._session(c) for c in actor.net.connections]
        self.begun: list[Session] = [one for one in self.sessions if one.stream.begun]
        self.published: dict[str, set[int]] = {schema: set() for schema in self.policy}
        self.most: dict[str, int] = {}
        self.known: int = 0
        self.replayed: int = 0
        self.dropped: int = 0
        self.unsure: int = 0  # of the known, those that the process may not have come to
        self.silent: int = (
            0  # replayed, and nothing comes of them: whether they were known does not show
        )
        self._at = self._bar_at = 0
        self._last: dict[tuple[str, int, int], int] = {}
        self._seen: dict[Tick, int] = {}
        self._seen_bars: set[tuple[int, ...]] = set()
        self.owner: dict[int, tuple[str, int, int]] = {}
        self.tape_gaps: list[Hole] = self._holes(Kind.GAP)
        self.tape_recovered: list[Hole] = self._holes(Kind.RECOVERED)
        self.renames: set[int] = self._renames()
        self.rows: list[_Row] = self._rows()
        self.bars: list[tuple[Any, ...]] = [
            tuple(bar) for bar in actor.bars()[_BAR_FIELDS].tolist()
        ]
        self.killed: bool = any(life.how != "stopped" for life in tape.lives[:-1])

    def _session(self, connection: Connection) -> Session:
        account = connection.account
        taken = bytes(connection.stream[: connection.taken])
        stream = read(taken, account.sent, account.version, packed=self.packed)
        head = _head_bytes(taken)
        sure_end = _plain_bytes(taken[head : connection.sure], self.packed)
        sure = sum(fact.end <= sure_end for fact in stream.facts)
        return Session(connection, stream, sure, sure_end)

    def _holes(self, kind: Kind) -> list[Hole]:
        places = self.tape.places(kind)
        rows = self.tape.rows[places].view(GAP)
        return [
            Hole(
                place, int(row["line"]), int(row["first_missing"]), int(row["last_missing"]), int(row["reason"]),
                int(row["instrument_id"]), int(self.tape.at_ns[place]), int(self.tape.wall_offset_ns[place]),
            )
            for place, row in zip(places, rows, strict=True)
        ]  # fmt: skip

    def _renames(self) -> set[int]:
        """Places of definitions that come of no record."""
        rows = self.tape.rows
        return {
            place
            for place in self.tape.places(Kind.DEFINITION)
            if not rows[place : place + 1].view(DEFINITION)["tick_size"][0]
        }

    def _rows(self) -> list[_Row]:
        rows, renames = self.tape.rows, self.renames
        found = []
        times = self.tape.at_ns.tolist()
        for place, (row, at_ns) in enumerate(zip(rows.tolist(), times, strict=True)):
            _, event_ns, _, own_id, kind, side, flags, venue_seq, count, payload = row
            if kind in (Kind.GAP, Kind.RECOVERED) or place in renames:
                continue
            tick = Tick(event_ns, kind, side, flags & ~_REPLAYED, venue_seq, count, payload)
            found.append(_Row(tick, own_id, bool(flags & _REPLAYED), place, at_ns))
        return found

    def _place(self, session: Session, fact: Fact, used: dict[str, int]) -> int:
        """Of a record in its timeline; -1: it is of a snapshot."""
        if fact.sent.snapshot:
            return -1
        schema, version = fact.sent.schema, session.connection.account.version
        place = self.place_of[schema].get(id(fact.sent.raw))
        if (
            place is None
        ):  # another version's, made anew: the first of this content that is not used
            by_content = self.contents.setdefault((schema, version), {})
            if not by_content:
                for i, record in enumerate(self.truth[schema]):
                    by_content.setdefault(recode(record.raw, version), []).append(i)
            place = next(i for i in by_content[fact.sent.raw] if i > used.get(schema, -1))
        used[schema] = place
        return place

    # what must hold

    def records(self) -> Iterator[str]:
        """Each fact once, in its order, under its name; of a replay only what was not there."""
        for session in self.begun:
            used: dict[str, int] = {}
            for n, fact in enumerate(session.stream.facts):
                place = self._place(session, fact, used)
                schema = fact.sent.schema
                self.most[schema] = max(place, self.most.get(schema, -1))
                if n < session.sure:
                    session.most[schema] = max(place, session.most.get(schema, -1))
                if self._is_known(fact, place):
                    self.known += 1
                    self.unsure += n >= session.sure
                elif self._is_next(session, fact):
                    yield from self._take(session, fact, place)
                elif self.policy[schema] == "replay" and fact.sent.replayed:
                    self.dropped += 1  # what contradicts what is known may be left alone
                elif n >= session.sure:
                    break  # the process was killed before it came to this
                else:
                    yield from self._differ(session, n, fact, place)
        for row in self.rows[self._at :]:
            what = "duplicate" if row.tick in self._seen else "invented"
            yield f"{what}: row {row.place} {_words(row.tick)} was not to come"
        for bar in self.bars[self._bar_at :]:
            what = "duplicate" if bar in self._seen_bars else "invented"
            yield f"{what}: a bar of {bar[1]} s that opens at {bar[0]} was not to come"

    def _is_known(self, fact: Fact, place: int) -> bool:
        """It is of the past, and was published before."""
        schema = fact.sent.schema
        stream = schema, fact.publisher_id, fact.instrument_id
        return self.policy[schema] == "replay" and 0 <= place <= self._last.get(stream, -1)

    def _is_next(self, session: Session, fact: Fact) -> bool:
        """What must come of it is what the rings have next, and came while the session was on."""
        n, m = len(fact.ticks), len(fact.bars)
        rows = self.rows[self._at : self._at + n]
        if rows and rows[-1].at_ns > session.connection.left_ns:
            return False
        ticks = [row.tick for row in rows]
        return ticks == fact.ticks and self.bars[self._bar_at : self._bar_at + m] == fact.bars

    def _take(self, session: Session, fact: Fact, place: int) -> Iterator[str]:
        """It was published."""
        schema, sent = fact.sent.schema, fact.sent
        rows = self.rows[self._at : self._at + len(fact.ticks)]
        is_replayed = self.policy[schema] == "replay" and sent.replayed
        marked = None if self._is_blind(session) else is_replayed
        yield from self._right(fact, rows, marked=marked)
        self._at += len(rows)
        self._bar_at += len(fact.bars)
        self._seen_bars.update(fact.bars)
        if rows:
            first, _ = session.rows.get(schema, (rows[0].place, 0))
            session.rows[schema] = first, rows[-1].place
        self.replayed += is_replayed
        self.silent += is_replayed and not fact.ticks
        if place >= 0:
            self._last[schema, fact.publisher_id, fact.instrument_id] = place
            self.published[schema].add(place)

    def _is_blind(self, session: Session) -> bool:
        """The host's clock is late, and the gateway has not said what time it is before its first record."""
        is_told = any(one.rtype == SYSTEM and not one.after for one in session.stream.said)
        return not is_told and bool((self.tape.wall_offset_ns < 0).any())

    def _differ(self, session: Session, n: int, fact: Fact, place: int) -> Iterator[str]:
        """The rings have something else; what is too much there is passed over."""
        while True:
            what, sentence = self._difference(session, n, fact)
            yield sentence
            if what not in {"duplicate", "invented"}:
                return
            self._at += 1
            if self._is_next(session, fact):
                yield from self._take(session, fact, place)
                return

    def _difference(self, session: Session, n: int, fact: Fact) -> tuple[str, str]:
        """What it is that the tape has in the place of a fact."""
        at, number = self._at, session.connection.account.number
        ahead = [row.tick for row in self.rows[at : at + AHEAD]]
        later = session.stream.facts[n : n + AHEAD]
        if not all(tick in ahead for tick in fact.ticks) or not fact.ticks:
            what = "loss"
        elif ahead[0] in self._seen:
            what = "duplicate"
        elif any(ahead[0] in other.ticks for other in later):
            what = "order"
        else:
            what = "invented"
        found = f"{_words(ahead[0])} (row {self.rows[at].place})" if ahead else "the end"
        due_ns = fact.sent.index_ns - self.actor.market.start_ns
        return what, (
            f"{what}: record {n} of session {number}, {fact.sent.schema} of {fact.symbol} at {due_ns / 1e9:.6f} s,"
            f" is not where it should be: there is {found}"
        )

    def _right(self, fact: Fact, rows: list[_Row], *, marked: bool | None) -> Iterator[str]:
        """Name and flag of rows that are a fact's."""
        owner = fact.symbol, fact.instrument_id, fact.publisher_id
        for row in rows:
            self._seen[row.tick] = row.place
            if self.owner.setdefault(row.instrument_id, owner) != owner:
                yield (
                    f"mapping: row {row.place} is of instrument {row.instrument_id}, which is"
                    f" {self.owner[row.instrument_id]}, and not {owner}"
                )
            if self.tape.symbol(row.instrument_id) != fact.symbol:
                named = self.tape.symbol(row.instrument_id)
                yield f"mapping: row {row.place} is called {named}, and not {fact.symbol}"
            if marked is not None and row.is_replayed != marked:
                yield f"flags: row {row.place} is{'' if row.is_replayed else ' not'} flagged as replayed"

    def arrivals(self) -> Iterator[str]:
        """Every tick tells when it came, by the wall clock of then."""
        tape = self.tape
        late = tape.at_ns + tape.wall_offset_ns - tape.rows["ts_recv"]
        # that a name has changed is told with the time at which the pump was begun
        is_record = ~np.isin(np.arange(len(tape)), list(self.renames))
        for place in (((late < 0) | (late > ARRIVAL_NS)) & is_record).nonzero()[0].tolist():
            yield f"arrival: row {place} tells a time that is {late[place]} ns before its appearance"

    def books(self) -> Iterator[str]:
        """At the end every instrument's last touch is the venue's, where a schema tells it."""
        schemas = {"mbp-1", "mbp-10", "mbo"} & set(self.policy)
        if not (self.actor.is_whole and self.begun and schemas):
            return
        if any(account.omitted or account.skipped for account in self.actor.core.sessions):
            return  # the gateway has lied
        schema, market = schemas.pop(), self.actor.market
        late = any(one.rtype == MAPPING and one.after for one in self.begun[-1].stream.said)
        if schema == "mbo" and late:
            return  # a part of the orders came under another name
        came = {
            (fact.publisher_id, fact.instrument_id): fact.symbol
            for fact in self.begun[-1].stream.facts
            if fact.sent.schema == schema and any(tick.kind == Kind.QUOTE for tick in fact.ticks)
        }
        by_owner = {(p, i, symbol): own for own, (symbol, i, p) in self.owner.items()}
        quotes = self.tape.of_kind(Kind.QUOTE, QUOTE)
        for (publisher_id, instrument_id), symbol in came.items():
            own_id = by_owner.get((publisher_id, instrument_id, symbol), -1)
            rows = quotes[quotes["instrument_id"] == own_id]
            if not len(rows) or rows[-1]["flags"] & Flag.STALE:
                continue
            row = rows[-1]
            if self._is_cleared(own_id, int(row["seq"])):
                continue
            shown = tuple(
                int(row[name]) for name in ("bid_price", "ask_price", "bid_size", "ask_size")
            )
            touch = market.touch(instrument_id, publisher_id)[:4]
            if shown != touch and not self._other_quotes(own_id, row):
                yield f"books: {symbol} of publisher {publisher_id} is {shown}, and {touch} at the venue"

    def _is_cleared(self, own_id: int, after_seq: int) -> bool:
        rows = self.tape.of_kind(Kind.CLEAR)
        return bool(((rows["instrument_id"] == own_id) & (rows["seq"] > after_seq)).any())

    def _other_quotes(self, own_id: int, row: Any) -> bool:
        """The last quote may be of another schema, which tells the touch at fixed times."""
        return bool(set(self.policy) & {"bbo-1s", "cbbo-1s"}) and own_id == int(
            row["instrument_id"]
        )

    def counters(self) -> Iterator[str]:
        """Counters equal facts; what a process counts late, a killed one did not count."""
        has = self.tape.counters
        sure = len([s for s in self.begun if s.sure_end > 0])
        exact = {"gaps": len(self.tape_gaps)}
        most = {
            "sessions": (sure, len(self.begun)),
            "known_records": (
                0 if self.killed else self.known - self.unsure,
                self.known + self.dropped + self.silent,
            ),
            "replayed_records": (
                0 if self.killed else self.replayed - self.silent,
                self.replayed + self.dropped,
            ),
            "refused_symbols": self._said(ERROR, _REFUSED),
        }
        if any(self._is_blind(session) for session in self.begun):
            del most["replayed_records"]
        for name, value in exact.items():
            if has.get(name, 0) != value:
                yield f"counters: {name} is {has.get(name, 0)}, and not {value}"
        for name, (least, utmost) in most.items():
            if not least <= has.get(name, 0) <= utmost:
                yield f"counters: {name} is {has.get(name, 0)}, and not {least} to {utmost}"
        if self.killed or self.packed or any(s.stream.broken for s in self.begun):
            return
        came = sum(len(s.stream.facts) + len(s.stream.said) + s.stream.strange for s in self.begun)
        # an error that ends the session is its last record, and not done with
        came -= sum(
            any(one.rtype == ERROR and one.code in _FATAL for one in s.stream.said)
            for s in self.begun
        )
        # nor is what the pump had when a session was stopped
        less = sum(
            len(s.stream.facts) - s.sure
            + sum(one.end > s.sure_end for one in s.stream.said) + s.stream.strange
            for s in self.begun
            if s.connection.sure != s.connection.taken
        )  # fmt: skip
        if not came - less <= has.get("received_records", 0) <= came:
            yield f"counters: received_records is {has.get('received_records', 0)}, and not {came}"
        taken = sum(c.taken - c.shaken for c in self.actor.net.connections)
        if has.get("received_bytes", 0) != taken:
            yield f"counters: received_bytes is {has.get('received_bytes', 0)}, and not {taken}"

    def _said(self, rtype: int, code: int) -> tuple[int, int]:
        seen = [
            one.end <= s.sure_end
            for s in self.begun
            for one in s.stream.said
            if (one.rtype, one.code) == (rtype, code)
        ]
        return sum(seen), len(seen)


def _all(actor: DatabentoActor, schema: str) -> list[Any]:
    timeline = actor.market.timeline(schema)
    return [timeline[i] for i in range(len(timeline))]


def _head_bytes(taken: bytes) -> int:
    """The text at the begin of a connection."""
    at = 0
    for _ in range(HANDSHAKE_LINES):
        at = taken.find(b"\n", at) + 1
        if not at:
            return len(taken)
    return at


def _plain_bytes(data: bytes, packed: bool) -> int:
    return len(unpacked(data)[0]) if packed else len(data)


def _words(tick: Tick) -> str:
    return f"{Kind(tick.kind).name} of {tick.ts_event} with number {tick.venue_seq}"
