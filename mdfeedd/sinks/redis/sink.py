"""`RedisSink`: batches in, scripts and published ticks out; see the package for what is kept where."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from mdfeedd.ring import Position
from mdfeedd.ring.arrow import distinct_ids
from mdfeedd.sinks.jsontext import JsonText
from mdfeedd.sinks.packed import pack_header
from mdfeedd.sinks.protocol import Sink, SinkBatch, SinkError, SinkProgress, refuse_other_records
from mdfeedd.sinks.redis.audience import Audience
from mdfeedd.sinks.redis.last import last_values
from mdfeedd.sinks.redis.names import INSTRUMENTS_KEEP_S, RingNames, channel
from mdfeedd.sinks.redis.options import RedisOptions
from mdfeedd.sinks.redis.scripts import LOOK, STORE, VERSION
from mdfeedd.sinks.redis.store import Store
from mdfeedd.sinks.redis.wire import Wire
from mdfeedd.tick import BAR, TICK, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from mdfeedd.ring import Instrument

    Records = npt.NDArray[np.void]

__all__ = ["RedisSink"]

log: logging.Logger = logging.getLogger("mdfeedd.sinks.redis")

CALL_RECORDS: Final = 8192  # in one script, which the server runs while everybody waits
TICKS_RECORDS: Final = 2048  # encoded at a time, while the server publishes those before
PING_S: Final = 2.0  # how often a server that is not written to is asked whether it is there
#: Kinds that have channels; the others are of no use to who sees single symbols.
_TOLD_KINDS: Final = (
    *(Kind.QUOTE, Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION),
    *(Kind.STATUS, Kind.GAP, Kind.RECOVERED, Kind.CLEAR),
)
_LAST_KINDS: Final = (Kind.QUOTE, Kind.TRADE, Kind.CLEAR)


@dataclass(slots=True)
class _Count:
    """What became of the records of one sequence space. `seq`: up to where they are counted."""

    seq: int
    safe_seq: int = 0
    stored: int = 0
    repeated: int = 0
    skipped: int = 0
    stored_bytes: int = 0


@dataclass(slots=True)
class _Ring:
    """One ring. generation, ring_id, epoch, seq: the position that the store has confirmed."""

    name: str
    names: RingNames
    token: str
    token_before: str
    generation: int
    ring_id: str
    epoch: int
    seq: int
    least_generation: int  # that the stream's ids allow
    connection: int  # when the position was looked at last; see `Store.connections`
    unsure: bool = False  # a call failed: what became of it must be looked at
    told: tuple[str, int] = ("", 0)  # ring_id and seq up to which ticks are published
    instruments: dict[int, Instrument | None] = field(
        default_factory=dict
    )  # as the store knows them


class RedisSink:
    """A sink of the batch consumer.

    Raises `SinkError`: not retriable when the package redis is missing, for records that are neither
    ticks nor bars, when another writer has taken the ring over, when the server has lost what it had
    confirmed (the process that starts again reads on from what there is), and for keys of a newer
    version; retriable for anything else, a wrong password included.
    """

    Options: ClassVar[type[Any]] = RedisOptions
    keeps_positions: ClassVar[bool] = True

    def __init__(
        self,
        options: RedisOptions,
        name: str = "",
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._owner = f"{name or 'unnamed'} ({socket.gethostname()}, pid {os.getpid()})"
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._store = Store(options)
        self._audience = Audience(self._store)
        self._rings: dict[str, _Ring] = {}
        self._counts: dict[str, _Count] = {}
        self._text = JsonText(partial(channel, options.prefix))
        self._wire: Wire | None = None
        self._next_ping = 0.0
        self._closed = False

    # --------------------------------------------------------------------------------- the protocol

    def position(self, ring: str) -> Position | None:
        """How far the store has the ring; takes it over from whoever wrote it before."""
        state = self._ring(ring)
        if not state.ring_id:
            return None
        return Position(state.ring_id, state.seq, state.epoch)

    def write(self, batch: SinkBatch) -> None:
        """Store a batch and tell it, in parts; a retry goes on behind the part that was stored."""
        refuse_other_records(batch, "this sink does not know them")
        if self._closed:
            raise SinkError("the sink is closed", retriable=False)
        if not len(batch.records):
            return
        ring = self._ring(batch.ring)
        count = self._count(batch)
        for part in self._new_parts(ring, batch, count):
            self._store_part(ring, batch, part, count)
            self._tell(ring, batch, int(part["seq"][-1]), count)
        self._tell(ring, batch, int(batch.records["seq"][-1]), count)
        self._next_ping = self._monotonic() + PING_S

    def housekeep(self) -> None:
        """See that the server is there and has what it had, and who was cut off."""
        now = self._monotonic()
        if now >= self._next_ping and self._rings:
            self._next_ping = now + PING_S
            self._store.call("PING")
            for ring in self._rings.values():
                self._look(ring)
        if self._rings and {"publish", "ticks"} & set(self._options.modes):
            self._audience.watch(now)

    def flush(self) -> None:
        """Nothing waits: what `write` took is confirmed."""

    def progress(self, ring_id: str) -> SinkProgress:
        """How far the records of one ring are."""
        count = self._counts.get(ring_id)
        if count is None:
            return SinkProgress()
        return SinkProgress(
            safe_seq=count.safe_seq,
            stored_records=count.stored,
            repeated_records=count.repeated,
            skipped_records=count.skipped,
            stored_bytes=count.stored_bytes,
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._closed = True
        self._store.close()
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    # --------------------------------------------------------------------------------- the position

    def _ring(self, name: str) -> _Ring:
        """The ring's state, as the store has it: taken over at first, looked at when in doubt."""
        ring = self._rings.get(name)
        if ring is None:
            ring = self._rings[name] = self._take(name)
        else:
            self._look(ring)
        return ring

    def _take(self, name: str) -> _Ring:
        names = RingNames.of(self._options.prefix, name)
        token = secrets.token_hex(8)
        found = self._asked(names, name, token)
        ring = _Ring(
            name=name,
            names=names,
            token=token,
            token_before=found.token,
            generation=found.generation,
            ring_id=found.ring_id,
            epoch=found.epoch,
            seq=found.seq,
            least_generation=found.least_generation,
            connection=self._store.connections,
            told=(found.ring_id, found.seq),
        )
        has = f"it up to {ring.seq}" if ring.ring_id else "nothing of it yet"
        log.info("ring '%s': redis %s has %s", name, self._store.address, has)
        return ring

    def _asked(self, names: RingNames, name: str, token: str) -> _Found:
        reply = self._store.script(
            LOOK,
            [names.position, names.stream],
            [VERSION, token, self._owner],
            f"keys {names.position} and {names.stream}",
        )
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in reply]
        if words[0] and int(words[0]) > VERSION:
            raise SinkError(
                f"redis {self._store.address}: ring '{name}' was written by a newer version of "
                f"mdfeedd ({names.position} has v {words[0]}, this writes {VERSION})",
                retriable=False,
            )
        least = int(words[6]) + 1 if len(words) > 6 else 0
        numbers = [int(word or 0) for word in (words[2], words[4], words[5])]
        return _Found(words[1], numbers[0], words[3], numbers[1], numbers[2], least)

    def _look(self, ring: _Ring) -> None:
        """Compare the store's position with ours, if a call or a connection has failed since."""
        if not ring.unsure and ring.connection == self._store.connections:
            return
        found = self._asked(ring.names, ring.name, "")
        there, ours = (found.generation, found.seq), (ring.generation, ring.seq)
        if found.token not in {"", ring.token, ring.token_before}:
            raise self._fenced(ring)
        if there < ours:
            raise self._lost_tail(ring, str(found.seq) if found.token else "nothing")
        if found.token != ring.token:  # it lost that we had taken the ring over, and no more
            ring.token_before, ring.token = found.token, secrets.token_hex(8)
            found = self._asked(ring.names, ring.name, ring.token)
        ring.generation, ring.seq = there
        ring.ring_id, ring.epoch = found.ring_id, found.epoch
        ring.least_generation = found.least_generation
        ring.connection = self._store.connections
        ring.unsure = False

    def _fenced(self, ring: _Ring) -> SinkError:
        owner = self._store.call("HGET", ring.names.position, "owner")
        who = owner.decode("utf-8", "replace") if isinstance(owner, bytes) else str(owner)
        return SinkError(
            f"redis {self._store.address}: another writer has taken over ring '{ring.name}': "
            f"{who}; two need two prefixes",
            retriable=False,
        )

    def _lost_tail(self, ring: _Ring, there: str) -> SinkError:
        return SinkError(
            f"redis {self._store.address} has lost its tail of ring '{ring.name}': it had "
            f"confirmed {ring.seq} and has {there}: beginning again from what it has",
            retriable=False,
        )

    # ---------------------------------------------------------------------------------- the records

    def _count(self, batch: SinkBatch) -> _Count:
        count = self._counts.get(batch.ring_id)
        if count is None:
            count = self._counts[batch.ring_id] = _Count(int(batch.records["seq"][0]) - 1)
        return count

    def _new_parts(self, ring: _Ring, batch: SinkBatch, count: _Count) -> Iterator[Records]:
        """What the store does not have yet, in parts; the rest is counted as repeated."""
        records = batch.records
        start = 0
        if ring.told[0] != batch.ring_id:
            ring.told = (batch.ring_id, count.seq)
        if ring.ring_id == batch.ring_id:
            seq = records["seq"]
            start = _behind(seq, ring.seq)
            again = start - _behind(seq, count.seq)
            if again > 0:
                count.stored += again
                count.repeated += again
            if start:
                count.seq = max(count.seq, int(seq[start - 1]))
                count.safe_seq = max(count.safe_seq, count.seq)
        for at in range(start, len(records), CALL_RECORDS):
            yield records[at : at + CALL_RECORDS]

    def _store_part(self, ring: _Ring, batch: SinkBatch, part: Records, count: _Count) -> None:
        """One script: records, instruments, last values and the position, together."""
        last = int(part["seq"][-1])
        same = (ring.ring_id, ring.epoch) == (batch.ring_id, batch.epoch)
        generation = ring.generation
        if not same or ring.least_generation > generation:
            now_ms = self._clock_ns() // 1_000_000
            generation = max(now_ms, ring.generation + 1, ring.least_generation)
        before = ring.seq if ring.ring_id == batch.ring_id else 0
        news = self._news(ring, batch, part)
        keys, args, sent = self._arguments(
            ring, batch, part, generation=generation, before=before, news=news
        )
        ring.unsure = True
        done = self._store.script(STORE, keys, args, f"keys {ring.names.position} and others")
        if not done:
            self._look(ring)  # raises, unless an earlier call of ours was late
            raise SinkError(
                f"redis {self._store.address}: ring '{ring.name}' has gone on to {ring.seq}",
                retriable=True,
            )
        left = ring.ring_id if ring.ring_id != batch.ring_id else ""
        ring.generation, ring.ring_id, ring.epoch = generation, batch.ring_id, batch.epoch
        ring.seq = count.seq = count.safe_seq = last
        ring.unsure = False
        ring.instruments = news if left else ring.instruments | news
        stored = self._wanted(part)
        count.stored += stored
        count.skipped += len(part) - stored
        count.stored_bytes += sent
        if left:
            self._store.call("EXPIRE", ring.names.instruments(left), INSTRUMENTS_KEEP_S)

    def _wanted(self, part: Records) -> int:
        """How many of the records go anywhere."""
        modes = set(self._options.modes)
        if part.dtype == BAR or modes & {"stream", "publish"}:
            return len(part)
        kinds = _TOLD_KINDS if "ticks" in modes else _LAST_KINDS
        return int(np.isin(part["kind"], kinds).sum())

    def _news(self, ring: _Ring, batch: SinkBatch, part: Records) -> dict[int, Instrument | None]:
        """The part's instruments that the store does not know, or knows otherwise."""
        if not {"stream", "publish"} & set(self._options.modes):
            return {}
        known = ring.instruments if ring.ring_id == batch.ring_id else {}
        unique, _ = distinct_ids(part["instrument_id"])
        found = {i: batch.instruments.get(i) for i in unique.tolist() if i}
        return {i: one for i, one in found.items() if one is not None and known.get(i) is not one}

    def _arguments(
        self,
        ring: _Ring,
        batch: SinkBatch,
        part: Records,
        *,
        generation: int,
        before: int,
        news: dict[int, Instrument | None],
    ) -> tuple[list[str], list[Any], int]:
        """Keys and arguments of `STORE`, and the bytes of records in them."""
        options, names = self._options, ring.names
        modes = set(options.modes)
        messages: list[Any] = []
        previous = before
        if modes & {"stream", "publish"}:
            for at in range(0, len(part), options.packed_records):
                some = part[at : at + options.packed_records]
                header = pack_header(batch.ring_id, batch.epoch, previous, some)
                previous = int(some["seq"][-1])
                data = np.ascontiguousarray(some).view(np.uint8).data
                messages += [int(some["seq"][0]), previous, len(some), header, data]
        texts = [
            word
            for i, one in news.items()
            for word in (i, json.dumps(dataclasses.asdict(one)) if one is not None else "")
        ]
        last = []
        if "last" in modes:
            last = last_values(part, batch.instruments, names.last)
        fresh = not ring.generation
        args = [
            ring.token,
            "" if fresh else ring.generation,
            "" if fresh else ring.seq,
            generation,
            batch.ring_id,
            batch.epoch,
            int(part["seq"][-1]),
            int(part["seq"][0]) - 1,
            options.stream_maxlen if "stream" in modes else "",
            names.packed if "publish" in modes else "",
            len(messages) // 5,
            len(texts) // 2,
            json.dumps([words for _, words in last]),
            *messages,
            *texts,
        ]
        keys = [names.position, names.stream, names.instruments(batch.ring_id)]
        sent = len(part) * part.dtype.itemsize if messages else 0
        return [*keys, *(key for key, _ in last)], args, sent

    # ------------------------------------------------------------------------------------ the ticks

    def _tell(self, ring: _Ring, batch: SinkBatch, upto: int, count: _Count) -> None:
        """Publish the records up to a sequence number one by one, if that is wanted."""
        if "ticks" not in self._options.modes or ring.told[1] >= upto:
            return
        seq = batch.records["seq"]
        records = batch.records[_behind(seq, ring.told[1]) : _behind(seq, upto)]
        if records.dtype == TICK:
            wanted = np.isin(records["kind"], _TOLD_KINDS)
            if not wanted.all():  # copied whole: numpy would copy named fields one by one
                records = records.view(f"V{TICK.itemsize}")[wanted].view(TICK)
        if self._wire is None:
            self._wire = Wire(self._options, self._store.secret())
        try:
            for at in range(0, len(records), TICKS_RECORDS):
                some = records[at : at + TICKS_RECORDS]
                commands, _ = self._text.lines(some, batch.instruments)
                self._wire.send(commands, len(some))
                count.stored_bytes += len(commands)
            self._wire.settle()
        except SinkError:
            self._wire = None
            raise
        ring.told = (batch.ring_id, upto)


def _behind(seq: npt.NDArray[np.uint64], position: int) -> int:
    """Index of the first of these sequence numbers behind a position."""
    return int(np.searchsorted(seq, np.uint64(position), "right"))  # a plain int makes them floats


@dataclass(frozen=True, slots=True)
class _Found:
    """What `LOOK` answers."""

    token: str
    generation: int
    ring_id: str
    epoch: int
    seq: int
    least_generation: int


if TYPE_CHECKING:
    _conforms: type[Sink] = RedisSink
