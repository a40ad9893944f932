"""`MultiReader`: several rings read as one."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from mdfeedd.ring import reader as ring_reader
from mdfeedd.ring import segment
from mdfeedd.ring._ring import STATE_LIVE, wait_any
from mdfeedd.ring.stream import end_of
from mdfeedd.strategy.batch import MultiBatch
from mdfeedd.strategy.last import LastValues, look_back
from mdfeedd.strategy.merge import Merger
from mdfeedd.strategy.merged import MergedInstruments
from mdfeedd.strategy.reader import Waiting
from mdfeedd.strategy.symbols import symbol_map
from mdfeedd.tick import TICK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mdfeedd.ring.reader import OnOverrun, Start
    from mdfeedd.strategy.merge import Order, Released
    from mdfeedd.strategy.symbols import SymbolMap

__all__ = ["HOLD_S", "MAX_FEEDS", "MAX_HOLD_S", "MultiReader"]

MAX_FEEDS: Final = 64
"""Rings of one reader; a kernel's wait takes 128."""
HOLD_S: Final = 0.1
"""How long order "venue" waits for a feed that is silent, unless told otherwise."""
MAX_HOLD_S: Final = 10.0
_READ_RECORDS: Final = 4096
"""What has to wait is read in pieces of so many at least, however few `read` is asked for."""
_FULL_TURN: Final = 64
"""Once in so many reads all rings are looked at, though only one of them has something."""
_SLICE_S: Final = 0.1
"""A blocking read looks at signals, and at the rings' names, this often."""
_LOOK_S: Final = 1.0
"""While some rings bring records, the names of the others are looked at this often: another ring may have one."""


class MultiReader(Waiting[MultiBatch]):
    """Attach to several rings of ticks, and read them as one stream: ``Reader(["cme", "databento"])``.

    names: 1 to `MAX_FEEDS` rings, each once; the index of a record's feed is its place here.
    order: "recv" merges by `ts_recv`, "venue" by the venue's `ts_event`. The records of one feed stay in its ring's
        order whatever their times say, so a GAP comes before what it tells of.
    hold_s: how long a record waits, at most, for those before it in time that other feeds may bring: 0 with "recv"
        (what is there is merged, nothing is held), 0.1 with "venue" unless told otherwise, at most 10. A record that
        comes after later ones have gone is given out at once, and counted: `late`.
    symbols: which instruments are one, for `last`: a mapping ``{"ESZ4": {"databento": "ESZ4", "cme": "ESZ4",
        "bloomberg": "ESZ4 Index"}}`` by the names of the rings, or the path of an mdfeedd.yaml that has it.
    start, consumer, wait, follow, spin, on_overrun, directory: as of `Reader`, for each ring.

    Raises what `Reader` raises, `ValueError` for options that cannot be, and `TypeError` for a name that is no list.
    """

    def __init__(
        self,
        names: Sequence[str],
        start: Start = "now",
        consumer: str | None = None,
        *,
        order: Order = "recv",
        hold_s: float | None = None,
        symbols: SymbolMap | str | Path | None = None,
        wait: float = 0.0,
        follow: bool = True,
        spin: float = 20e-6,
        on_overrun: OnOverrun = "oldest",
        directory: str = segment.DEFAULT_DIRECTORY,
    ) -> None:
        self.hold_s: float = _checked(names, order, hold_s)
        self.feeds: tuple[str, ...] = tuple(names)
        """The names of the rings, by index."""
        self.order: Order = order
        self.late: int = 0
        """Records given out after later ones, since the beginning."""
        self._symbols = symbol_map(symbols)
        self._last: LastValues | None = None
        self._spin_s = spin
        self._full = False
        self._turns = 0
        self._looked_s = time.monotonic()
        deadline_s = time.monotonic() + wait
        with contextlib.ExitStack() as opened:
            self.readers: tuple[ring_reader.Reader, ...] = tuple(
                opened.enter_context(
                    ring_reader.Reader(
                        name,
                        start,
                        consumer,
                        dtype=TICK,
                        wait=max(0.0, deadline_s - time.monotonic()),
                        follow=follow,
                        spin=spin,
                        on_overrun=on_overrun,
                        directory=directory,
                    )
                )
                for name in self.feeds
            )
            """The readers of the single rings: for their lag, loss and counters; reading one takes from the whole."""
            opened.pop_all()
        self.instruments: MergedInstruments = MergedInstruments(self.readers)
        """The instruments of all feeds, by ids that are unique over them."""
        self._merger = Merger(len(self.feeds), order, self.hold_s)
        self._rings = [reader.ring_id for reader in self.readers]

    @property
    def closed(self) -> bool:
        """Has `close` been called?"""
        return self.readers[0].closed

    @property
    def lost(self) -> int:
        """Records lost since this reader began, of all feeds."""
        return sum(reader.lost for reader in self.readers)

    @property
    def lag(self) -> int:
        """Records published and not yet given out, of all feeds; those that are held count."""
        return self._merger.held + sum(reader.lag for reader in self.readers)

    @property
    def held(self) -> int:
        """Records that wait for others; 0 with ``hold_s=0``, but for what `read` did not have room for."""
        return self._merger.held

    @property
    def ended(self) -> bool:
        """All writers have closed their rings or are gone, and everything they wrote is given out."""
        return not self._merger.held and all(reader.ended for reader in self.readers)

    def stop_waiting(self) -> bool:
        """A reader that does not follow stops when all rings have ended."""
        return not self._merger.held and all(reader.stop_waiting() for reader in self.readers)

    @property
    def last(self) -> LastValues:
        """The last values of each instrument, as of the batches given out; see `Reader.last`.

        A symbol that several feeds have, or that ``symbols=`` maps, is one `Book` with the best bid and ask over them.
        """
        if self._last is None:
            last = LastValues(self.instruments, self.feeds, self._symbols)
            for member, reader in enumerate(self.readers):
                before = self._merger.first_held_seq(member) or reader.next_seq
                look_back(last.table, reader, member, before, self.instruments)
            self._last = last
        return self._last

    def read(self, max_records: int = 4096, timeout: float | None = None) -> MultiBatch:
        """Up to `max_records` records; waits for the first for `timeout` seconds (None: for ever, 0: not).

        Returns an empty batch at timeout, and when all rings have ended and this reader does not follow. A batch
        tells in `lost` what was lost; one without records can tell a loss, too. Raises `ValueError` when closed, and
        `RingOverrun` with ``on_overrun="raise"``.
        """
        if max_records < 1:
            raise ValueError(f"max_records must be at least 1, not {max_records}")
        end_s = end_of(timeout)
        spin_s = self._spin_s
        while True:
            batch = self._take(max_records)
            if len(batch) or batch.lost or self.stop_waiting():
                return batch
            left_s = _SLICE_S if end_s is None else min(_SLICE_S, end_s - time.monotonic())
            if left_s <= 0:
                return batch
            self._block(left_s, spin_s)
            spin_s = spin_s if spin_s >= 1 else 0.0

    def _take(self, max_records: int) -> MultiBatch:
        """What may go now."""
        self._turns += 1
        released = self._take_alone(max_records)
        if released is None:
            released = self._take_all(max_records)
        self._full = len(released.records) == max_records
        self.late += released.late
        if self._last is not None:
            self._watch(self._last, released)
        return MultiBatch(released, self.feeds, self.instruments)

    def _take_alone(self, max_records: int) -> Released | None:
        """What the only ring has that has something, where nothing is held: there is nothing to merge."""
        if self.hold_s > 0 or self._merger.held or self._turns % _FULL_TURN == 0:
            return None
        having = [member for member, reader in enumerate(self.readers) if reader.available]
        if len(having) != 1:
            return None
        member = having[0]
        batch = self.readers[member].read(max_records, timeout=0)
        anew = self._renewed(member)
        self.instruments.make_unique(member, batch.records)
        if not len(batch):
            self._merger.add(member, batch.records, 0.0, lost=batch.lost, anew=anew)
            return None
        return self._merger.alone(member, batch.records, lost=batch.lost, anew=anew)

    def _take_all(self, max_records: int) -> Released:
        """What all rings have, merged."""
        now_s = time.monotonic()
        self._look(now_s)
        more = [False] * len(self.readers)
        pieces = max(max_records, _READ_RECORDS) if self.hold_s > 0 else max_records
        live = [reader.state == STATE_LIVE for reader in self.readers]  # before the last is read
        for member, reader in enumerate(self.readers):
            if self._merger.wants(member, max_records):
                batch = reader.read(pieces, timeout=0)
                if len(batch) or batch.lost:
                    anew = self._renewed(member)
                    self.instruments.make_unique(member, batch.records)
                    self._merger.add(member, batch.records, now_s, lost=batch.lost, anew=anew)
            more[member] = reader.available > 0
        return self._merger.release(max_records, now_s, more, live)

    def _look(self, now_s: float) -> None:
        """Once in a while: does the name of a ring that brings nothing still mean that ring?"""
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        for reader in self.readers:
            if not reader.available:
                reader.on_idle()

    def _renewed(self, member: int) -> bool:
        """Whether a ring is another one than it was; its ids are told apart from the old one's."""
        before, self._rings[member] = self._rings[member], self.readers[member].ring_id
        if self._rings[member] == before:
            return False
        self.instruments.renew(member)
        return True

    @staticmethod
    def _watch(last: LastValues, released: Released) -> None:
        for member, (lost, anew) in enumerate(zip(released.lost, released.anew, strict=True)):
            if anew:  # another ring has its name, and perhaps other instruments its ids
                last.table.forget(member)
            if lost:
                last.table.lapped(member)
        last.table.take(released.records, released.feeds)

    def _block(self, left_s: float, spin_s: float) -> None:
        """Sleep until a ring has something, or what is held may go."""
        due_s = self._merger.due_s(time.monotonic())
        if due_s is not None:
            left_s = min(left_s, due_s)
        if left_s > 0 and wait_any(self.readers, left_s, spin_s):
            self._acknowledge()
        elif due_s is None:
            for reader in self.readers:
                reader.on_idle()

    def _acknowledge(self) -> None:
        """Of rings that have no records but a change of their writer to tell: it is seen."""
        for reader in self.readers:
            if reader.ready and not reader.available:
                reader.on_change()

    def ack(self, batch: MultiBatch) -> None:
        """Tell that everything up to the end of `batch` is safe: a reader of this name that resumes starts after it."""
        for member, reader in enumerate(self.readers):
            mine = batch.records["seq"][batch.feed == member]
            if len(mine):
                reader.ack(int(mine[-1]))

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - a bound, not a cancellation
        """Sleep until a read may give something; False after `timeout` seconds, or if the rings have ended.

        One wait for all rings: no thread for each, no polling.
        """
        from mdfeedd.ring import aio  # noqa: PLC0415 - asyncio costs a plain reader 20 ms and 5 MiB

        end_s = end_of(timeout)
        while not self._full and not any(reader.available for reader in self.readers):
            now_s = time.monotonic()
            self._acknowledge()
            due_s = self._merger.due_s(now_s)
            if due_s == 0:
                return True
            if self.stop_waiting():
                return False
            left_s = aio.IDLE_S if end_s is None else min(aio.IDLE_S, end_s - now_s)
            if left_s <= 0:
                return False
            left_s = left_s if due_s is None else min(left_s, due_s)
            if not await aio.hub().wait_any(self.readers, left_s) and due_s is None:
                for reader in self.readers:
                    if not reader.closed:
                        reader.on_idle()
        return True

    def close(self) -> None:
        """Detach from all rings and give the consumer's slots back. What is held is not given out.

        With ``start="resume"`` it comes again, if batches were acknowledged.
        """
        for reader in self.readers:
            reader.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"lag {self.lag}, lost {self.lost}, late {self.late}"
        return f"<MultiReader of {', '.join(self.feeds)} by {self.order}: {state}>"


def _checked(names: Sequence[str], order: str, hold_s: float | None) -> float:
    """The hold in seconds. Raises `ValueError` for options that cannot be, `TypeError` for one name alone."""
    if isinstance(names, str):
        raise TypeError(f"names must be a list of rings, such as [{names!r}]")
    if not 1 <= len(names) <= MAX_FEEDS:
        raise ValueError(f"names must be 1 to {MAX_FEEDS} rings, not {len(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"a ring is named twice: {', '.join(names)}")
    if order not in ("recv", "venue"):
        raise ValueError(f"order must be recv or venue, not {order!r}")
    hold_s = (HOLD_S if order == "venue" else 0.0) if hold_s is None else hold_s
    if not 0 <= hold_s <= MAX_HOLD_S:
        raise ValueError(f"hold_s must be 0 to {MAX_HOLD_S:g} seconds, not {hold_s!r}")
    return hold_s
