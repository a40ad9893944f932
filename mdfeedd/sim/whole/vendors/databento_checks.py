"""Whether a ring holds what a gateway sent and the process took: each record once, in order, or told as missing.

::

    Connection.stream[:taken] ─► databento_facts.read ─► facts, session after session ─► Ledger: matched with the tape
    market.timeline ─► what there was ─► less what was matched ─► must lie in a GAP that stays open
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdfeedd.sim.whole.vendors.databento_facts import ERROR, SYSTEM
from mdfeedd.sim.whole.vendors.databento_ledger import Hole, Ledger, Session
from mdfeedd.tick import GapReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.sim.whole.tape import Tape
    from mdfeedd.sim.whole.vendors.databento import DatabentoActor

__all__ = ["check"]

MOST: Final = 8
"""Sentences of one kind: a tape that is wrong is mostly wrong all over."""
_SKIPPED: Final = 7
_COMPLETE: Final = 3


def check(actor: DatabentoActor, tape: Tape) -> Iterator[str]:
    """Sentences about what is wrong."""
    ledger = _Holes(actor, tape)
    for part in (
        ledger.records, ledger.arrivals, ledger.missing, ledger.skipped, ledger.gaps, ledger.recovered,
        ledger.recovers, ledger.books, ledger.counters,
    ):  # fmt: skip
        for count, sentence in enumerate(part()):
            if count == MOST:
                break
            yield sentence


class _Holes(Ledger):
    """What is missing, and what is told of that."""

    def _left_out(self, what: str, schema: str) -> set[int]:
        """Places that the gateway did not send, though it had to: `skipped` or `omitted`."""
        return {
            self.place_of[schema][id(sent.raw)]
            for account in self.actor.core.sessions
            for sent in getattr(account, what)
            if sent.schema == schema and id(sent.raw) in self.place_of[schema]
        }

    def _missing(self, schema: str) -> Iterator[int]:
        """Places that are not in the ring and had to be, or to be told."""
        opened: dict[int, int] = {}
        for one in self.begun:
            for (of, instrument_id), at_ns in one.connection.opened_ns.items():
                if of == schema:
                    opened[instrument_id] = min(at_ns, opened.get(instrument_id, at_ns))
        symbols = self.actor.market.symbols.by_id
        asking = [
            s for s in self.begun if any(r.schema == schema for r in s.connection.account.requests)
        ]
        for place, record in enumerate(self.truth[schema][: self.most.get(schema, -1) + 1]):
            due_ns, number = record.due_ns, record.instrument_id
            if place in self.published[schema] or due_ns <= opened.get(number, due_ns):
                continue
            before = [s for s in asking if s.connection.dialled_ns <= due_ns]
            if not before:
                continue
            at = asking.index(before[-1])
            symbol = {symbols[number].raw_symbol}
            if not asking[at].wants(schema, symbol):
                continue
            came = asking[at].connection.opened_ns.get((schema, number), due_ns) < due_ns
            if not came and not asking[at].wants(schema, symbol, at_once=True):
                continue
            is_within = came and place <= asking[at].most.get(schema, -1)
            if is_within or self._is_followed(asking[at + 1 :], schema, symbol, place):
                yield place

    @staticmethod
    def _is_followed(after: list[Session], schema: str, symbol: set[str], place: int) -> bool:
        """It was asked for again and again, up to the session that came past that place."""
        for one in after:
            if not one.wants(schema, symbol, at_once=True):
                return False
            if one.most.get(schema, -1) >= place:
                break
        return True

    def missing(self) -> Iterator[str]:
        """What is missing lies in a GAP that stays open, or nobody could know that it is missing."""
        closed = {(one.line, one.first, one.last) for one in self.tape_recovered}
        for schema, line in self.line.items():
            skipped, omitted = self._left_out("skipped", schema), self._left_out("omitted", schema)
            gaps = [gap for gap in self.tape_gaps if gap.line == line]
            is_open = [gap for gap in gaps if (line, gap.first, gap.last) not in closed]
            if schema == "mbo":
                is_open = gaps
            for place in self._missing(schema):
                if place in skipped:
                    continue  # see `skipped`
                record = self.truth[schema][place]
                if not any(
                    _covers(gap, record.due_ns) for gap in (gaps if place in omitted else is_open)
                ):
                    yield (
                        f"loss: {schema} record {place} of instrument {record.instrument_id}, due at"
                        f" {(record.due_ns - self.actor.market.start_ns) / 1e9:.6f} s, is in no open GAP"
                    )

    def skipped(self) -> Iterator[str]:
        """Each error 7 is a GAP of the whole feed, with the times of all that was left out."""
        told = [gap for gap in self.tape_gaps if not gap.line]
        least = most = 0
        for session in self.begun:
            seen = [s for s in session.stream.said if (s.rtype, s.code) == (ERROR, _SKIPPED)]
            sure = sum(one.end <= session.sure_end for one in seen)
            least, most = least + sure, most + len(seen)
            for sent in session.connection.account.skipped if sure else ():
                place = self.place_of[sent.schema].get(id(sent.raw))
                if place is None:
                    continue
                due_ns = self.truth[sent.schema][place].due_ns
                if not any(_covers(gap, due_ns) for gap in told):
                    yield f"loss: {sent.schema} record {place} was skipped by the gateway, and no GAP has it"
        if not least <= len(told) <= most:
            yield f"gaps: {len(told)} GAPs of the whole feed, and {least} to {most} errors 7"
        for gap in told:
            if gap.reason != GapReason.VENDOR_SKIPPED:
                yield f"gaps: row {gap.place} is a GAP of the whole feed with reason {gap.reason}"

    def gaps(self) -> Iterator[str]:
        """One GAP, once, for each subscription that begins again, before its first tick."""
        ends = [*(s.connection.dialled_ns for s in self.sessions[1:]), 2**62]
        before: list[Session] = []
        for session, end_ns in zip(self.sessions, ends, strict=True):
            begin_ns = session.connection.dialled_ns
            own = [g for g in self.tape_gaps if g.line and begin_ns <= g.at_ns < end_ns]
            for line in {gap.line for gap in own}:
                count = sum(gap.line == line for gap in own)
                if count > 1:
                    yield f"gaps: {count} GAPs of line {line} in session {session.connection.account.number}"
            if own and not before and session.connection.life == 1:
                yield f"gaps: row {own[0].place} is a GAP, and there was no session before"
            for schema, (first, _) in session.rows.items():
                if not self._is_again(session, schema, before):
                    continue
                if not any(gap.line == self.line[schema] and gap.place < first for gap in own):
                    number = session.connection.account.number
                    yield f"gaps: {schema} begins again in session {number} at row {first}, and no GAP is before it"
            if session.stream.begun:
                before.append(session)

    def _is_again(self, session: Session, schema: str, before: list[Session]) -> bool:
        """The subscription was on before, as far as the process can know."""
        if not before:
            return False
        account = session.connection.account
        last = before[-1]
        if last.connection.life != session.connection.life:
            return True
        symbols = {
            s for r in account.requests if r.schema == schema and not r.late for s in r.symbols
        }
        if "ALL_SYMBOLS" in symbols:
            symbols |= {item.raw_symbol for item in self.actor.market.instruments}
        return last.wants(schema, symbols)

    def recovered(self) -> Iterator[str]:
        """RECOVERED has the bounds of a GAP before it, and nothing within them is missing."""
        told: set[tuple[int, int, int, int]] = set()
        for one in self.tape_recovered:
            same = [
                gap for gap in self.tape_gaps
                if gap[1:5] == one[1:5] and gap.place < one.place
            ]  # fmt: skip
            if not same:
                yield f"gaps: row {one.place} is a RECOVERED without its GAP"
                continue
            schema = next((s for s, line in self.line.items() if line == one.line), "")
            if bool(one.instrument_id) != (schema == "mbo"):
                yield f"gaps: row {one.place} is a RECOVERED of instrument {one.instrument_id} for {schema}"
            if schema == "mbo":
                continue
            if one[1:5] in told and not one.offset_ns:
                yield f"gaps: row {one.place} is a RECOVERED that was told before"
            told.add(one[1:5])
            lies = self._left_out("skipped", schema) | self._left_out("omitted", schema)
            told_in = [s for s in self.begun if s.connection.dialled_ns <= one.at_ns][-1]
            for place in self._missing(schema):
                record = self.truth[schema][place]
                due_ns = record.due_ns
                symbol = self.actor.market.symbols.by_id[record.instrument_id].raw_symbol
                if not told_in.wants(schema, {symbol}):
                    continue  # it is told of what is still asked for
                last = min(one.last, one.last - one.offset_ns)  # of the clock that it may be of
                if one.first <= due_ns <= last and place not in lies:
                    yield f"loss: {schema} record {place} lies in a GAP that is recovered (row {one.place})"

    def recovers(self) -> Iterator[str]:
        """A replay that came whole, and was said to, closes the gap."""
        accounts = self.actor.core.sessions
        if any(a.omitted or a.skipped or a.version != accounts[0].version for a in accounts):
            return  # what is known may be contradicted
        if self.tape.wall_offset_ns.any():
            return  # whether a record is of the past is told by the wall clock, too
        closed = {(one.line, one.first, one.last) for one in self.tape_recovered}
        ends = [*(s.connection.dialled_ns for s in self.sessions[1:]), 2**62]
        for session, end_ns in zip(self.sessions, ends, strict=True):
            for said in session.stream.said:
                if (said.rtype, said.code) != (SYSTEM, _COMPLETE) or said.end > session.sure_end:
                    continue
                line = self.line.get(said.text.removeprefix("Finished ").removesuffix(" replay"), 0)
                begin_ns = session.connection.dialled_ns
                for gap in self.tape_gaps:
                    is_own = gap.line == line and begin_ns <= gap.at_ns < end_ns
                    if is_own and (gap.line, gap.first, gap.last) not in closed:
                        yield f"gaps: the replay of line {line} is complete, and the GAP of row {gap.place} open"


def _covers(gap: Hole, due_ns: int) -> bool:
    """Bounds are partly of the gateway's clock, partly of the host's, which may be wrong."""
    offset_ns = gap.offset_ns
    return gap.first - max(0, offset_ns) <= due_ns <= gap.last - min(0, offset_ns)
