"""A gateway's account of what it sent against the rings of a feed: the one must be the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import databento_dbn as db
import numpy as np

from mdfeedd.sim.databento.layouts import recode
from mdfeedd.tick import (
    BAR,
    DEFINITION,
    IMBALANCE,
    QUOTE,
    STATISTIC,
    STATUS,
    TICK,
    TRADE,
    GapReason,
    Kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOADS = {
    Kind.QUOTE: QUOTE,
    Kind.TRADE: TRADE,
    Kind.STATUS: STATUS,
    Kind.STATISTIC: STATISTIC,
    Kind.DEFINITION: DEFINITION,
    Kind.IMBALANCE: IMBALANCE,
}


class Candidate(NamedTuple):
    """A record that a session brought, and what it must make of the ring if it is published."""

    session: int
    sent: Any
    place: int  # in its schema's timeline; -1: none, it is of a snapshot
    stream: tuple[str, int, int]
    ticks: list[tuple[Any, ...]]
    bars: list[tuple[Any, ...]]


class Ledger:
    """Ring against gateway: `check` holds all that must be true whatever went wrong."""

    def __init__(self, rig: Any, tools: Any) -> None:
        self.rig = rig
        self.tools = tools
        self.subscriptions = {one.schema: one for one in rig.options.subscriptions}
        self.lines = {one.schema: i + 1 for i, one in enumerate(rig.options.subscriptions)}
        market = rig.core.market
        self.truth = {s: list(self._records(market, s)) for s in self.subscriptions}
        self.places = {
            s: {id(r.raw): i for i, r in enumerate(rows)} for s, rows in self.truth.items()
        }
        self.recoded: dict[tuple[str, int], dict[bytes, list[int]]] = {}
        self.published: dict[str, set[int]] = {s: set() for s in self.subscriptions}
        self.bounds: dict[str, tuple[int, int]] = {}  # first and last place that should be there
        self.rows_of: dict[
            tuple[int, str], tuple[int, int]
        ] = {}  # of sessions: first and last in the ring
        self.dropped: list[Any] = []  # of replays: not in the ring
        self.known = 0
        self.replayed = 0
        self.gaps, self.recovered = rig.holes()

    @staticmethod
    def _records(market: Any, schema: str) -> Iterator[Any]:
        timeline = market.timeline(schema)
        return (timeline[i] for i in range(len(timeline)))

    def check(self) -> Ledger:
        """All of it."""
        self.check_records()
        self.check_gaps_told()
        self.check_missing()
        self.check_skipped()
        self.check_recovered()
        self.check_recovers()
        self.check_counters()
        return self

    # what the gateway sent, as ticks

    def candidates(self) -> Iterator[Candidate]:
        """In the order in which they came."""
        for begun in self.rig.begun:
            yield from self._session(self.rig.core.sessions[begun.number])

    def _session(self, account: Any) -> Iterator[Candidate]:
        oracle = self.tools.Oracle(account.version)
        oracle.schema = "tbbo" if self.rig.options.tbbo else ""
        raw = b"".join(sent.raw for sent in account.readable)
        decoder = db.DBNDecoder(
            has_metadata=False, input_version=account.version,
            upgrade_policy=db.VersionUpgradePolicy.UPGRADE_TO_V3,
        )  # fmt: skip
        objects = decoder.write_and_decode(raw) if raw else []
        assert len(objects) == len(account.readable)
        mappings = [c for c in account.controls if c.kind == "mapping"]
        if self.rig.options.encoding == "json":  # its lines have names of their own
            oracle.names = self._names_of(account.number, mappings)
        used: dict[str, int] = {}
        symbols: dict[tuple[int, int], str] = {}
        for i, (sent, record) in enumerate(zip(account.readable, objects, strict=True)):
            while mappings and mappings[0].after <= i:
                told = mappings.pop(0)
                oracle.names[told.code] = told.text
            ticks, bars = len(oracle.ticks), len(oracle.bars)
            self._rename(oracle, record, oracle.symbol(record, sent.index_ns), symbols)
            oracle.record(record)
            place = -1 if sent.snapshot else self._place(sent, account.version, used)
            yield Candidate(
                account.number,
                sent,
                place,
                (sent.schema, record.publisher_id, record.instrument_id),
                [row_of(tick) for tick in oracle.ticks[ticks:]],
                [row_of(bar) for bar in oracle.bars[bars:]],
            )

    def _names_of(self, session: int, mappings: list[Any]) -> dict[int, str]:
        """At the begin of a session."""
        core = self.rig.core
        names = {i: item.raw_symbol for i, item in core.market.symbols.by_id.items()}
        for account in core.sessions[:session]:
            names |= {number: symbol for _, number, symbol in account.renamed}
        return names | {told.code: told.text for told in reversed(mappings)}

    @staticmethod
    def _rename(oracle: Any, record: Any, name: str, names: dict[tuple[int, int], str]) -> None:
        """What has another name is another instrument: its book is not known."""
        key = record.publisher_id, record.instrument_id
        if names.setdefault(key, name) != name:
            names[key] = name
            oracle.books.pop(key, None)
            oracle.touches.pop(key, None)

    def _place(self, sent: Any, version: int, used: dict[str, int]) -> int:
        place = self.places[sent.schema].get(id(sent.raw))
        if (
            place is None
        ):  # another version's, made anew: the first of this content that is not used
            by_content = self.recoded.setdefault((sent.schema, version), {})
            if not by_content:
                for i, record in enumerate(self.truth[sent.schema]):
                    by_content.setdefault(recode(record.raw, version), []).append(i)
            place = next(i for i in by_content[sent.raw] if i > used.get(sent.schema, -1))
        used[sent.schema] = place
        return place

    # what the rings have

    def ring_rows(self) -> list[tuple[int, tuple[Any, ...], bool]]:
        """Of records: row of the ring, what it says, whether it is flagged as replayed."""
        ticks = self.rig.ticks()
        names = {
            one.instrument_id: (one.symbol, one.vendor_id, one.publisher_id)
            for one in self.rig.reader.instruments
        }
        out: list[tuple[int, tuple[Any, ...], bool]] = []
        for kind in np.unique(ticks["kind"]):
            if kind in (Kind.GAP, Kind.RECOVERED):
                continue
            at = np.flatnonzero(ticks["kind"] == kind)
            rows = ticks[at].view(PAYLOADS.get(Kind(int(kind)), TICK))
            if kind == Kind.DEFINITION:  # without a tick size: a name has changed, no record
                at, rows = at[rows["tick_size"] != 0], rows[rows["tick_size"] != 0]
            columns = [rows[name].tolist() for name in fields_of(rows.dtype)]
            marks = (rows["flags"] & 512 != 0).tolist()
            owners = [names[i] for i in rows["instrument_id"].tolist()]
            for i, mark, owner, *values in zip(at.tolist(), marks, owners, *columns, strict=True):
                said = dict(zip(fields_of(rows.dtype), values, strict=True))
                said["flags"] &= ~512
                out.append((i, row_of(said | dict(zip(OWNER, owner, strict=True))), mark))
        return sorted(out)

    def ring_bars(self) -> list[tuple[Any, ...]]:
        rows = self.rig.vendor_bars()
        if not len(rows):
            return []
        names = {
            one.instrument_id: (one.symbol, one.vendor_id, one.publisher_id)
            for one in self.rig.reader.instruments
        }
        columns = [rows[name].tolist() for name in BAR_FIELDS]
        owners = [names[i] for i in rows["instrument_id"].tolist()]
        return [
            row_of(
                dict(zip(BAR_FIELDS, values, strict=True)) | dict(zip(OWNER, owner, strict=True))
            )
            for owner, *values in zip(owners, *columns, strict=True)
        ]

    # what must hold

    def check_records(self) -> None:
        """Each record of the gateway once, in its order, with its flag; of a replay only what was not there."""
        ring, bars = self.ring_rows(), self.ring_bars()
        i = j = 0
        last: dict[tuple[str, int, int], int] = {}
        for c in self.candidates():
            schema = c.sent.schema
            replays = self.subscriptions[schema].policy == "replay"
            # what was captured before the first session was never asked for
            if c.place >= 0 and self.truth[schema][c.place].due_ns > self.rig.begun[0].asked_ns:
                first, most = self.bounds.get(schema, (c.place, c.place))
                self.bounds[schema] = (first, max(c.place, most))
            unasked = c.sent.index_ns < self.rig.begun[0].asked_ns
            silent = unasked and c.sent.replayed and not c.ticks and not c.bars
            if replays and (silent or c.place <= last.get(c.stream, -1)):
                assert c.sent.replayed
                self.known += 1
                continue
            now = ring[i : i + len(c.ticks)]
            same = [row for _, row, _ in now] == c.ticks and bars[j : j + len(c.bars)] == c.bars
            if not same:
                # a replay that contradicts what had come may be left alone: `check_missing` judges
                self.dropped.append((c, ring[i : i + 2], bars[j : j + 2]))
                assert replays, self.dropped[0]
                assert c.sent.replayed, self.dropped[0]
                continue
            marked = replays and c.sent.replayed
            assert all(mark == marked for _, _, mark in now), (c, now)
            i, j = i + len(c.ticks), j + len(c.bars)
            if now:
                of = c.session, schema
                self.rows_of[of] = (self.rows_of.get(of, now[0])[0], now[-1][0])
            self.replayed += marked
            if c.place >= 0:
                last[c.stream] = c.place
                self.published[schema].add(c.place)
        assert i == len(ring), (
            f"{len(ring) - i} ticks that nobody sent",
            ring[i],
            self.dropped[:1],
        )
        assert j == len(bars), (f"{len(bars) - j} bars that nobody sent", bars[j], self.dropped[:1])

    def check_gaps_told(self) -> None:
        """One GAP for each subscription that begins again: until then, and before the first tick after it."""
        gaps = [gap for gap in self.gaps if gap["line"]]
        times = [gap["last"] for gap in gaps]
        assert times == sorted(times)
        gaps.sort(key=lambda gap: (gap["last"], gap["line"]))  # at one time, in whatever order
        expected = self._begun_again()
        told = [(gap["line"], gap["reason"], gap["last"], gap["instrument"]) for gap in gaps]
        wanted = [(line, reason, at_ns, 0) for _, line, reason, at_ns in expected]
        assert told == wanted, (told, wanted, self.rig.begun)
        for gap, (session, line, _, _) in zip(gaps, expected, strict=True):
            for (number, schema), (first, last) in self.rows_of.items():
                if number < session:
                    assert last < gap["at"]
                elif self.lines[schema] == line:
                    assert gap["at"] < first
        opened = {(session, line) for session, line, _, _ in expected}
        for number, schema in self.rows_of:
            assert number == self.rig.begun[0].number or (number, self.lines[schema]) in opened

    def _begun_again(self) -> list[tuple[int, int, GapReason, int]]:
        """(session, line, reason, time) of each subscription's begin but those in the first session."""
        reasons = {begun.number: begun.reason for begun in self.rig.begun[1:]}
        return sorted(
            (
                (session, number + 1, reasons[session], at_ns)
                for (session, number), at_ns in self.rig.opened.items()
                if session in reasons
            ),
            key=lambda one: (one[3], one[1], one[0]),
        )

    def _missing(self, schema: str) -> list[int]:
        """Places that are not in the ring, between the first and the last that should be."""
        if schema not in self.bounds:
            return []
        first, last = self.bounds[schema]
        wanted = self._wanted(schema)
        there, truth = self.published[schema], self.truth[schema]
        return [
            i for i in range(first, last + 1)
            if i not in there and truth[i].instrument_id in wanted
        ]  # fmt: skip

    def whole(self, schema: str) -> bool:
        """Whether all since the first session's begin is in the ring."""
        begun_ns = self.rig.begun[0].asked_ns
        truth = self.truth[schema]
        return len(truth) > 0 and self.published[schema] >= {
            i for i, record in enumerate(truth) if record.due_ns > begun_ns
        }

    def _wanted(self, schema: str) -> set[int]:
        one, symbols = self.subscriptions[schema], self.rig.core.market.symbols
        return {
            item.instrument_id
            for symbol in one.symbols
            for item in symbols.resolve(one.stype, symbol)
        }

    def _left_out(self, what: str, schema: str) -> set[int]:
        """Places that the gateway did not send, though it had to: `skipped` or `omitted`."""
        return {
            self.places[schema][id(sent.raw)]
            for account in self.rig.core.sessions
            for sent in getattr(account, what)
            if sent.schema == schema
        }

    def check_missing(self) -> None:
        """What is missing lies within the bounds of a GAP that stays open."""
        for schema, line in self.lines.items():
            skipped, omitted = self._left_out("skipped", schema), self._left_out("omitted", schema)
            closed = {(gap["line"], gap["first"], gap["last"]) for gap in self.recovered}
            gaps = [gap for gap in self.gaps if gap["line"] == line]
            is_open = [gap for gap in gaps if (line, gap["first"], gap["last"]) not in closed]
            if schema == "mbo":
                is_open = gaps
            for place in self._missing(schema):
                if place in skipped:
                    continue  # `check_skipped`
                record = self.truth[schema][place]
                within = gaps if place in omitted else is_open  # a lie by omission cannot be seen
                assert any(g["first"] <= record.due_ns <= g["last"] for g in within), (
                    schema, place, record.due_ns, omitted, self.gaps, self.recovered,
                )  # fmt: skip

    def _certain(self, account: Any) -> int:
        """Messages with fewer records before them have come; of those with as many, nobody can say."""
        if account.broken_at is not None:
            return account.broken_at
        return len(account.sent) + (
            self.rig.options.compression == "none"
        )  # else a flush may be due

    def _errors(self, account: Any, code: int) -> tuple[int, int]:
        """How many of a code the client has seen, at least and at most."""
        after = [c.after for c in account.controls if (c.kind, c.code) == ("error", code)]
        certain = self._certain(account)
        return sum(n < certain for n in after), sum(n <= certain for n in after)

    def check_skipped(self) -> None:
        """Each error 7 is a GAP of the whole feed, with the times of all that was left out."""
        told = [gap for gap in self.gaps if not gap["line"]]
        least = most = 0
        for begun in self.rig.begun:
            account = self.rig.core.sessions[begun.number]
            seen = self._errors(account, 7)
            least, most = least + seen[0], most + seen[1]
            for sent in account.skipped if seen[0] else ():
                place = self.places[sent.schema][id(sent.raw)]
                due_ns = self.truth[sent.schema][place].due_ns
                assert any(g["first"] <= due_ns <= g["last"] for g in told), (sent, due_ns, told)
        assert least <= len(told) <= most
        assert {gap["reason"] for gap in told} <= {GapReason.VENDOR_SKIPPED}

    def check_recovered(self) -> None:
        """RECOVERED has the bounds of a GAP before it, and nothing within them is missing."""
        for one in self.recovered:
            same = [
                gap for gap in self.gaps
                if all(gap[k] == one[k] for k in ("line", "first", "last", "reason"))
            ]  # fmt: skip
            assert same, (one, self.gaps)
            assert same[0]["at"] < one["at"], (one, same)
            schema = self.rig.options.subscriptions[one["line"] - 1].schema
            assert bool(one["instrument"]) == (schema == "mbo")
            if schema == "mbo":
                continue
            lies = self._left_out("skipped", schema) | self._left_out("omitted", schema)
            for place in self._missing(schema):
                due_ns = self.truth[schema][place].due_ns
                inside = one["first"] <= due_ns <= one["last"]
                assert not inside or place in lies, (schema, place, due_ns, one)

    def check_recovers(self) -> None:
        """A replay that the gateway brings whole, and says so, closes the gap."""
        accounts = self.rig.core.sessions
        if any(a.omitted or a.skipped or a.version != accounts[0].version for a in accounts):
            return  # what is known may be contradicted
        told = {(one["line"], one["last"]) for one in self.recovered}
        for begun in self.rig.begun[1:]:
            account = accounts[begun.number]
            asked = {request.schema for request in account.requests if request.start_ns is not None}
            for schema in asked:
                text = f"Finished {schema} replay"
                after = [c.after for c in account.controls if (c.code, c.text) == (3, text)]
                assert (
                    not after
                    or after[0] >= self._certain(account)
                    or (self.lines[schema], self.rig.opened[begun.number, self.lines[schema] - 1])
                    in told
                ), (schema, begun)

    def check_counters(self) -> None:
        """Counters equal facts."""
        rig = self.rig
        ticks = rig.ticks()
        kinds = dict(
            zip(*(v.tolist() for v in np.unique(ticks["kind"], return_counts=True)), strict=True)
        )
        quotes, trades = kinds.get(Kind.QUOTE, 0), kinds.get(Kind.TRADE, 0)
        assert rig.counter("published_quotes") == quotes
        assert rig.counter("published_trades") == trades
        assert rig.counter("published_others") == len(ticks) - quotes - trades
        assert rig.counter("published_bars") == len(rig.vendor_bars())
        assert rig.counter("gaps") == len(self.gaps)
        assert rig.counter("sessions") == len(rig.begun)
        assert rig.counter("known_records") == self.known + len(self.dropped)
        assert rig.counter("replayed_records") == self.replayed
        accounts = [rig.core.sessions[begun.number] for begun in rig.begun]
        plain = (rig.options.encoding, rig.options.compression) == ("dbn", "none")
        if plain and all(a.broken_at is None for a in accounts):
            strange = rig.counter("unknown_records") + rig.counter("malformed_records")
            sent = sum(len(a.sent) + len(a.controls) for a in accounts)
            # an error that ends the session is its last record, and not done with
            sent -= sum(end.text.startswith("error") for end in rig.ends)
            assert rig.counter("received_records") == sent + strange
        seen = [self._errors(rig.core.sessions[begun.number], 4) for begun in rig.begun]
        refused = rig.counter("refused_symbols")
        assert sum(n for n, _ in seen) <= refused <= sum(n for _, n in seen)


OWNER = ("symbol", "vendor_id", "publisher_id")
BAR_FIELDS = [
    name for name in BAR.names
    if name not in {"seq", "first_seq", "last_seq", "revision", "late_count", "reserved", "instrument_id"}
]  # fmt: skip


def fields_of(dtype: Any) -> list[str]:
    """Those that the oracle tells, too; times of arrival are ours."""
    ours = {"seq", "ts_recv", "payload", "reserved", "instrument_id"}
    return [name for name in dtype.names if name not in ours]


def row_of(said: dict[str, Any]) -> tuple[Any, ...]:
    """A tick or bar of the oracle, comparable."""
    said = said.copy()
    said.pop("ts_recv", None)
    if "kind" in said:
        said["flags"] &= ~512
    return tuple(sorted(said.items()))
