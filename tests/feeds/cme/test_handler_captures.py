"""Real packets through the handler: the same ticks from either line, and those of an independent
decoder's entries.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mdfeedd.feeds.capture import CaptureReader
from mdfeedd.feeds.cme.codec import Feed, Handler
from mdfeedd.tick import GAP, PRICE_UNDEF, QUOTE, STATISTIC, TRADE, Flag, Kind

if TYPE_CHECKING:
    from pathlib import Path

V6 = "Mdp3.Sbe.v1.6_Cme.Mdp3.Sbe.v6.1.pcap"
V8 = {  # holes and missing sequence numbers of each line
    "Mdp3.Sbe.v1.8_MdIncrementalRefreshSessionStatistics.pcap": (115, 4_681),
    "Mdp3.Sbe.v1.8_MdIncrementalRefreshVolume.pcap": (55, 4_017),
}
STATISTICS = {"e": 10_001, "4": 1, "7": 5, "8": 4, "N": 8, "O": 7}
NULL_COUNT = 2**31 - 1


def read(path: Path) -> list[tuple[int, int, bytes]]:
    """(time, side, payload) of a capture with two lines; the lower port is A."""
    with CaptureReader(path) as reader:
        packets = [(p.ts_ns or 0, p.destination_port, p.payload) for p in reader.packets()]
    ports = sorted({port for _, port, _ in packets})
    return [(ts_ns, ports.index(port), payload) for ts_ns, port, payload in packets]


class Run:
    """One handler, fed with one or both sides of a capture."""

    def __init__(
        self, packets: list[tuple[int, int, bytes]], sides: str = "AB", **options: Any
    ) -> None:
        self.handler = Handler(max_instruments=1024, **options)
        self.handler.add_channel(340)
        lines = {
            "AB".index(side): self.handler.add_line(340, Feed.INCREMENTAL, "AB".index(side))
            for side in sides
        }
        for ts_ns, side, payload in packets:
            if side in lines:
                self.handler.packet(lines[side], payload, ts_ns, ts_ns)
        if packets:
            self.handler.timer(packets[-1][0] + 10**9)
        self.ticks = self.handler.take_ticks()
        self.lines = lines

    @property
    def comparable(self) -> bytes:
        """The ticks without the time of arrival."""
        ticks = self.ticks.copy()
        ticks["ts_recv"] = 0
        return ticks.tobytes()

    def of(self, kind: Kind, dtype: Any) -> Any:
        return self.ticks[self.ticks["kind"] == kind].view(dtype)

    def symbols(self) -> dict[int, int]:
        """Security ids by instrument id."""
        handler = self.handler
        return {handler.book(340, sid).instrument_id: sid for sid in handler.security_ids(340)}


@pytest.fixture(scope="module")
def v6(cme_data: Path) -> list[tuple[int, int, bytes]]:
    return read(cme_data / "captures" / V6)


@pytest.fixture(scope="module")
def oracle(cme_data: Path) -> list[dict[str, str]]:
    names = (
        "channel",
        "seq",
        "sending",
        "message",
        "template",
        "version",
        "time",
        "mei",
        "group",
        "entry",
        "sid",
        "rpt",
        "price",
        "size",
        "orders",
        "level",
        "action",
        "type",
        "extra",
    )
    file = cme_data / "oracle" / V6.replace(".pcap", ".entries.csv.gz")
    text = io.StringIO(gzip.decompress(file.read_bytes()).decode())
    return [dict(zip(names, row, strict=False)) for row in csv.reader(text)]


def mantissa(text: str) -> int:
    """The price in 1e-9 of the oracle's {'mantissa': M, 'exponent': -7}."""
    return int(text.split(":")[1].split(",", maxsplit=1)[0]) * 100


def test_either_line_alone_and_both_give_the_same_ticks(v6: Any) -> None:
    runs = {sides: Run(v6, sides) for sides in ("A", "B", "AB")}
    assert len(runs["AB"].ticks) > 7_500
    assert runs["A"].comparable == runs["B"].comparable == runs["AB"].comparable
    counts = runs["AB"].handler.counts
    assert (counts["packets"], counts["duplicates"]) == (10_000, 5_000)
    for name in (
        "gaps",
        "lost",
        "late",
        "mismatches",
        "malformed",
        "unknown",
        "rpt_faults",
        "misplaced",
    ):
        assert counts[name] == 0, name
    for run in runs.values():
        for line in run.lines.values():
            assert run.handler.line_counts(line)["lost"] == 0


def test_packet_by_packet_from_either_line(v6: Any) -> None:
    """Every packet from one line only, by turns: what the lines have is the same, so it makes no
    difference.
    """
    seqs = {(side, struct.unpack_from("<I", payload)[0]): (ts, payload) for ts, side, payload in v6}
    mixed = [
        (*seqs[seq % 3 == 0, seq][:1], int(seq % 3 == 0), seqs[seq % 3 == 0, seq][1])
        for seq in range(5615, 10_615)
    ]
    assert Run(mixed).comparable == Run(v6).comparable


def test_events_and_boundaries(v6: Any, oracle: Any) -> None:
    """As many events as the oracle has ends, and of their ticks the last one alone says so."""
    run = Run(v6)
    ends = {(row["seq"], row["message"]) for row in oracle if row["mei"] and int(row["mei"]) & 0x80}
    assert len(ends) == run.handler.counts["ended_events"] == 4_781
    told = Counter(run.ticks["venue_seq"][(run.ticks["flags"] & Flag.EVENT_END) != 0].tolist())
    by_packet = Counter(int(seq) for seq, _ in ends)
    assert all(told[seq] <= by_packet[seq] for seq in told)


def test_trades_are_those_of_the_oracle(v6: Any, oracle: Any) -> None:
    run = Run(v6)
    names = run.symbols()
    trades = [
        (
            int(t["venue_seq"]),
            int(t["ts_event"]),
            names[int(t["instrument_id"])],
            int(t["price"]),
            int(t["size"]),
            int(t["count"]),
            int(t["side"]),
            int(t["trade_id"]),
        )
        for t in run.of(Kind.TRADE, TRADE)
    ]
    expected = [
        (
            int(row["seq"]),
            int(row["time"]),
            int(row["sid"]),
            mantissa(row["price"]),
            int(row["size"]),
            int(row["orders"]),
            int(row["extra"].split("|")[0]),
            0,
        )  # MDTradeEntryID came with version 8
        for row in oracle
        if row["template"] == "42" and row["group"] == "no_md_entries"
    ]
    assert len(trades) > 300
    assert trades == expected


def test_statistics_are_those_of_the_oracle(v6: Any, oracle: Any) -> None:
    run = Run(v6)
    names = run.symbols()
    statistics = [
        (
            int(s["venue_seq"]),
            int(s["ts_event"]),
            names[int(s["instrument_id"])],
            int(s["type"]),
            int(s["price"]),
            int(s["quantity"]),
        )
        for s in run.of(Kind.STATISTIC, STATISTIC)
    ]
    expected = []
    for row in oracle:
        if row["group"] != "no_md_entries" or row["template"] not in ("35", "37"):
            continue
        volume = row["template"] == "37"
        kind = STATISTICS["e" if volume else row["type"]]
        if kind == 1 and row["extra"] == "5":
            kind = 2
        price = PRICE_UNDEF if volume else mantissa(row["price"])
        quantity = int(row["size"]) if volume else PRICE_UNDEF  # Size of 35 came with version 8
        expected.append((int(row["seq"]), int(row["time"]), int(row["sid"]), kind, price, quantity))
    assert len(statistics) > 800
    assert statistics == expected


DEPTH = {"0": 10, "1": 10, "E": 2, "F": 2}


class Book:
    """Two lists a side, by the rules of the note and nothing else."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[int, int] | None]] = {
            side: [None] * n for side, n in DEPTH.items()
        }
        self.told = {False: (None, None), True: (None, None)}

    def apply(self, row: dict[str, str]) -> None:
        side, action, at = row["type"], int(row["action"]), int(row["level"]) - 1
        rows = self.rows[side]
        level = (
            mantissa(row["price"]),
            int(row["size"]),
            0 if int(row["orders"]) == NULL_COUNT else int(row["orders"]),
        )
        if action == 0:
            rows.insert(at, level)  # type: ignore[arg-type]
            rows.pop()
        elif action == 1:
            rows[at] = level  # type: ignore[call-overload]
        else:
            assert action == 2
            rows.pop(at)
            rows.append(None)

    def changed(self, implied: bool) -> tuple[Any, ...] | None:
        bid, ask = (self.rows[side][0] for side in ("EF" if implied else "01"))
        before, self.told[implied] = self.told[implied], (bid, ask)
        return None if before == (bid, ask) else (bid, ask)


def rebuilt(oracle: list[dict[str, str]]) -> list[tuple[Any, ...]]:
    """(MsgSeqNum, security id, implied, bid, bid size, ask, ask size) at each end of an event, from
    the oracle's entries; the order within an event is that in which its instruments changed.
    """
    books: dict[int, Book] = {}
    touched: dict[int, None] = {}
    quotes = []
    for at, row in enumerate(oracle):
        if row["template"] == "32" and row["group"] == "no_md_entries":
            book = books.setdefault(int(row["sid"]), Book())
            book.apply(row)
            touched[int(row["sid"])] = None
        following = oracle[at + 1] if at + 1 < len(oracle) else None
        same = following and (following["seq"], following["message"]) == (
            row["seq"],
            row["message"],
        )
        if not row["mei"] or not int(row["mei"]) & 0x80 or same:
            continue
        for sid in touched:
            for implied in (False, True):
                touch = books[sid].changed(implied)
                if touch is not None:
                    flat = [part for side in touch for part in (side or (PRICE_UNDEF, 0, 0))[:2]]
                    quotes.append((int(row["seq"]), sid, implied, *flat))
        touched.clear()
    return quotes


def test_quotes_are_those_of_a_book_of_forty_lines(v6: Any, oracle: Any) -> None:
    """The touch, outright and implied, at each event's end. The capture joins in mid-week, so
    nothing but what updates tell is known of a book, on either side of the comparison.
    """
    run = Run(v6)
    names = run.symbols()
    quotes = [
        (
            int(q["venue_seq"]),
            names[int(q["instrument_id"])],
            bool(int(q["flags"]) & Flag.IMPLIED),
            int(q["bid_price"]),
            int(q["bid_size"]),
            int(q["ask_price"]),
            int(q["ask_size"]),
        )
        for q in run.of(Kind.QUOTE, QUOTE)
    ]
    assert len(quotes) > 4_000
    assert quotes == rebuilt(oracle)


def test_no_unflagged_quote_before_both_sides_are_known(v6: Any) -> None:
    """Joined in mid-week: without a snapshot a touch is right only when updates have told both its
    levels.
    """
    run = Run(v6, natural_refresh=False)
    starts_at_one = {
        sid for sid in run.handler.security_ids(340) if not run.handler.book(340, sid).stale
    }
    names = run.symbols()
    for tick in run.of(Kind.QUOTE, QUOTE):
        assert (
            bool(tick["flags"] & Flag.STALE) or names[int(tick["instrument_id"])] in starts_at_one
        )


def missing_of(packets: Any, side: int) -> list[tuple[int, int]]:
    """Holes of a line, from the sequence numbers of its packets."""
    seqs = [struct.unpack_from("<I", payload)[0] for _, s, payload in packets if s == side]
    assert seqs == sorted(seqs)
    return [(a + 1, b - 1) for a, b in itertools.pairwise(seqs) if b > a + 1]


@pytest.mark.parametrize("name", V8)
@pytest.mark.parametrize("sides", ["A", "B", "AB"])
def test_filtered_captures_report_exactly_their_holes(
    cme_data: Path, name: str, sides: str
) -> None:
    packets = read(cme_data / "captures" / name)
    holes = missing_of(packets, 0)
    assert holes == missing_of(packets, 1)
    assert (len(holes), sum(last - first + 1 for first, last in holes)) == V8[name]
    run = Run(packets, sides, max_wait_ns=1_000_000)
    gaps = run.of(Kind.GAP, GAP)
    assert [(int(g["first_missing"]), int(g["last_missing"])) for g in gaps] == holes
    assert (run.handler.counts["gaps"], run.handler.counts["lost"]) == V8[name]
    assert run.handler.counts["malformed"] == 0
    assert set(gaps["line"].tolist()) == {340}


@pytest.mark.parametrize("name", V8)
def test_filtered_captures_give_the_same_ticks_from_either_line(cme_data: Path, name: str) -> None:
    packets = read(cme_data / "captures" / name)
    runs = [Run(packets, sides) for sides in ("A", "B", "AB")]
    assert runs[0].comparable == runs[1].comparable == runs[2].comparable
    kinds = Counter(runs[0].ticks["kind"].tolist())
    assert kinds[Kind.STATISTIC] > 50
    assert kinds[Kind.STATUS] > 0 or not runs[0].handler.definitions()


def test_single_packets_of_version_5(cme_data: Path) -> None:
    """Old templates of 2015: each is decoded, none is malformed, the capture's nonsense time harms
    nobody.
    """
    told: dict[str, Counter[int]] = {}
    for path in sorted((cme_data / "captures/v5").glob("*.pcap")):
        packets = read(path)
        assert len(packets) == 1
        run = Run(packets, "A")
        assert run.handler.counts["malformed"] == run.handler.counts["unknown"] == 0
        told[path.stem.split("_")[1]] = Counter(run.ticks["kind"].tolist())
    assert told["MdIncrementalRefreshTradeSummary"][Kind.TRADE] == 1
    assert told["MdIncrementalRefreshVolume"][Kind.STATISTIC] == 1
    assert (
        told["MdIncrementalRefreshSessionStatistics"][Kind.STATISTIC] == 4
    )  # one volume, three prices
    assert told["MdIncrementalRefreshBook"][Kind.QUOTE] >= 1
    assert told["MdInstrumentDefinitionSpread"][Kind.DEFINITION] == 5


def test_definitions_of_version_5_by_their_line(cme_data: Path) -> None:
    (packet,) = read(next((cme_data / "captures/v5").glob("*Definition*.pcap")))
    handler = Handler(max_instruments=64)
    handler.add_channel(310)
    handler.packet(handler.add_line(310, Feed.DEFINITION, 0), packet[2])
    assert len(handler.definitions()) == 5
    assert len(handler.take_ticks()) == 5
    assert all(one.symbol and one.tick_size > 0 for one in handler.definitions())


def test_times_of_arrival_are_those_of_the_first_copy(v6: Any) -> None:
    first: dict[int, int] = {}
    for ts_ns, _, payload in v6:
        first.setdefault(struct.unpack_from("<I", payload)[0], ts_ns)
    ticks = Run(v6).ticks
    late = np.array([first[seq] for seq in ticks["venue_seq"].tolist()])
    assert (ticks["ts_recv"] == late).all()
