"""What becomes of each topic: asked for, live, torn, failed. Sans-IO: messages and times in, what to ask for out.

::

                 ┌─────────────── due: again ────────────────┐
                 ▼                                            │
    IDLE ──► ASKED ──SubscriptionStarted──► STARTED ──image──► LIVE
     ▲          │                              │ ▲              │ │
     │          │ SubscriptionFailure,         │ └─Activated─┐  │ └─ DataLoss: GAP, STALE; unsubscribed and
     │          │ SubscriptionTerminated       │          INACTIVE    asked for anew, for an image
     │          ▼                              ▼             ▲  │
     └─due── WAITING ◄──────────────────────────             └──┘ StreamsDeactivated: GAP, STALE
             REFUSED: for good

Each asking has a correlation id of its own, so what comes late belongs to nothing. A topic that fails never
stops another. While the connection is down the SDK restores subscriptions by itself: nothing is asked for,
and an image that does not come within `image_wait` of its return is asked for then.
"""

from __future__ import annotations

import enum
import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mdfeedd.feeds.bloomberg.codec import Delayed, Image, Lost
from mdfeedd.feeds.bloomberg.codec.decode import stamp_of
from mdfeedd.feeds.bloomberg.failure import (
    Answer,
    Failure,
    Flow,
    flow,
    hint,
    read_failure,
    refused_fields,
)
from mdfeedd.feeds.bloomberg.moment import NS
from mdfeedd.feeds.bloomberg.native.decoder import Touch
from mdfeedd.tick import Flag, GapReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mdfeedd.feeds.bloomberg.codec import Decoder
    from mdfeedd.feeds.bloomberg.failure import Pauses
    from mdfeedd.feeds.bloomberg.moment import Now, Tell
    from mdfeedd.feeds.bloomberg.options import Topic

__all__ = ["ANSWER_S", "BATCH", "PENDING", "Ask", "Asks", "Followed", "Stage", "Topics"]

BATCH: Final = 200
"""Topics in one call of the SDK."""
ANSWER_S: Final = 90
"""Without any answer for so long, a topic is asked for again."""
INACTIVE_S: Final = 300
"""Streams that are off for so long are asked for again."""
SLOW_HOLD_S: Final = 30
"""While we are behind, so long at most, no images are asked for: they would come on top."""
CHECK_S: Final = 5
"""After SlowConsumerWarningCleared, so long for the DataLoss messages to come."""
MOST_CHECK_S: Final = 30
"""The same, where warnings follow each other: what was dropped by then is looked at as one."""
UNANSWERED: Final = 3
"""A topic that was lost and is not answered so often in a row has failed."""
CALM_S: Final = 60
"""A loss so long after the one before it is repaired at once; sooner ones after a pause."""
MOST_REPAIR_S: Final = 60
MOST_IMAGE_S: Final = 3600
SPREAD_S: Final = 5


_STALE: Final = int(Flag.STALE)
_DELAYED: Final = int(Flag.DELAYED)


class Stage(enum.Enum):
    """Where a topic stands."""

    IDLE = "to be asked for"
    ASKED = "asked for"
    STARTED = "on, without an image"
    LIVE = "live"
    INACTIVE = "its streams are off"
    WAITING = "failed, to be asked for again"
    REFUSED = "failed for good"


_ON: Final = frozenset({Stage.ASKED, Stage.STARTED, Stage.LIVE, Stage.INACTIVE})
PENDING: Final = frozenset({Stage.IDLE, Stage.ASKED, Stage.STARTED})
_FAILED: Final = frozenset({Stage.WAITING, Stage.REFUSED})


class Ask(NamedTuple):
    """One topic to subscribe to."""

    cid: int
    topic: str
    fields: tuple[str, ...]


class Asks(NamedTuple):
    """What to call the SDK with, in this order."""

    unsubscribe: list[int]
    subscribe: list[Ask]


class State(NamedTuple):
    """How many topics were live and are not known to be right now, have failed, are delayed."""

    stale: int
    failed: int
    delayed: int


class _Check(NamedTuple):
    """What is to be looked at after a warning, by when, and not later than `limit_ns`.

    `dropped` events; `before` is what had been told as dropped, `since_ns` what had been sent, when it began.
    """

    due_ns: int
    limit_ns: int
    dropped: int
    before: int
    since_ns: int


class Followed:
    """One topic. `due_ns`: when to look after it (0: not by itself).

    `failure` is the last one, until it is live again or the failure has been got round; `flow` is what the ring
    was told last.
    """

    __slots__ = (
        "cid", "due_ns", "established", "failure", "failures", "fields", "flow", "gone", "listing",
        "losses", "lost_ns", "rejected", "repaints", "stage", "touch",
    )  # fmt: skip

    def __init__(self, listing: Topic, fields: tuple[str, ...], touch: Touch) -> None:
        self.listing: Topic = listing
        self.fields: tuple[str, ...] = fields
        self.touch: Touch = touch
        self.stage: Stage = Stage.IDLE
        self.cid: int = 0
        self.due_ns: int = 0
        self.failures: int = 0
        self.losses: int = 0
        self.lost_ns: int = 0
        self.repaints: int = 0
        self.established: bool = False
        self.gone: bool = False
        self.failure: Failure | None = None
        self.flow: Flow = Flow.COMES
        self.rejected: set[str] = set()


class Topics:
    """All topics of a feed, over all sessions. `chance` gives 0 to 1.

    Counts: `refused` answers for good, `rejected` fields, `dropped` messages that Bloomberg says we have lost,
    `untold` events that were dropped and of whose messages it says nothing, `warnings` of being slow.
    """

    def __init__(
        self,
        decoder: Decoder,
        tell: Tell,
        pauses: Pauses,
        chance: Callable[[], float],
        *,
        fields: tuple[str, ...],
        image_wait_ns: int,
        refuse_delayed: bool = False,
    ) -> None:
        self.decoder = decoder
        self.refused: int = 0
        self.rejected: int = 0
        self.dropped: int = 0
        self.untold: int = 0
        self.warnings: int = 0
        self.held_until_ns: int = 0
        self._tell = tell
        self._pauses = pauses
        self._chance = chance
        self._fields = fields
        self._image_wait_ns = image_wait_ns
        self._refuse_delayed = refuse_delayed
        self._all: dict[Topic, Followed] = {}
        self._by_cid: dict[int, Followed] = {}
        self._queue: deque[Followed] = deque()
        self._wakes: list[tuple[int, int, Followed]] = []
        self._serial = 0
        self._last_cid = 0
        self._unsubscribe: list[int] = []
        self._open = self._down = False
        self._slow_until_ns = 0
        self._slow_held: dict[Followed, None] = {}
        self._slow_begin = (0, 0)
        self._check: _Check | None = None

    # what is followed

    def follow(
        self, listings: Iterable[Topic], instrument: Callable[[Topic], int], now: Now
    ) -> None:
        """Follow these and no others. `instrument` gives our number of a topic that is new, or 0."""
        wanted = dict.fromkeys(listings)
        freed = 0
        for listing in [one for one in self._all if one not in wanted]:
            entry = self._all.pop(listing)
            freed += entry.stage in _ON
            self._leave(entry, now)
        if freed and now.wall_ns < self.held_until_ns:
            self._use_room(freed, now)
        for listing in wanted:
            number = 0 if listing in self._all else instrument(listing)
            if number:
                entry = Followed(listing, listing.fields or self._fields, Touch(number))
                self._all[listing] = entry
                self._queue.append(entry)

    def _use_room(self, freed: int, now: Now) -> None:
        """The limit may not be reached any more: as many as were given up may try, and those that are new."""
        self.held_until_ns = 0
        held = [e for e in self if e.stage is Stage.WAITING and e.flow is Flow.LIMIT]
        for entry in held[:freed]:
            self._wake_in(entry, self._spread_ns(), now)

    def _leave(self, entry: Followed, now: Now) -> None:
        entry.gone, entry.due_ns = True, 0
        self._slow_held.pop(entry, None)
        if entry.cid:
            self._drop(entry, unsubscribe=True)
        self.decoder.clear(entry.touch, now.wall_ns)

    def __iter__(self) -> Any:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    def touches(self) -> list[tuple[Touch, bool]]:
        """All instruments, each with whether it has not failed."""
        return [(entry.touch, entry.stage not in _FAILED) for entry in self]

    def stages(self) -> dict[Stage, int]:
        """How many stand where."""
        counts = dict.fromkeys(Stage, 0)
        for entry in self:
            counts[entry.stage] += 1
        return counts

    def state(self) -> State:
        """Takes a look at every one."""
        stale = failed = delayed = 0
        for entry in self._all.values():
            flags = entry.touch.flags
            failed += entry.flow is not Flow.COMES
            stale += bool(entry.established and flags & _STALE)
            delayed += bool(flags & _DELAYED and entry.flow is Flow.COMES)
        return State(stale, failed, delayed)

    # the session

    def open(self, now: Now) -> None:
        """The service is open: ask for everything."""
        self._open = True
        if self._down:
            self.up(now)

    def close(self, now: Now) -> None:
        """The session is over, and with it every subscription."""
        on = [entry for entry in self if entry.stage in _ON]
        if on and not self._down:
            self.decoder.lost_all(self.touches(), now.wall_ns, GapReason.DISCONNECT)
        for entry in on:
            self._drop(entry, unsubscribe=False)
            self._enqueue(entry)
        self._unsubscribe.clear()
        self._open = self._down = False
        self._slow_until_ns, self._check = 0, None
        self._slow_held.clear()

    def down(self, now: Now) -> None:
        """The connection is lost. The SDK looks after it; until then nothing of what is shown is known to be right."""
        if self._down:
            return
        self._down = True
        if not any(entry.stage in _ON for entry in self):
            return
        self.decoder.lost_all(self.touches(), now.wall_ns, GapReason.DISCONNECT)
        for entry in self:
            if entry.stage is Stage.LIVE:
                entry.stage = Stage.STARTED

    def up(self, now: Now) -> None:
        """The connection is there again: images come by themselves, or are asked for in a while."""
        if not self._down:
            return
        self._down = False
        for entry in self:
            if entry.stage in _ON and (entry.touch.stale or not entry.established):
                self._wake_in(entry, self._image_wait_ns + self._spread_ns(), now)

    # what Bloomberg says of one topic

    def started(self, cid: int, body: dict[str, Any], now: Now) -> None:
        """SubscriptionStarted: on, perhaps without some of the fields."""
        entry = self._by_cid.get(cid)
        if entry is None:
            return
        for field, why in refused_fields(body, "exceptions"):
            if field not in entry.rejected:
                entry.rejected.add(field)
                self.rejected += 1
                self._tell("rejected field", f"{entry.listing.topic}: no {field}: {why}", now)
        if entry.stage is Stage.ASKED:
            entry.stage = Stage.STARTED
            self._wake_in(entry, self._patience_ns(entry), now)

    def failed(self, cid: int, body: dict[str, Any], now: Now) -> None:
        """SubscriptionFailure, SubscriptionTerminated: by their category."""
        entry = self._by_cid.get(cid)
        if entry is not None:  # else the answer to an unsubscribe
            self._fail(entry, read_failure(body), now)

    def preprocess_error(self, cid: int, *, invalid: bool, text: str, now: Now) -> None:
        """The SDK does not even send it."""
        entry = self._by_cid.get(cid)
        if entry is not None:
            self._fail(entry, Failure("BAD_TOPIC" if invalid else "CANCELED", text=text), now)

    def deactivated(self, cid: int, body: dict[str, Any], now: Now) -> None:
        """SubscriptionStreamsDeactivated: nothing comes until they are activated."""
        entry = self._by_cid.get(cid)
        if entry is None or entry.stage is Stage.INACTIVE:
            return
        if not self._down:
            self.decoder.lost(entry.touch, now.wall_ns, GapReason.DISCONNECT)
            why = f"{entry.listing.topic}: its streams are off: {read_failure(body)}"
            self._tell("streams off", why, now)
        entry.stage = Stage.INACTIVE
        self._wake_in(entry, INACTIVE_S * NS, now)

    def activated(self, cid: int, now: Now) -> None:
        """SubscriptionStreamsActivated: an image should follow."""
        entry = self._by_cid.get(cid)
        if entry is not None and entry.stage is Stage.INACTIVE:
            entry.stage = Stage.STARTED
            self._wake_in(entry, self._patience_ns(entry), now)

    def data_loss(self, cid: int | None, body: dict[str, Any], now: Now) -> None:
        """DataLoss: messages of the topic were dropped, because we were slow or on the way."""
        number = body.get("numMessagesDropped")
        self.dropped += number if isinstance(number, int) and number > 0 else 0
        entry = None if cid is None else self._by_cid.get(cid)
        if entry is not None:
            self.decoder.lost(entry.touch, now.wall_ns, GapReason.VENDOR_SKIPPED)
            self._repair(entry, now)
            told = f"{entry.listing.topic}: Bloomberg dropped {number} messages"
            self._tell("data loss", told + "; a new image is asked for", now)
        elif cid is None or cid > self._last_cid:
            since_ns = self._check.since_ns if self._check else 0
            if self._slow_until_ns and not since_ns:
                since_ns = self._slow_begin[1]
            self._lose_all(
                "Bloomberg dropped messages and does not say of which topic", since_ns, now
            )

    def slow(self, now: Now) -> None:
        """SlowConsumerWarning: the queue is nearly full, nothing is lost yet."""
        self.warnings += 1
        self._slow_until_ns = now.monotonic_ns + SLOW_HOLD_S * NS
        self._slow_begin = self.dropped, stamp_of(self.touches())
        self._tell("slow", "too slow: the SDK's queue is nearly full, nothing is lost yet", now)

    def slow_over(self, body: dict[str, Any], now: Now) -> None:
        """SlowConsumerWarningCleared: so many events were dropped; all of them should have been told."""
        self._slow_until_ns = 0
        number = body.get("eventsDropped")
        dropped = number if isinstance(number, int) else 0
        if dropped > 0:
            self._check = self._checks(dropped, now)
        held, self._slow_held = self._slow_held, {}
        for entry in held:
            if entry.stage in _ON and entry.touch.stale:
                self._wake_in(entry, self._spread_ns(), now)
        self._tell("slow over", f"fast enough again; {dropped} events were dropped", now, routine=not dropped)  # fmt: skip

    def _checks(self, dropped: int, now: Now) -> _Check:
        """One check for what the warnings of a while have dropped: it is not said which loss is of which warning."""
        due_ns = now.monotonic_ns + CHECK_S * NS
        earlier = self._check
        if earlier is None:
            return _Check(due_ns, now.monotonic_ns + MOST_CHECK_S * NS, dropped, *self._slow_begin)
        due_ns = min(due_ns, earlier.limit_ns)
        return earlier._replace(due_ns=due_ns, dropped=earlier.dropped + dropped)

    def handle(self, now: Now) -> None:
        """Act on what the decoder has noticed."""
        if not self.decoder.events:
            return
        for event in self.decoder.take_events():
            entry = self._by_cid.get(event.cid)
            if entry is None:
                continue
            if isinstance(event, Image):
                self._live(entry, now)
            elif isinstance(event, Lost):
                self._repair(entry, now)
                self._tell("lost", f"{entry.listing.topic}: {_LOST[event.reason]}", now)
            elif isinstance(event, Delayed):
                self._delayed(entry, event.delayed, now)

    # what to ask for

    def due(self, now: Now) -> Asks | None:
        """What to call the SDK with now. After one that is full, ask again at the next opportunity."""
        while self._wakes and self._wakes[0][0] <= now.monotonic_ns:
            due_ns, _, entry = heapq.heappop(self._wakes)
            if entry.due_ns == due_ns:
                entry.due_ns = 0
                self._wake(entry, now)
        if self._check is not None and now.monotonic_ns >= self._check.due_ns:
            check, self._check = self._check, None
            self._check_dropped(check, now)
        if not (self._unsubscribe or self._queue):
            return None
        unsubscribe, self._unsubscribe = self._unsubscribe[:BATCH], self._unsubscribe[BATCH:]
        subscribe = self._batch(now) if self._open and not self._down else []
        return Asks(unsubscribe, subscribe) if unsubscribe or subscribe else None

    def _batch(self, now: Now) -> list[Ask]:
        asks: list[Ask] = []
        while self._queue and len(asks) < BATCH:
            entry = self._queue.popleft()
            if entry.gone:
                continue
            if now.wall_ns < self.held_until_ns and not entry.established:
                self._hold(entry, now)
                continue
            self._last_cid += 1
            entry.cid = self._last_cid
            entry.stage = Stage.ASKED
            self._by_cid[entry.cid] = entry
            self.decoder.open(entry.cid, entry.touch, now.wall_ns)
            self._wake_in(entry, ANSWER_S * NS, now)
            asks.append(Ask(entry.cid, entry.listing.topic, entry.fields))
        return asks

    def _hold(self, entry: Followed, now: Now) -> None:
        """The limit was reached by others: to ask for it would only fail."""
        entry.stage = Stage.WAITING
        self.decoder.release(entry.touch, now.wall_ns)
        if entry.flow is not Flow.LIMIT:
            self._flow(entry, Flow.LIMIT, now)
            told = f"{entry.listing.topic}: the limit is reached: {Answer.TOMORROW.value}"
            self._tell("held", told, now, each=True)
        self._wake_in(entry, self.held_until_ns - now.wall_ns, now)

    def _wake(self, entry: Followed, now: Now) -> None:
        if entry.stage is Stage.WAITING:
            self._enqueue(entry)
        elif entry.stage in _ON and not self._down:
            if now.monotonic_ns < self._slow_until_ns and entry.stage is not Stage.ASKED:
                self._wake_in(entry, self._slow_until_ns - now.monotonic_ns, now)
                self._slow_held[entry] = None
            elif entry.stage is Stage.ASKED and (
                not entry.touch.hole_first_ns or entry.repaints >= UNANSWERED
            ):
                self._drop(entry, unsubscribe=True)
                self._fail(entry, Failure("TIMEOUT", text=f"no answer within {ANSWER_S} s"), now)
            else:
                self._renew(entry, now)

    def _renew(self, entry: Followed, now: Now) -> None:
        """Unsubscribe and ask anew, which brings an image."""
        entry.repaints += 1
        if entry.touch.last_ns and not entry.touch.hole_first_ns:
            self.decoder.lost(entry.touch, now.wall_ns, GapReason.DISCONNECT)
        self._drop(entry, unsubscribe=True)
        self._enqueue(entry)

    # how topics change

    def _live(self, entry: Followed, now: Now) -> None:
        if entry.flow is not Flow.COMES:
            self._flow(entry, Flow.COMES, now)
            told = f"{entry.listing.topic}: live now"
            self._tell("live", told, now, routine=True, each=True)
        entry.stage = Stage.LIVE
        entry.established = True
        entry.failure = None
        entry.due_ns = entry.failures = entry.repaints = 0

    def _repair(self, entry: Followed, now: Now) -> None:
        """Ask for a new image: at once, but later and later where losses follow each other."""
        calm = now.monotonic_ns - entry.lost_ns >= CALM_S * NS
        entry.losses = 0 if calm or not entry.lost_ns else entry.losses + 1
        entry.lost_ns = now.monotonic_ns
        pause_s = min(MOST_REPAIR_S, 1 << (entry.losses - 1)) if entry.losses else 0
        if entry.stage is not Stage.INACTIVE:
            self._wake_in(entry, pause_s * NS, now)

    def _delayed(self, entry: Followed, delayed: bool, now: Now) -> None:
        if not delayed:
            self._tell("delayed", f"{entry.listing.topic}: not delayed any more", now, routine=True)
        elif self._refuse_delayed:
            self._drop(entry, unsubscribe=True)
            self._fail(entry, Failure("NOT_ENTITLED", text="the stream is delayed"), now)
        else:
            told = f"{entry.listing.topic}: delayed by Bloomberg, for want of an entitlement"
            self._tell("delayed", told, now)

    def _flow(self, entry: Followed, flow: Flow, now: Now) -> None:
        entry.flow = flow
        self.decoder.staging.status(now.wall_ns, entry.touch.instrument_id, flow)

    def _fail(self, entry: Followed, failure: Failure, now: Now) -> None:
        before, entry.failure = entry.failure, failure
        entry.failures += 1
        if entry.cid:
            self._drop(entry, unsubscribe=False)
        if entry.touch.last_ns and not entry.touch.stale:
            self.decoder.lost(entry.touch, now.wall_ns, GapReason.DISCONNECT)
        self.decoder.release(entry.touch, now.wall_ns)
        answer = failure.answer
        left = tuple(field for field in entry.fields if field not in failure.fields)
        if answer is Answer.FIELDS and (not left or left == entry.fields):
            answer = Answer.NEVER
        if not failure.follows(before):  # else told when it began
            topic = entry.listing.topic
            told = f"{topic}: {failure}: {answer.value}{hint(topic, failure)}"
            self._tell(f"failed {failure.category}", told, now, each=True)
        if answer is Answer.FIELDS:
            self.rejected += len(entry.fields) - len(left)
            entry.fields, entry.failure = left, None
            self._enqueue(entry)
            return
        if entry.flow is not flow(answer):
            self._flow(entry, flow(answer), now)
        if answer is Answer.NEVER:
            entry.stage = Stage.REFUSED
            entry.due_ns = 0
            self.refused += 1
        else:
            pause_ns = self._pauses.pause_ns(answer, entry.failures, now.wall_ns)
            if answer is Answer.TOMORROW:
                self.held_until_ns = max(self.held_until_ns, now.wall_ns + pause_ns)
            entry.stage = Stage.WAITING
            self._wake_in(entry, pause_ns, now)

    def _drop(self, entry: Followed, *, unsubscribe: bool) -> None:
        """The topic's correlation id means nothing any more."""
        if unsubscribe:
            self._unsubscribe.append(entry.cid)
        del self._by_cid[entry.cid]
        self.decoder.close(entry.cid)
        entry.touch.imaging = False
        entry.cid = 0

    def _enqueue(self, entry: Followed) -> None:
        entry.stage = Stage.IDLE
        entry.due_ns = 0
        self._queue.append(entry)

    # losses of the whole feed

    def _check_dropped(self, check: _Check, now: Now) -> None:
        """Each event holds a message at least: fewer messages told than events dropped is not the whole truth."""
        told = self.dropped - check.before
        if told < check.dropped:
            self.untold += check.dropped - told
            sentence = (
                f"{check.dropped} events were dropped, but of {told} messages only is said whose"
            )
            self._lose_all(sentence, check.since_ns, now)

    def _lose_all(self, sentence: str, since_ns: int, now: Now) -> None:
        self._tell("data loss", f"{sentence}; new images are asked for", now)
        self.decoder.lost_all(self.touches(), now.wall_ns, GapReason.VENDOR_SKIPPED, since_ns)
        for entry in self:
            if entry.stage in _ON and entry.stage is not Stage.INACTIVE:
                self._wake_in(entry, self._spread_ns(), now)

    # times

    def _wake_in(self, entry: Followed, pause_ns: int, now: Now) -> None:
        entry.due_ns = now.monotonic_ns + max(0, pause_ns)
        self._serial += 1
        heapq.heappush(self._wakes, (entry.due_ns, self._serial, entry))

    def _patience_ns(self, entry: Followed) -> int:
        """How long to wait for an image: longer after each that did not come."""
        return min(self._image_wait_ns << min(entry.repaints, 12), MOST_IMAGE_S * NS)

    def _spread_ns(self) -> int:
        return int(SPREAD_S * NS * self._chance())


_LOST: Final[dict[GapReason, str]] = {
    GapReason.VENDOR_SKIPPED: "Bloomberg says that data are lost; a new image is asked for",
    GapReason.CORRUPT: "a message could not be read; a new image is asked for",
}
