"""What must hold of the ticks of a CME feed, from the venue's truth and what its processes were given."""

from __future__ import annotations

import itertools
import struct
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from mdfeedd.sim.cme.checks import expected_quotes, expected_trades
from mdfeedd.sim.cme.entries import Feed
from mdfeedd.tick import GAP, PRICE_UNDEF, QUOTE, TRADE, Flag, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from mdfeedd.sim.cme import Venue
    from mdfeedd.sim.cme.entries import Sent
    from mdfeedd.sim.whole.tape import Tape

__all__ = ["Heard", "check"]

_HEAD: Final = struct.Struct("<IQ")
SLACK_NS: Final = 60_000_000
"""How much later than another a copy of a packet may come: the network's largest skew and more."""
BEAT_NS: Final = 150_000_000
"""Between two counts of a feed's process: what came since the last one is not counted when it is killed."""
LATER_NS: Final = 1_000_000_000
"""So much later than all before are the packets of a new sequence, where nothing else says that it is one."""
_MOST_SIZE: Final = 2**32 - 1
_LOOKED_FOR: Final = 12  # violations of one kind that are told

Packet = tuple[int, int]  # epoch, MsgSeqNum


@dataclass(slots=True)
class _Life:
    """What one process of the feed was given. packets: the first time of each incremental one."""

    began_ns: int
    symbols: tuple[str, ...]
    packets: dict[Packet, int] = field(default_factory=dict)
    waiting: set[Packet] = field(
        default_factory=set
    )  # given, and waiting for one before them at the end


class Heard:
    """All packets that were sent, and which of them each life of the feed took from its sockets."""

    def __init__(self) -> None:
        self.lives: list[_Life] = []
        self.sent_ns: dict[Packet, int] = {}
        self._named: dict[bytes, Packet] = {}

    def sent(self, packets: Iterable[Sent]) -> None:
        """Of the incremental feed."""
        for packet in packets:
            if packet.feed == Feed.INCREMENTAL:
                name = (packet.epoch, packet.seq)
                self._named[packet.payload[: _HEAD.size]] = name
                self.sent_ns[name] = packet.time_ns

    def begin(self, now_ns: int, symbols: tuple[str, ...]) -> None:
        """A life."""
        self.lives.append(_Life(now_ns, symbols))

    def take(self, feed: int, payload: bytes, now_ns: int) -> None:
        """A packet is given to the handler."""
        if feed == Feed.INCREMENTAL:
            self.lives[-1].packets.setdefault(self._named[payload[: _HEAD.size]], now_ns)

    def end(self, next_seq: int) -> None:
        """The life ends; the handler waits for this number."""
        if self.lives and self.lives[-1].packets:
            life = self.lives[-1]
            epoch = max(epoch for epoch, _ in life.packets)
            life.waiting = {one for one in life.packets if one[0] == epoch and one[1] >= next_seq}

    def has(self, epoch: int, seq: int) -> bool:
        """Whether the present life was given this one."""
        return bool(self.lives) and (epoch, seq) in self.lives[-1].packets

    def begun_anew(self) -> int:
        """How often the sequence has begun anew since the present life's first packet, so that what it was given
        shows it: of the new one, there is a number that the old one had reached.
        """
        given: dict[int, list[int]] = defaultdict(list)
        for epoch, seq in self.lives[-1].packets if self.lives else ():
            if not given or epoch >= min(given):
                given[epoch].append(seq)
        return sum(
            min(given[epoch]) <= max(given[before])
            for before, epoch in itertools.pairwise(sorted(given))
        )


class _Told(NamedTuple):
    """A GAP or RECOVERED, as it stands in the ring. Times of a RESTART are true ones."""

    place: int
    life: int
    at_ns: int
    reason: int
    first: int
    last: int
    instrument: int


class _Case:
    """The tape and the truth, taken apart once."""

    def __init__(self, tape: Tape, venue: Venue, heard: Heard) -> None:
        self.tape = tape
        self.venue = venue
        self.heard = heard
        self.gaps = list(_told(tape, Kind.GAP))
        self.recovered = list(_told(tape, Kind.RECOVERED))
        self.sids = {i: one.vendor_id for i, one in tape.instruments.items()}
        self.several = len({epoch for epoch, _ in heard.sent_ns}) > 1
        truth = venue.truth
        self.names: dict[int, str] = {
            one.security_id: one.symbol
            for one in [
                *(instrument.listing for instrument in venue.instruments.values()),
                *venue.retired,
            ]
        }
        self.trades = expected_trades(truth)
        self.away = list(self._away())

    def _away(self) -> Iterator[tuple[int, int]]:
        """True times in which a GAP says that nobody was there: until its RECOVERED, or the end of its life."""
        for gap in self.gaps:
            if gap.reason == GapReason.RESTART:
                ends = [one.at_ns for one in self.recovered if _closes(one, gap)]
                ended_ns = self.tape.lives[gap.life - 1].ended_ns if self.tape.lives else None
                yield gap.first, min(ends, default=ended_ns or 1 << 62)

    def in_restart(self, time_ns: int) -> bool:
        """Whether a GAP says that nobody was there."""
        return any(first - SLACK_NS <= time_ns <= last + SLACK_NS for first, last in self.away)

    def excused(self, packet: Packet) -> bool:
        """Whether what is in the packet need not be published: told lost, or before all, or after all."""
        sent_ns = self.heard.sent_ns.get(packet)
        if sent_ns is None:  # of a packet that is still held back, or that told of nobody's book
            return True
        if self.in_restart(sent_ns):
            return True
        life = self.life_at(sent_ns)
        if life is None or not life.packets:
            return True
        number = self.heard.lives.index(life) + 1
        if any(
            gap.life == number
            and gap.reason == GapReason.PACKET_LOSS
            and gap.first <= packet[1] <= gap.last
            for gap in self.gaps
        ):
            return True
        first, last = next(iter(life.packets)), max(life.packets)
        return packet < first or packet > last or packet in life.waiting

    def is_hidden(self, life: _Life, epoch: int) -> bool:
        """Whether the life ended while nothing showed it that a sequence is a new one: it came without a pause, and
        the packet that says so, a reset with MsgSeqNum 1, was lost or overtaken. Its packets look like late copies.
        The last life is there until its numbers reach the old ones, which shows it.
        """
        if life is self.heard.lives[-1]:
            return False
        given = next((seq for one, seq in life.packets if one == epoch), 1)
        before_ns = [ns for (one, _), ns in self.heard.sent_ns.items() if one == epoch - 1]
        begins_ns = self.heard.sent_ns.get((epoch, 1), 1 << 62)
        return given != 1 and bool(before_ns) and begins_ns - max(before_ns) <= LATER_NS

    def life_at(self, time_ns: int) -> _Life | None:
        """The life in whose time something was sent; None: there was none yet."""
        began = [life.began_ns for life in self.heard.lives]
        at = bisect_right(began, time_ns + SLACK_NS) - 1
        return self.heard.lives[at] if at >= 0 else None

    def chosen(self, sid: int, number: int) -> bool:
        """Whether the options of that life want the instrument."""
        symbols = self.heard.lives[number - 1].symbols
        return not symbols or self.names.get(sid, "") in symbols


def check(tape: Tape, venue: Venue, heard: Heard) -> Iterator[str]:
    """What is wrong, each a sentence that begins with its checker's name."""
    case = _Case(tape, venue, heard)
    for checker in (_trades, _quotes, _order, _books, _gaps, _flags, _counters):
        found = list(checker(case))
        yield from (f"{text} ({tape.ring})" for text in found[:_LOOKED_FOR])


def _told(tape: Tape, kind: Kind) -> Iterator[_Told]:
    for place in tape.places(kind):
        row = tape.rows[place : place + 1].view(GAP)[0]
        shift = int(tape.wall_offset_ns[place]) if row["reason"] == GapReason.RESTART else 0
        yield _Told(
            place,
            int(tape.life[place]),
            int(tape.at_ns[place]),
            int(row["reason"]),
            int(row["first_missing"]) - shift,
            int(row["last_missing"]) - shift,
            int(row["instrument_id"]),
        )


def _closes(one: _Told, gap: _Told) -> bool:
    """Whether a RECOVERED is that of a GAP of the whole feed."""
    if (one.life, one.reason, one.instrument) != (gap.life, gap.reason, 0):
        return False
    if gap.reason == GapReason.RESTART:  # it tells the whole of it
        return one.at_ns >= gap.at_ns
    return (one.first, one.last) == (gap.first, gap.last)


def _trades(case: _Case) -> Iterator[str]:
    """Each trade that was heard of is told once; none that was not."""
    places = case.tape.places(Kind.TRADE)
    rows = case.tape.rows[places].view(TRADE)
    shown: Counter[tuple[int, ...]] = Counter()
    for row, life in zip(rows, case.tape.life[places].tolist(), strict=True):
        sid = case.sids.get(int(row["instrument_id"]), -1)
        if not case.chosen(sid, life):
            yield f"invented: a trade of {case.names.get(sid, sid)}, which was not asked for"
        shown[
            sid, int(row["venue_seq"]), int(row["ts_event"]), int(row["price"]), int(row["size"])
        ] += 1
    true: Counter[tuple[int, ...]] = Counter()
    packets: dict[tuple[int, ...], Packet] = {}
    for trade in case.trades:
        key: tuple[int, ...] = (
            trade.security_id, trade.seq, trade.ts_event, trade.price, trade.size
        )  # fmt: skip
        true[key] += 1
        packets[key] = (trade.epoch, trade.seq)
    for key, count in shown.items():
        if key not in true:
            yield f"invented: a trade {key} that never was"
        elif count > true[key]:
            yield f"duplicate: a trade {key} is told {count} times, and happened {true[key]} times"
    for key, count in true.items():
        packet = packets[key]
        if shown[key] < count and not case.excused(packet) and _wanted(case, key[0], packet):
            yield f"loss: the trade {key} of packet {packet} is not told, nor told lost"


def _wanted(case: _Case, sid: int, packet: Packet) -> bool:
    """Whether some life that was given the packet wants the instrument."""
    return any(
        packet in life.packets and case.chosen(sid, number)
        for number, life in enumerate(case.heard.lives, 1)
    )


def _touch(bid: Any, ask: Any) -> tuple[int, ...]:
    rows = [(row[0], min(row[1], _MOST_SIZE)) if row else (PRICE_UNDEF, 0) for row in (bid, ask)]
    return (*rows[0], *rows[1])


def _right_touches(case: _Case) -> dict[tuple[int, bool, int], set[tuple[int, ...]]]:
    """By instrument, book and MsgSeqNum: what a quote of that packet may show."""
    truth = case.venue.truth
    found: dict[tuple[int, bool, int], set[tuple[int, ...]]] = defaultdict(set)
    for event in truth.events:
        for sid, state in event.states.items():
            found[sid, False, event.seq].add(_touch(*state.touch))
            found[sid, True, event.seq].add(_touch(*state.implied_touch))
    return found


def _quotes(case: _Case) -> Iterator[str]:
    """No quote without STALE shows what was not there then; each change of a touch that was right is told."""
    right, truth = _right_touches(case), case.venue.truth
    epochs = range(case.venue.channel.epoch + 1)
    shown: set[tuple[int, int]] = set()
    for row in case.tape.of_kind(Kind.QUOTE, QUOTE):
        flags, seq = int(row["flags"]), int(row["venue_seq"])
        sid = case.sids.get(int(row["instrument_id"]), -1)
        implied = bool(flags & Flag.IMPLIED)
        if not implied:
            shown.add((sid, seq))
        if flags & Flag.STALE:
            continue
        touch = tuple(int(row[name]) for name in ("bid_price", "bid_size", "ask_price", "ask_size"))
        seqs = (seq, seq - 1) if flags & Flag.SNAPSHOT else (seq,)
        if any(touch in right.get((sid, implied, one), ()) for one in seqs):
            continue
        states = [
            truth.state(sid, one, epoch)
            for epoch in epochs
            for one in seqs
            if _was(case, epoch, one)
        ]
        touches = {
            _touch(*(state.implied_touch if implied else state.touch))
            if state
            else _touch(None, None)
            for state in states
        }
        if touch not in touches:
            yield f"invented: {case.names.get(sid, sid)} in packet {seq} shows {touch}, right: {touches}"
    yield from _untold_quotes(case, shown)


def _was(case: _Case, epoch: int, seq: int) -> bool:
    return (epoch, seq) in case.heard.sent_ns


def _untold_quotes(case: _Case, shown: set[tuple[int, int]]) -> Iterator[str]:
    doubts = _doubts(case)
    cleared = {  # told void in the same packet, after the quote
        (case.sids.get(int(row["instrument_id"]), -1), int(row["venue_seq"]))
        for row in case.tape.of_kind(Kind.CLEAR)
    }
    shown = shown | cleared
    for quote in expected_quotes(case.venue.truth, implied=False):
        packet = (quote.epoch, quote.seq)
        sid = quote.security_id
        if (sid, quote.seq) in shown or case.excused(packet) or not _wanted(case, sid, packet):
            continue
        processed_ns = _processed_ns(case, packet)
        if not any(begin <= processed_ns <= end for begin, end in doubts[sid]):
            yield f"loss: the quote {quote.touch} of {case.names.get(sid, sid)} in packet {packet} is not told"


def _processed_ns(case: _Case, packet: Packet) -> int:
    """When the first life that was given the packet can have looked into it: it waits for those before it, until
    the last of them that are missing are told lost. Call only for a packet that was given.
    """
    epoch, seq = packet
    number, life = next(
        (number, life) for number, life in enumerate(case.heard.lives, 1) if packet in life.packets
    )
    given_ns = life.packets[packet]
    later_ns = (at_ns for one, at_ns in life.packets.items() if one[0] > epoch)
    epoch_ended_ns = min(later_ns, default=1 << 62)
    waited_for = (
        gap.at_ns
        for gap in case.gaps
        if gap.life == number and gap.reason == GapReason.PACKET_LOSS and gap.last < seq
    )
    return max((ns for ns in waited_for if given_ns < ns < epoch_ended_ns), default=given_ns)


def _doubts(case: _Case) -> dict[int, list[tuple[int, int]]]:
    """By instrument, when it may be in doubt: from a GAP or a start to its RECOVERED; or, where none comes before
    the next of these, to its first quote without STALE: then it was not.
    """
    end_ns = 1 << 62
    begins = sorted([gap.at_ns for gap in case.gaps] + [life.began_ns for life in case.heard.lives])
    rows = case.tape.rows
    right = (rows["kind"] == Kind.QUOTE) & (rows["flags"] & (Flag.STALE | Flag.IMPLIED) == 0)
    healed, quoted = (_times(case, places) for places in (rows["kind"] == Kind.RECOVERED, right))
    found: dict[int, list[tuple[int, int]]] = {sid: [] for sid in case.names}
    for sid in case.names:
        for begin, following in itertools.pairwise([*begins, end_ns]):
            recovered = next((at for at in healed[sid] if begin <= at < following), None)
            quote = next((at for at in quoted[sid] if at >= begin), end_ns)
            after = quote if recovered is None else recovered
            found[sid].append((begin - SLACK_NS, after + SLACK_NS))
    return found


def _times(case: _Case, wanted: npt.NDArray[np.bool_]) -> dict[int, list[int]]:
    """By instrument, when the wanted rows appeared."""
    found: dict[int, list[int]] = defaultdict(list)
    for place in np.flatnonzero(wanted).tolist():
        sid = case.sids.get(int(case.tape.rows["instrument_id"][place]), -1)
        found[sid].append(int(case.tape.at_ns[place]))
    return found


def _order(case: _Case) -> Iterator[str]:
    """Within a life and an epoch, what an instrument's ticks say comes in the order of the packets."""
    last: dict[tuple[int, int], tuple[int, int]] = {}
    for place, row in enumerate(case.tape.rows):
        kind = int(row["kind"])
        if kind not in (Kind.QUOTE, Kind.TRADE) or int(row["flags"]) & Flag.SNAPSHOT:
            continue
        key = (int(case.tape.life[place]), int(row["instrument_id"]))
        now = (int(row["venue_seq"]), int(row["ts_event"]))
        before = last.get(key)
        if before is not None and now[0] < before[0] and now[1] <= before[1]:
            yield f"order: {case.tape.symbol(key[1])} goes from packet {before[0]} back to {now[0]}"
        last[key] = now


def _books(case: _Case) -> Iterator[str]:
    """At the end, which is quiet, the last quote of each instrument is its touch."""
    truth, rows = case.venue.truth, case.tape.rows
    last: dict[int, Any] = {}
    for row in rows:
        sid = case.sids.get(int(row["instrument_id"]), -1)
        if row["kind"] == Kind.CLEAR:
            if int(row["instrument_id"]):
                last[sid] = None
            else:
                last = dict.fromkeys(last)
        elif row["kind"] == Kind.QUOTE and not int(row["flags"]) & Flag.IMPLIED:
            last[sid] = row
    for sid in case.venue.instruments:
        if not case.heard.lives or not case.chosen(sid, len(case.heard.lives)):
            continue
        state, row = truth.state(sid), last.get(sid)
        true = _touch(*state.touch) if state else _touch(None, None)
        told = _touch(None, None)
        if row is not None:
            quote = row.reshape(1).view(QUOTE)[0] if hasattr(row, "reshape") else row
            told = tuple(
                int(quote[name]) for name in ("bid_price", "bid_size", "ask_price", "ask_size")
            )
            if int(row["flags"]) & Flag.STALE:
                yield f"books: the last quote of {case.names[sid]} is STALE"
        if told != true:
            yield f"books: {case.names[sid]} is told to be {told}, and is {true}"


def _gaps(case: _Case) -> Iterator[str]:
    """What a life was not given between its first and last packet is told once; and healed when all is right."""
    for number, life in enumerate(case.heard.lives, 1):
        loss = [g for g in case.gaps if g.life == number and g.reason == GapReason.PACKET_LOSS]
        told: Counter[int] = Counter()
        for gap in loss:
            told.update(range(gap.first, gap.last + 1))
        given: dict[int, list[int]] = defaultdict(list)
        for epoch, seq in life.packets:
            given[epoch].append(seq)
        missing: Counter[int] = Counter()
        for epoch, seqs in given.items():
            if case.is_hidden(life, epoch):
                continue
            had = set(seqs)
            missing.update(seq for seq in range(seqs[0], max(seqs)) if seq not in had)
        open_end = {max(seqs) for seqs in given.values()}
        ended = life is not case.heard.lives[-1]
        for seq, count in missing.items():
            waits = ended and any(seq >= end - 300 for end in open_end)
            if told[seq] < count and not waits:
                yield f"gaps: packet {seq} came to nobody in life {number}, and is not told"
        for seq, count in told.items():
            if count > max(1, missing[seq]) and not case.several:
                yield f"gaps: packet {seq} is told lost {count} times in life {number}"
            if not missing[seq] and not case.several and _came_before(life, seq, loss):
                yield f"gaps: packet {seq} is told lost in life {number}, and had come"
    yield from _unclosed(case)


def _unclosed(case: _Case) -> Iterator[str]:
    last = len(case.heard.lives)
    healed = [one for one in case.recovered if not one.instrument]
    for gap in case.gaps:
        if gap.instrument:
            continue
        closing = [one for one in healed if _closes(one, gap)]
        for one in closing[:1]:
            healed.remove(one)
        if not closing and gap.life == last:
            yield f"gaps: a GAP {gap} is never closed"
    for one in healed:
        yield f"gaps: a RECOVERED {one} closes what was not open"
    rows = case.tape.rows[np.isin(case.tape.rows["kind"], (Kind.GAP, Kind.RECOVERED))].view(GAP)
    wide = rows[rows["instrument_id"] == 0]
    told = dict(zip(wide["line"].tolist(), wide["kind"].tolist(), strict=True))
    for line in sorted(line for line, kind in told.items() if kind == Kind.GAP):
        yield f"gaps: to a reader, line {line} stays open over the lives"


def _came_before(life: _Life, seq: int, loss: Sequence[_Told]) -> bool:
    """Whether the packet had been given to the handler when it was told lost."""
    told_ns = min(gap.at_ns for gap in loss if gap.first <= seq <= gap.last)
    return any(one[1] == seq and at_ns < told_ns for one, at_ns in life.packets.items())


def _flags(case: _Case) -> Iterator[str]:
    """Whoever was told that an instrument is in doubt is told, once, that it is no more."""
    last = len(case.heard.lives)
    stale: dict[int, bool] = {}
    for place, row in enumerate(case.tape.rows):
        if int(case.tape.life[place]) != last or not int(row["instrument_id"]):
            continue
        instrument = int(row["instrument_id"])
        if row["kind"] == Kind.RECOVERED:
            if not stale.get(instrument):
                yield f"gaps: {case.tape.symbol(instrument)} is RECOVERED, and nobody was told of a doubt"
            stale[instrument] = False
        else:
            stale[instrument] = stale.get(instrument, False) or bool(int(row["flags"]) & Flag.STALE)
    listed = {i for i, sid in case.sids.items() if sid in case.venue.instruments}
    for instrument, doubted in stale.items():
        if doubted and instrument in listed:
            yield f"gaps: {case.tape.symbol(instrument)} stays in doubt"


def _counters(case: _Case) -> Iterator[str]:
    """What the ring counts is what it got; of a life that was killed, all but its last moments."""
    tape = case.tape
    kinds = tape.rows["kind"]
    sets = {
        "published_quotes": (Kind.QUOTE,),
        "published_trades": (Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION),
        "gaps": (Kind.GAP,),
    }
    for name, wanted in sets.items():
        is_one = sum((kinds == kind for kind in wanted), start=kinds == -1)
        total, least = int(is_one.sum()), int(is_one.sum())
        for number, life in enumerate(tape.lives, 1):
            if life.how in ("killed", "crashed") and life.ended_ns is not None:
                late = (tape.life == number) & (tape.at_ns > life.ended_ns - BEAT_NS * 8)
                least -= int((is_one & late).sum())
        if not least <= tape.counters.get(name, 0) <= total:
            yield f"counters: {name} is {tape.counters.get(name)}, and {least} to {total} were published"
