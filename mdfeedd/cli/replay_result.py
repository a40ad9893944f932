"""What a replay has done: counters of its rings, less what they said before, and the rows in the files."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mdfeedd.cli import invocation, stored, units
from mdfeedd.daemon.control import MAX_REASON
from mdfeedd.daemon.plan import Exit
from mdfeedd.ring import RingError
from mdfeedd.ring.inspect import RingInfo, inspect

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from mdfeedd.cli.stored import Stored
    from mdfeedd.daemon.supervisor import Supervisor

_UNUSED: Final = {
    "skipped_records": "of a kind that makes no tick",
    "unknown_records": "of a kind that is not known",
    "malformed_records": "malformed",
    "unmapped_records": "of an instrument without a symbol",
}


@dataclass(frozen=True, slots=True)
class Done:
    """How far the feed has come."""

    received_bytes: int
    records: int


@dataclass(slots=True)
class Before:
    """The rings as they were: a ring that somebody reads is continued, its counters with it."""

    rings: tuple[str, ...]
    shm_dir: str
    infos: dict[str, RingInfo]

    @classmethod
    def look(cls, rings: tuple[str, ...], shm_dir: str) -> Before:
        """Look at the rings that are there."""
        return cls(rings, shm_dir, _look(rings, shm_dir))

    def now(self) -> dict[str, RingInfo]:
        """Look again."""
        return _look(self.rings, self.shm_dir)

    def counted(self, now: dict[str, RingInfo], name: str) -> int:
        """What the feed has counted since."""
        ring = self.rings[0]
        value = now[ring].counters[name] if ring in now else 0
        return value - (self.infos[ring].counters[name] if ring in self.infos else 0)

    def published(self, now: dict[str, RingInfo], ring: str) -> int:
        """Records published into one of the rings since."""
        value = now[ring].published if ring in now else 0
        return value - (self.infos[ring].published if ring in self.infos else 0)

    def lives(self, now: dict[str, RingInfo]) -> list[tuple[str, range]]:
        """Ring ids (hex) and the epochs that began since."""
        lives = []
        for ring, info in now.items():
            before = self.infos.get(ring)
            first = 1 if before is None or before.ring_id != info.ring_id else before.epoch + 1
            lives.append((info.ring_id.hex(), range(first, info.epoch + 1)))
        return lives

    def progress(self) -> Done:
        """How far it is."""
        now = _look(self.rings[:1], self.shm_dir)
        return Done(self.counted(now, "received_bytes"), self.counted(now, "received_records"))


def _look(rings: tuple[str, ...], shm_dir: str) -> dict[str, RingInfo]:
    infos = {}
    for ring in rings:
        with contextlib.suppress(RingError):  # not made (yet)
            infos[ring] = inspect(ring, shm_dir)
    return infos


@dataclass(slots=True)
class Result:
    """All of it, taken before rings are removed."""

    before: Before
    now: dict[str, RingInfo]
    seconds: float
    stored: Stored | None = None
    stored_error: str = ""
    troubles: list[str] = field(default_factory=list)
    damaged: str = ""
    """What was read is: which of it, in words. The rest of it is replayed."""

    @classmethod
    def take(
        cls, supervisor: Supervisor, before: Before, out: Path | None, seconds: float
    ) -> Result:
        """Look at everything."""
        now = before.now()
        result = cls(before, now, seconds)
        for child in supervisor.children:
            if child.last_code == Exit.DAMAGED:
                cut = " ... (told above)" if len(child.last_words) >= MAX_REASON else ""
                result.damaged = child.last_words + cut
            elif child.restarts or child.last_code not in {0, None}:
                how = f" ({child.last_exit})"
                if child.last_code == Exit.UNAVAILABLE:  # it has logged why, in a sentence
                    how = "; see the line above"
                result.troubles.append(f"{child.label} ended early{how}")
        if out is not None:
            try:
                result.stored = stored.count(out, before.lives(now))
            except OSError as error:
                result.stored_error = str(error)
        return result

    def tell(self, arguments: argparse.Namespace, damaged_status: int) -> int:
        """Print the summary; 0 if all is as it should be, `damaged_status` if only what was read is not."""

        def counted(name: str) -> int:
            return self.before.counted(self.now, name)

        quotes, trades = counted("published_quotes"), counted("published_trades")
        others = counted("published_others")
        made = self.before.published(self.now, self.before.rings[2])
        vendor = self.before.published(self.now, self.before.rings[1])
        lost = sum(
            consumer.lost
            for info in self.now.values()
            for consumer in info.consumers
            if consumer.same_ring
        )
        files = units.of(len(arguments.paths), "file")
        read = f"read of {files}, {units.size(counted('received_bytes'))}"
        read = f"{read}, in {self.seconds:.1f} s"
        packets = counted("received_packets")
        rows = self._packet_rows(read) if packets else []
        messages = ("messages", counted("received_records"), "of packets used")
        rows += [
            messages if packets else ("records", counted("received_records"), read),
            *((_name(n), counted(n), text) for n, text in _UNUSED.items() if counted(n)),
            (
                "ticks",
                quotes + trades + others,
                ", ".join(
                    f"{units.count(n)} {kind}"
                    for n, kind in ((quotes, "quotes"), (trades, "trades"), (others, "others"))
                ),
            ),
        ]
        if vendor:
            rows.append(("vendor bars", vendor, f"in the ring {self.before.rings[1]}"))
        if arguments.bars is not None:
            rows.append(("bars", made, f"of {arguments.bars} s"))
        for ring in self.before.rings[3:]:
            if n := self.before.published(self.now, ring):
                rows.append((ring.rpartition(".")[2], n, f"in the ring {ring}"))
        rows.append(("lost", lost, "by any reader"))
        missing = self._missing({"quotes": quotes, "trades": trades, "bars": vendor + made})
        if self.stored is not None:
            all_rows = sum(self.stored.rows.values())
            nothing = (self.troubles or self.damaged) and not self.stored.files
            all_of_it = "nothing" if nothing else "all quotes, trades and bars: counted"
            rows.append(("stored", all_rows, missing or all_of_it))
        for name, n, remark in rows:
            print(f"  {name:12}{units.count(n):>14}   {remark}")
        self._tell_where(arguments)
        damaged = f"damaged, the rest is replayed: {self.damaged}" if self.damaged else ""
        for trouble in filter(None, [damaged, *self.troubles, self.stored_error]):
            print(f"\ntrouble: {trouble}")
        if lost or missing or self.troubles or self.stored_error:
            return 1
        return damaged_status if self.damaged else 0

    def _packet_rows(self, read: str) -> list[tuple[str, int, str]]:
        """What became of the packets of captures."""

        def counted(name: str) -> int:
            return self.before.counted(self.now, name)

        gaps = units.of(counted("gaps"), "gap")
        doubtful = self.now[self.before.rings[0]].counters["unproven_books"]
        rows = [
            ("packets", counted("received_packets"), read),
            ("copies", counted("duplicate_packets"), "of packets that another line had brought"),
            ("late", counted("late_packets"), "packets that came too late to be used"),
            ("malformed", counted("malformed_packets"), "packets that were not used"),
            ("missing", counted("lost_packets"), f"packets that no line has, in {gaps}"),
            ("unproven", doubtful, "books at the end: flagged STALE, for want of a snapshot"),
        ]
        return [row for row in rows if row[1] or row[0] in {"packets", "missing"}]

    def _missing(self, published: dict[str, int]) -> str:
        """What the files lack, in words; nothing if all is there."""
        if self.stored is None:
            return ""
        lack = {table: n - self.stored.rows[table] for table, n in published.items()}
        told = ", ".join(f"{units.count(n)} {table}" for table, n in lack.items() if n)
        return f"NOT ALL: missing in the files are {told}" if told else ""

    def _tell_where(self, arguments: argparse.Namespace) -> None:
        if self.stored is not None:
            if not self.stored.files:
                return
            out = arguments.out.rstrip("/") or "/"
            print(
                f"\n{units.of(len(self.stored.files), 'file')}, {units.size(self.stored.bytes)}, in "
                f"{out}/{{quotes,trades,bars}}/feed={arguments.feed}/date=YYYY-MM-DD/"
            )
        elif self.now:
            tail = f"{invocation.mdfeedd()} tail {arguments.feed} --oldest --no-follow"
            tail += invocation.shm_option(os.path.abspath(arguments.shm_dir))
            print(f"\nthe ring is still there: {tail}")


def _name(counter: str) -> str:
    return counter.removesuffix("_records")
