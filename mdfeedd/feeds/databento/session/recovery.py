"""What a disconnect has cost, how it is asked for again, and what of that is told in the ring. No I/O but the ring.

::

    session ends            known_ns: until then nothing is missing (time of capture, Databento's clock)
    next session            plan(): replay from before known_ns, or a snapshot, or live only
    its metadata            began(): records of what is missing something are held
    a subscription begins   acknowledged(), or else held(), before the first record of its type: GAP, until now
    records of the past     left out by their positions where they are known (dbn_resume.h)
    replay completed        RECOVERED with the bounds of its GAP, if what came again agrees with what is known

The line of a GAP and its RECOVERED is the number of the subscription, from 1 in the order of the configuration.
A RECOVERED closes all GAPs of its line that lie within its bounds: after a disconnect within a recovery the next
GAP begins where the first one did.

A gateway may be mute between its metadata and a subscription's begin, and what the venue says meanwhile comes to
nobody. So a GAP ends when the gateway says that the subscription has begun or, if it says nothing, at the first
record. If it says so after a record, that was perhaps of another subscription of the same type: the GAP is told
again, with its later end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mdfeedd.feeds.databento.options import ALL_SYMBOLS, are_named
from mdfeedd.feeds.databento.schemas import BARS_S, MBO, RTYPES, SKIPPABLE, schema_in
from mdfeedd.feeds.databento.session.lsg import Request
from mdfeedd.tick import GAP, TICK, TIME_UNDEF, GapReason, Kind

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Sequence

    from mdfeedd.feeds.databento.codec import DbnDecoder, Positions
    from mdfeedd.feeds.databento.options import Subscription
    from mdfeedd.feeds.shard import Shard
    from mdfeedd.ring import Writer

__all__ = ["KEPT_NS", "PRESENT_GRACE_NS", "Hole", "Recovery", "extends"]

_NS: Final = 1_000_000_000
_NEVER_NS: Final = 2**63 - 1
KEPT_NS: Final = 86_400 * _NS
"""Of most schemas the gateway keeps no more for replays; what is older is refused for all (error 8)."""
PRESENT_GRACE_NS: Final = 10 * _NS
"""A record captured so long after its subscription's begin is not of the past, whatever the clocks."""
_NUMBER: Final = re.compile(r"\brequest (\d+)\b")


@dataclass(frozen=True, slots=True)
class Hole:
    """What is missing of a subscription: UNIX ns, from and until."""

    line: int
    reason: GapReason
    first_ns: int
    last_ns: int


class Recovery:
    """Of one feed, over all of its sessions.

    `reach_ns` and `limit_ns` are the options replay_reach_s and replay_limit_s. Of a `shard`, what is asked for by
    name is asked for only if the name is of the shard; a subscription of which nothing is left is not made. `reason` of the next hole is
    RESTART at first, because what came before was another process; it stays until a GAP has told it.
    """

    def __init__(
        self,
        positions: Positions,
        writer: Writer,
        logger: logging.Logger,
        *,
        reach_ns: int,
        limit_ns: int,
        shard: Shard | None = None,
    ) -> None:
        self.reason: GapReason = GapReason.RESTART
        self._positions = positions
        self._writer = writer
        self._logger = logger
        self._reach_ns = reach_ns
        self._limit_ns = limit_ns
        self._shard = shard
        self._requests: dict[int, Request] = {}
        self._subscriptions: Sequence[Subscription] = ()
        self._decoder: DbnDecoder | None = None
        self._waiting: dict[int, Hole | None] = {}  # not begun; of replays that miss nothing, None
        self._early: dict[int, Hole] = {}  # told at a record that may be another's
        self._acknowledged: set[int] = set()
        self._replaying: dict[int, Hole | None] = {}
        self._aged_out = False
        self._is_asked: Callable[[int], bool] = bool
        self._renumbered: Callable[[list[int]], int] = len
        self._begun: dict[int, int] = {}  # by type, of those whose positions this process began
        self._untracked: set[int] = set()  # types whose positions begin when their GAP is told
        self._misdated: set[int] = (
            set()
        )  # types whose GAPs of this session begin by a clock that was ahead
        self._before: tuple[Subscription, ...] | None = None
        self._asked_ns = self._began_ns = 0
        self._heard_ns = 0  # what time it is at the gateway, as it said last
        self._disagreed = 0
        self._replayed = 0
        self._full_told = False
        self._counted = 0

    def use(self, positions: Positions) -> None:
        """Other positions from the next session on."""
        self._positions = positions
        self._begun = {}
        self._counted = 0

    @property
    def known_ns(self) -> int:
        """Until then nothing is missing; 0 before the first session."""
        return self._positions.known_ns

    @property
    def replaying(self) -> bool:
        """A replay has been asked for, and is not complete."""
        return bool(self._replaying)

    def plan(self, subscriptions: Sequence[Subscription], now_ns: int) -> list[Request]:
        """What to ask for in a new session, one request per subscription and in their order; none if nothing is ours."""
        self._subscriptions = subscriptions
        self._asked_ns = now_ns
        requests = []
        for number, one in enumerate(subscriptions):
            symbols = self._ours(one.symbols)
            if not symbols:
                continue
            start_ns = self._start_ns(one, now_ns)
            snapshot = one.policy == "snapshot"
            requests.append(Request(number, one.schema, one.stype, symbols, start_ns, snapshot))
        self._requests = {request.id: request for request in requests}
        self._replaying = self._replays()
        return requests

    def _replays(self) -> dict[int, Hole | None]:
        """What has been asked for from the past on, as yet without a hole."""
        return {n: None for n, one in self._requests.items() if one.start_ns is not None}

    def _ours(self, symbols: tuple[str, ...]) -> tuple[str, ...]:
        """Those to ask for. Where not all are names, all: the mapping will tell which instruments are ours."""
        shard = self._shard
        if shard is None or not are_named(self._subscriptions):
            return symbols
        return tuple(symbol for symbol in symbols if shard.has(symbol))

    def extend(self, subscriptions: Sequence[Subscription], now_ns: int) -> list[Request]:
        """What to ask for within the session, so that it comes to these. See `extends`."""
        old, self._subscriptions = self._subscriptions, subscriptions
        added = []
        for number, one in enumerate(subscriptions):
            had = set(old[number].symbols) if number < len(old) else set()
            symbols = self._ours(tuple(symbol for symbol in one.symbols if symbol not in had))
            if not symbols:
                continue
            snapshot = one.policy == "snapshot"
            added.append(Request(number, one.schema, one.stype, symbols, None, snapshot))
            if one.policy == "replay" and one.rtype not in self._untracked:
                self._keep(one.rtype, now_ns)
        for request in added:
            self._requests.setdefault(request.id, request)
        self._early.clear()  # from now on an acknowledgement may be of these
        self._before = tuple(subscriptions)
        return added

    def _start_ns(self, one: Subscription, now_ns: int) -> int | None:
        known_ns, first_ns = self.known_ns, one.start_ns
        if not known_ns:
            return first_ns
        if one.policy != "replay" or self._aged_out:
            return None
        if not self._positions.tracks(one.rtype):
            return None  # what has been published of it is not known: it would come twice
        if first_ns is not None and known_ns <= max(1, first_ns):
            return first_ns  # the very first replay was cut
        if now_ns - known_ns > self._limit_ns:
            return None
        earliest_ns = self._positions.earliest_ns((one.rtype,), known_ns - self._reach_ns)
        from_ns = known_ns if earliest_ns is None else min(known_ns, earliest_ns)
        from_ns = max(1, from_ns - self._reach_ns - BARS_S.get(one.schema, 0) * _NS)
        return from_ns if now_ns - from_ns <= max(self._limit_ns, KEPT_NS) else None

    def began(
        self,
        decoder: DbnDecoder,
        stream_start_ns: int,
        now_ns: int,
        is_asked: Callable[[int], bool],
        renumbered: Callable[[list[int]], int],
    ) -> None:
        """The session delivers: before the first record of each subscription, tell what is missing of it.

        `stream_start_ns` is the time in its metadata, 0 where there is none. `is_asked` says of an instrument
        of the gateway's whether it belongs to what was asked for in this session; `renumbered`, how many of some do
        by their names, but have other numbers now.
        """
        self._aged_out = False
        self._is_asked = is_asked
        self._renumbered = renumbered
        # no record of this session was captured before, whether or not it comes with the metadata at once
        self._began_ns = min(stream_start_ns or self._asked_ns, self._asked_ns)
        self._disagreed = self._positions.disagreed
        self._replayed = self._positions.replayed
        self._decoder = decoder
        self._acknowledged, self._early, self._misdated = set(), {}, set()
        holes = self._holes()
        self._replaying = self._replays()
        self._waiting = {**self._replaying, **holes}
        for number in self._waiting:
            decoder.hold(self._subscriptions[number].rtype)
        self._track({self._subscriptions[number].rtype for number in holes})
        self._before = tuple(self._subscriptions)
        starts = [r.start_ns for r in self._requests.values() if r.start_ns is not None]
        # what every replay has to bring again tells whether it agrees with what is known
        types = [self._subscriptions[number].rtype for number in self._replaying]
        self._positions.begin_replay(types, max(starts, default=0), now_ns + PRESENT_GRACE_NS)
        if not self.known_ns:
            self._positions.known_ns = max(1, min([*starts, self._began_ns]))
        if not holes:
            self.reason = GapReason.DISCONNECT

    def heard(self, gateway_ns: int) -> None:
        """The gateway has said something at this time by its clock, which is that of the captures.

        What is known reaches no further, and nothing was first asked for later: a clock of ours that is ahead
        had said so.
        """
        if gateway_ns <= 0:
            return
        self._heard_ns = max(self._heard_ns, gateway_ns)
        self._began_ns = min(self._began_ns, gateway_ns)
        is_ahead = self._heard_ns < self._positions.known_ns
        for one in self._subscriptions:
            # by what clock another process began them, nobody knows; what was known then, was not missing
            begun_ns = self._begun.get(one.rtype, _NEVER_NS if is_ahead else 0)
            first_ns = self._heard_ns - BARS_S.get(one.schema, 0) * _NS
            if first_ns < begun_ns:
                self._begin_earlier(one.rtype, first_ns)
                self._misdated |= {one.rtype} if is_ahead else set()
        if is_ahead:
            self._positions.known_ns = self._heard_ns

    def _begin_earlier(self, rtype: int, begun_ns: int) -> None:
        """A type was first asked for at that time already."""
        if self._positions.tracks(rtype):
            self._positions.forget(rtype)
            self._begun[rtype] = begun_ns
            self._positions.begin(rtype, begun_ns)

    def _believe_records(self) -> None:
        """As `heard`, where the gateway says nothing: none that comes live was captured before it was asked for."""
        past = {self._subscriptions[n].rtype for n in self._replays()}
        for rtype, begun_ns in list(self._begun.items()):
            reached_ns = TIME_UNDEF if self._decoder is None else self._decoder.reached_ns(rtype)
            if rtype not in past and TIME_UNDEF != reached_ns < begun_ns:
                self._begin_earlier(rtype, reached_ns)

    def acknowledged(self, text: str, now_ns: int) -> None:
        """The gateway says that a subscription has begun; which one, says its text.

        One that names no schema is not taken for anything: records will tell.
        """
        number = self._number_in(text)
        if number is None:
            return
        self._acknowledged.add(number)
        if number in self._early:
            self._waiting[number] = self._early.pop(number)
        self._begin([number], now_ns)

    def held(self, rtype: int, now_ns: int) -> None:
        """A record of this type comes next, and not all its subscriptions have been acknowledged."""
        same = [n for n in self._requests if self._subscriptions[n].rtype == rtype]
        holes = self._begin(same, now_ns)
        if len(same) > 1:  # a replay brings all from its start on, whenever it begins
            self._early |= {n: hole for n, hole in holes.items() if n not in self._replaying}

    def _number_in(self, text: str) -> int | None:
        """The subscription that an acknowledgement is of; without a number, the next one of the schema."""
        schema = schema_in(text)
        left = [
            number
            for number, request in self._requests.items()
            if request.schema == schema and number not in self._acknowledged
        ]
        told = _NUMBER.search(text)
        if told is not None:
            return int(told[1]) if int(told[1]) in left else None
        return left[0] if left else None

    def _begin(self, numbers: Iterable[int], now_ns: int) -> dict[int, Hole]:
        """These subscriptions have begun, those of them that wait: tell what is missing of each until now."""
        begun = {number: self._waiting.pop(number) for number in numbers if number in self._waiting}
        holes = {
            number: replace(hole, last_ns=max(now_ns, hole.first_ns))
            for number, hole in begun.items()
            if hole is not None
        }
        if not begun:
            return holes
        self._publish(Kind.GAP, holes.values(), now_ns)
        if holes:
            self.reason = GapReason.DISCONNECT
        assert self._decoder is not None
        for number, hole in holes.items():
            one = self._subscriptions[number]
            if number in self._replaying:
                self._replaying[number] = hole
            elif one.schema == MBO and one.policy == "snapshot":
                self._decoder.recover_books(hole.first_ns, hole.last_ns, hole.reason, hole.line)
        types = {self._subscriptions[number].rtype for number in begun}
        self._track_late()
        for rtype in types - {self._subscriptions[number].rtype for number in self._waiting}:
            self._decoder.release(rtype)
        if begun.keys() & self._replaying.keys():
            # by a clock of ours that is late, the past would seem to be the present
            self._positions.live_from(max(now_ns, self._heard_ns, self.known_ns) + PRESENT_GRACE_NS)
        return holes

    def _track(self, missing: set[int]) -> None:
        """Keep positions of what is replayed, from where it was asked for first, and of nothing else.

        Where something of a type is `missing` and none are kept, no replay will bring what came to nobody before
        this session: they are kept from when a GAP, which stays open, has told that.
        """
        begun: dict[int, int] = {}
        for number, one in enumerate(self._subscriptions):
            if number not in self._requests:
                continue
            start_ns = self._requests[number].start_ns
            if one.policy == "replay":
                begun_ns = self._began_ns if start_ns is None else start_ns
                begun_ns -= BARS_S.get(one.schema, 0) * _NS
                begun[one.rtype] = min(begun_ns, begun.get(one.rtype, begun_ns))
        self._untracked = {n for n in begun if n in missing and not self._positions.tracks(n)}
        for one in self._subscriptions:
            if one.rtype not in begun:
                self._positions.forget(one.rtype)
                self._begun.pop(one.rtype, None)
            elif one.rtype not in self._untracked:
                self._keep(one.rtype, begun[one.rtype])

    def _keep(self, rtype: int, begun_ns: int) -> None:
        """Keep positions of a type from now on, if none are kept."""
        if not self._positions.tracks(rtype):
            self._begun[rtype] = begun_ns
            self._positions.begin(rtype, begun_ns)

    def _track_late(self) -> None:
        """Once the last GAP has been told, keep positions of what had none, unless records came without one.

        Before, what is known does not move on: the next GAP would begin where these did, and be recovered.
        """
        if not self._untracked or self._waiting or self._replaying:
            return
        assert self._decoder is not None
        self._positions.known_ns = max(self._positions.known_ns, self._began_ns)
        for one in self._subscriptions:
            came = self._decoder.reached_ns(one.rtype) != TIME_UNDEF
            if one.rtype in self._untracked and not came:
                self._keep(one.rtype, self._began_ns - BARS_S.get(one.schema, 0) * _NS)
        self._untracked.clear()

    def _holes(self) -> dict[int, Hole]:
        """Where each subscription's begins; none if there was no session before."""
        first_ns = self.known_ns
        if not first_ns:
            return {}
        return {
            number: Hole(number + 1, self.reason, first_ns, first_ns)
            for number, one in enumerate(self._subscriptions)
            if number in self._requests and self._is_of_before(one)
        }

    def _is_of_before(self, one: Subscription) -> bool:
        """Something of it was asked for in the session before, or may have been.

        Of another process that is not known; nor is it what all symbols, or symbols of another type, stand for.
        """
        if self._before is None:
            return True
        ours = set(self._ours(one.symbols))
        return any(
            other.stype != one.stype
            or ALL_SYMBOLS in other.symbols
            or ALL_SYMBOLS in ours
            or not ours.isdisjoint(other.symbols)
            for other in self._before
            if other.schema == one.schema
        )

    def skipped(self, decoder: DbnDecoder, last_ns: int, now_ns: int) -> None:
        """The gateway left records out because we were slow: since the last that came, at the earliest."""
        skippable = [one.rtype for one in self._subscriptions if one.schema in SKIPPABLE]
        reached = [decoder.reached_ns(rtype) for rtype in skippable] or [decoder.clock_ns]
        first_ns = min(self._began_ns if ns == TIME_UNDEF else ns for ns in reached)
        first_ns = min(first_ns, last_ns)
        self._publish(Kind.GAP, [Hole(0, GapReason.VENDOR_SKIPPED, first_ns, last_ns)], now_ns)

    def replay_completed(self, text: str, now_ns: int) -> None:
        """The gateway says that a replay is complete; which one, says its text.

        One that names no schema is not taken for anything: records that reach the present will tell.
        """
        schema = schema_in(text)
        if schema:
            self._complete(RTYPES[schema], now_ns)

    def reached_present(self, rtype: int, now_ns: int) -> None:
        """Records of this type are not of the past any more, though nobody said so."""
        self._complete(rtype, now_ns)

    def _complete(self, rtype: int, now_ns: int) -> None:
        numbers = [n for n in self._replaying if self._subscriptions[n].rtype == rtype]
        if not numbers:
            return
        self._begin(numbers, now_ns)  # a replay may bring nothing, not even an acknowledgement
        gone = self._positions.end_replay(rtype)
        unmet, renumbered = sum(map(self._is_asked, gone)), self._renumbered(gone)
        disagreed = self._positions.disagreed - self._disagreed
        self._disagreed = self._positions.disagreed
        holes = [hole for n in numbers if (hole := self._replaying.pop(n)) is not None]
        if any((self._requests[n].start_ns or 0) > self._heard_ns > 0 for n in numbers):
            self._logger.warning(
                "a replay was asked for from the future: this host's clock is ahead; the gap stays open"
            )
            return
        schema = self._subscriptions[numbers[0]].schema
        if holes and rtype in self._misdated:
            self._logger.warning(
                "this host's clock was ahead when %s was asked for before: from when on records are missing is not"
                " known; the gap stays open",
                schema,
            )  # fmt: skip
            return
        if unmet or disagreed:
            self._logger.warning(
                "the replay of %s is not what had come before: %d of its instruments did not come again, %d"
                " records differ or are missing; the gap stays open",
                schema, unmet, disagreed,
            )  # fmt: skip
            return
        if renumbered:
            self._logger.warning(
                "the replay of %s cannot be held against what had come before: %d of its instruments have other"
                " numbers now; the gap stays open",
                schema, renumbered,
            )  # fmt: skip
            return
        if holes:
            self._logger.info(
                "recovered: the replay of %s is complete, %d records were new",
                schema, self._positions.replayed - self._replayed,
            )  # fmt: skip
        self._replayed = self._positions.replayed
        self._publish(Kind.RECOVERED, holes, now_ns)

    def note(self, captured_ns: int) -> None:
        """All that was captured until then has come, unless something is yet to begin or to be replayed."""
        self._believe_records()
        is_whole = not (self._waiting or self._replaying or (self._early and self._acknowledged))
        if is_whole and captured_ns > self._positions.known_ns:
            self._positions.known_ns = captured_ns
        replayed = self._positions.replayed
        self._writer.counters.add("replayed_records", replayed - self._counted)
        self._counted = replayed
        if self._positions.full and not self._full_told:
            self._full_told = True
            self._logger.warning(
                "more instruments than there is room to remember: after a disconnect some of their records may"
                " come twice; raise the feed's instruments_capacity"
            )

    def aged_out(self) -> None:
        """The gateway has not kept what was asked for: the next session asks for live data only."""
        self._aged_out = True
        self._logger.warning("the gateway keeps no replay of what is missing: the gap stays open")

    def _publish(self, kind: Kind, holes: Iterable[Hole], now_ns: int) -> None:
        rows = list(holes)
        if not rows:
            return
        ticks = np.zeros(len(rows), GAP)
        ticks["ts_event"] = ticks["ts_recv"] = now_ns
        ticks["kind"] = kind
        ticks["first_missing"] = [hole.first_ns for hole in rows]
        ticks["last_missing"] = [hole.last_ns for hole in rows]
        ticks["reason"] = [hole.reason for hole in rows]
        ticks["line"] = [hole.line for hole in rows]
        self._writer.publish(ticks.view(TICK))
        self._writer.counters.add("published_others", len(rows))
        if kind is Kind.GAP:
            self._writer.counters.add("gaps", len(rows))


def extends(old: Sequence[Subscription], new: Sequence[Subscription]) -> bool:
    """Whether `new` is `old` with more symbols or with more subscriptions at its end, all of them live."""
    for before, after in zip(old, new, strict=False):
        if replace(before, symbols=after.symbols) != after or set(before.symbols) - set(
            after.symbols
        ):
            return False
    return len(new) >= len(old) and all(one.start_ns is None for one in new[len(old) :])
