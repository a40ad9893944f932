"""The oracle of the feed tests: what `databento_dbn` decodes, told as ticks by rules written here anew.

Nothing in here comes from the codec under test: records are Databento's own objects, the order book is a
pair of dictionaries, names come from the oracle's metadata.
"""

# ruff: noqa: N802, TC002 - methods are named after the classes whose records they take
from __future__ import annotations

import datetime as dt
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import databento_dbn as db
import numpy as np
import pytest
import zstandard

from mdfeedd.tick import BAR, DEFINITION, IMBALANCE, QUOTE, STATISTIC, STATUS, TICK, TRADE, Kind

U64, I64, U32, I32 = 2**64 - 1, 2**63 - 1, 2**32 - 1, 2**31 - 1
TIME_UNDEF = -(2**63)
SIDES = {"B": 1, "A": 2}
PAYLOADS = {
    Kind.QUOTE: QUOTE,
    Kind.TRADE: TRADE,
    Kind.STATUS: STATUS,
    Kind.STATISTIC: STATISTIC,
    Kind.DEFINITION: DEFINITION,
    Kind.IMBALANCE: IMBALANCE,
}
ROOT = (
    Path(os.environ.get("MDFEEDD_TESTDATA", Path(__file__).parents[3] / "shared" / "data")) / "dbn"
)


class Sample(NamedTuple):
    path: Path
    version: int | None  # of a fragment
    schema: int | None


def fragment_version(path: Path) -> int | None:
    if ".frag" not in path.name:
        return None
    return next((v for v in (1, 3) if f".v{v}." in path.name), 2)


def pytest_generate_tests(metafunc: Any) -> None:
    if "sample" in metafunc.fixturenames:
        paths = sorted(p for p in ROOT.rglob("*") if ".dbn" in p.name and p.is_file())
        params = [Sample(p, fragment_version(p), None) for p in paths]
        ids = [str(p.relative_to(ROOT)) for p in paths]
        if not params:
            skip = pytest.mark.skip(reason=f"no sample data at {ROOT} (set MDFEEDD_TESTDATA)")
            params, ids = [pytest.param(None, marks=skip)], ["absent"]
        metafunc.parametrize("sample", params, ids=ids)


def plain(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw[:4] != b"\x28\xb5\x2f\xfd":
        return raw
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw), read_across_frames=True)
    return reader.read()


def time_of(value: int) -> int:
    return TIME_UNDEF if value > I64 else value


def size_of(value: int) -> int:
    return 0 if value == U32 else value


def flags_of(value: int) -> int:
    value = int(value)
    pairs = ((128, 1), (32, 2), (4, 4), (8, 64))
    return sum(ours for theirs, ours in pairs if value & theirs)


class Book:
    """Orders by id; the touch is found by looking at all of them."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[str, int, int]] = {}
        self.tops: dict[str, tuple[int, int]] = {}
        self.sound = False
        self.snapshot: Any = None
        self.told = (I64, I64, 0, 0, 0, 0)

    def apply(self, r: Any) -> None:
        side, action = str(r.side), str(r.action)
        if action == "R":
            self.orders.clear()
            self.tops.clear()
            self.sound = True
        elif action == "C":
            if r.order_id in self.orders:
                was, price, size = self.orders[r.order_id]
                if r.size >= size:
                    del self.orders[r.order_id]
                else:
                    self.orders[r.order_id] = (was, price, size - r.size)
        elif action in "AM" and side in "BA":
            if int(r.flags) & 64:
                self.orders = {k: o for k, o in self.orders.items() if o[0] != side}
                self.tops.pop(side, None)
                if r.price != I64:
                    self.tops[side] = (r.price, r.size)
            elif r.price != I64:
                self.orders[r.order_id] = (side, r.price, r.size)

    def touch(self) -> tuple[int, ...]:
        best: dict[str, tuple[int, int, int]] = {}
        for side, pick in (("B", max), ("A", min)):
            rows = [(p, s) for was, p, s in self.orders.values() if was == side]
            rows += [self.tops[side]] if side in self.tops else []
            price = pick((p for p, _ in rows), default=I64)
            sizes = [s for p, s in rows if p == price]
            best[side] = (price, sum(sizes), len(sizes))
        (bp, bs, bc), (ap, as_, ac) = best["B"], best["A"]
        return (bp, ap, bs, as_, bc, ac)


class Oracle:
    """Ticks and bars of a stream as lists of dicts."""

    def __init__(self, version: int | None = None, *, ts_out: bool = False) -> None:
        self.version = version
        self.ts_out = ts_out
        self.schema = ""
        self.ticks: list[dict[str, Any]] = []
        self.bars: list[dict[str, Any]] = []
        self.skipped = 0
        self.metadata: Any = None
        self.definitions: dict[int, str] = {}
        self.touches: dict[tuple[int, int], tuple[int, ...]] = {}
        self.books: dict[tuple[int, int], Book] = {}
        self.names: dict[int, str] = {}

    def decode(self, raw: bytes) -> Oracle:
        upgrade = db.VersionUpgradePolicy.UPGRADE_TO_V3
        if self.version is None:
            decoder = db.DBNDecoder(upgrade_policy=upgrade)
        else:
            decoder = db.DBNDecoder(
                has_metadata=False,
                input_version=self.version,
                ts_out=self.ts_out,
                upgrade_policy=upgrade,
            )
        for record in decoder.write_and_decode(raw):
            self.record(record)
        return self

    def record(self, r: Any) -> None:
        name = type(r).__name__
        if name == "Metadata":
            self.metadata = r
            self.schema = str(r.schema)
            return
        getattr(self, f"on_{name}", self.on_nothing)(r)

    def on_nothing(self, r: Any) -> None:
        self.skipped += 1

    def symbol(self, r: Any, index_ns: int) -> str:
        number = str(r.instrument_id)
        if r.instrument_id in self.names:
            return self.names[r.instrument_id]
        day = dt.datetime.fromtimestamp(index_ns // 10**9, dt.UTC).date()
        for symbol, intervals in self.metadata.mappings.items() if self.metadata else ():
            for interval in intervals:
                same = interval["symbol"] == number
                if same and interval["start_date"] <= day < interval["end_date"]:
                    return symbol
        return self.definitions.get(r.instrument_id, number)

    def add(
        self, r: Any, kind: Kind, ts_event: int, ts_recv: int, flags: int, **fields: Any
    ) -> None:
        tick = {"side": 0, "venue_seq": 0, "count": 0, "reserved": None} | fields
        tick.pop("reserved", None)
        tick |= {
            "kind": int(kind),
            "flags": flags | 512,
            "ts_event": time_of(ts_event),
            "ts_recv": time_of(ts_recv),
            "publisher_id": r.publisher_id,
            "vendor_id": r.instrument_id,
            "symbol": self.symbol(r, ts_recv if ts_recv <= I64 else ts_event),
        }
        self.ticks.append(tick)

    def trade(self, r: Any, sequence: int) -> None:
        self.add(
            r, Kind.TRADE, r.ts_event, r.ts_recv, flags_of(r.flags), side=SIDES.get(str(r.side), 0),
            venue_seq=sequence, price=r.price, size=size_of(r.size), trade_id=0,
        )  # fmt: skip

    def quote(
        self, r: Any, ts_event: int, flags: int, sequence: int, side: int, count: int
    ) -> None:
        level = r.levels[0]
        self.add(
            r, Kind.QUOTE, ts_event, r.ts_recv, flags, venue_seq=sequence, side=side,
            count=size_of(count), bid_price=level.bid_px, ask_price=level.ask_px,
            bid_size=0 if level.bid_px == I64 else size_of(level.bid_sz),
            ask_size=0 if level.ask_px == I64 else size_of(level.ask_sz),
        )  # fmt: skip

    def update(self, r: Any, *, counts: bool, changes_only: bool = False) -> None:
        action, sequence = str(r.action), r.sequence if counts else 0
        key = (r.publisher_id, r.instrument_id)
        if action == "T":
            self.trade(r, sequence)
        elif action == "R":
            self.touches.pop(key, None)
            self.add(r, Kind.CLEAR, r.ts_event, r.ts_recv, flags_of(r.flags), venue_seq=sequence)
        elif action == "F":
            self.skipped += 1
        else:
            level = r.levels[0]
            touch = ()
            if counts:
                touch = tuple(
                    getattr(level, f"{s}_{f}") for f in ("px", "sz", "ct") for s in ("bid", "ask")
                )
            if changes_only and self.touches.get(key) == touch:
                self.skipped += 1
                return
            if changes_only:
                self.touches[key] = touch
            side = SIDES.get(str(r.side), 0)
            count = (0, level.bid_ct, level.ask_ct)[side] if counts else 0
            self.quote(r, r.ts_event, flags_of(r.flags), sequence, side, count)

    def before_trade(self, r: Any, *, counts: bool) -> None:
        if str(r.action) == "T":
            sequence = r.sequence if counts else 0
            self.quote(r, r.ts_event, flags_of(r.flags) & ~1, sequence, 0, 0)
        self.update(r, counts=counts)

    def on_TradeMsg(self, r: Any) -> None:
        self.update(r, counts=True) if str(r.action) in "TR" else self.on_nothing(r)

    def on_MBP1Msg(self, r: Any) -> None:
        self.before_trade(r, counts=True) if self.schema == "tbbo" else self.update(r, counts=True)

    def on_MBP10Msg(self, r: Any) -> None:
        self.update(r, counts=True, changes_only=True)

    def on_CMBP1Msg(self, r: Any) -> None:
        tcbbo = int(r.rtype) == 0xC2
        self.before_trade(r, counts=False) if tcbbo else self.update(r, counts=False)

    def on_BBOMsg(self, r: Any) -> None:
        self.quote(r, r.ts_recv, flags_of(r.flags), r.sequence, 0, 0)

    def on_CBBOMsg(self, r: Any) -> None:
        self.quote(r, r.ts_recv, flags_of(r.flags), 0, 0, 0)

    def on_StatusMsg(self, r: Any) -> None:
        yes = {True: 1, False: 2}
        self.add(
            r, Kind.STATUS, r.ts_event, r.ts_recv, 0, state=int(r.action), reason=int(r.reason),
            trading_event=int(r.trading_event), is_trading=yes.get(r.is_trading, 0),
            is_quoting=yes.get(r.is_quoting, 0),
            is_short_sell_restricted=yes.get(r.is_short_sell_restricted, 0),
        )  # fmt: skip

    def on_StatMsg(self, r: Any) -> None:
        self.add(
            r, Kind.STATISTIC, r.ts_event, r.ts_recv, 0, venue_seq=r.sequence, price=r.price,
            quantity=r.quantity, ts_ref_s=0 if r.ts_ref == U64 else r.ts_ref // 10**9,
            type=int(r.stat_type), update_action=int(r.update_action), stat_flags=r.stat_flags,
        )  # fmt: skip

    def on_ImbalanceMsg(self, r: Any) -> None:
        self.add(
            r, Kind.IMBALANCE, r.ts_event, r.ts_recv, 0, side=SIDES.get(str(r.side), 0),
            ref_price=r.ref_price, match_price=r.ind_match_price, paired_size=size_of(r.paired_qty),
            imbalance_size=size_of(r.total_imbalance_qty),
        )  # fmt: skip

    def on_InstrumentDefMsg(self, r: Any) -> None:
        self.definitions[r.instrument_id] = r.raw_symbol
        tick = 0 if r.min_price_increment == I64 else r.min_price_increment
        self.add(
            r, Kind.DEFINITION, r.ts_event, r.ts_recv, 0, tick_size=tick,
            expiration=0 if r.expiration > I64 else r.expiration,
            action=ord(str(r.security_update_action)),
        )  # fmt: skip

    def on_SymbolMappingMsg(self, r: Any) -> None:
        self.skipped += 1
        self.names[r.instrument_id] = r.stype_out_symbol

    def on_OHLCVMsg(self, r: Any) -> None:
        seconds = {0x20: 1, 0x21: 60, 0x22: 3600, 0x23: 86400, 0x24: 86400}[int(r.rtype)]
        self.bars.append(
            {
                "ts_open": r.ts_event, "interval_s": seconds, "open": r.open, "high": r.high,
                "low": r.low, "close": r.close, "volume": r.volume, "vwap": I64, "count": 0,
                "flags": 16, "ts_first": TIME_UNDEF, "ts_last": TIME_UNDEF,
                "publisher_id": r.publisher_id, "vendor_id": r.instrument_id,
                "symbol": self.symbol(r, r.ts_event),
            }
        )  # fmt: skip

    def on_MBOMsg(self, r: Any) -> None:
        book = self.books.setdefault((r.publisher_id, r.instrument_id), Book())
        before, flags = len(self.ticks), int(r.flags)
        if book.snapshot is not None and not flags & 32:
            self.end_snapshot(book)
        if flags & 32:
            book.snapshot = r
            book.sound = True
        book.apply(r)
        own = len(self.ticks)
        if str(r.action) == "R":
            book.told = (I64, I64, 0, 0, 0, 0)
            self.add(r, Kind.CLEAR, r.ts_event, r.ts_recv, flags_of(flags), venue_seq=r.sequence)
        elif str(r.action) == "T":
            self.trade(r, r.sequence)
        if flags & 128:
            if flags & 32:
                self.end_snapshot(book)
            else:
                self.touch(book, r, r.ts_event, r.ts_recv, flags)
            if len(self.ticks) - own == 2:
                self.ticks[own]["flags"] &= ~1
        self.skipped += len(self.ticks) == before

    def end_snapshot(self, book: Book) -> None:
        r, book.snapshot = book.snapshot, None
        self.touch(book, r, r.ts_recv, r.ts_recv, int(r.flags) | 128)

    def touch(self, book: Book, r: Any, ts_event: int, ts_recv: int, flags: int) -> None:
        now = book.touch()
        if now == book.told:
            return
        bid, ask = now[::2] != book.told[::2], now[1::2] != book.told[1::2]
        side = 0 if bid and ask else 1 if bid else 2
        book.told = now
        self.add(
            r, Kind.QUOTE, ts_event, ts_recv, flags_of(flags) | (0 if book.sound else 4), side=side,
            count=(0, now[4], now[5])[side], venue_seq=r.sequence, bid_price=now[0],
            ask_price=now[1], bid_size=now[2], ask_size=now[3],
        )  # fmt: skip


class Table:
    """An instruments table that remembers whom an id stands for."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, int, int], int] = {}
        self.of: dict[int, tuple[str, int, int]] = {}
        self.attributes: dict[int, dict[str, Any]] = {}

    def add(self, symbol: str, *, vendor_id: int, publisher_id: int, **rest: Any) -> int:
        key = (symbol, vendor_id, publisher_id)
        own = self.ids.setdefault(key, 1000 + len(self.ids))
        self.of[own] = key
        self.attributes[own] = self.attributes.get(own, {}) | rest
        return own


def told(ticks: np.ndarray, table: Any) -> list[dict[str, Any]]:
    """Ticks of the codec in the oracle's form; bytes that no field names must be zero."""
    out = []
    for i in range(len(ticks)):
        row = ticks[i : i + 1]
        kind = Kind(row["kind"][0].item())
        view = row.view(PAYLOADS.get(kind, TICK))
        tick = {n: view[n][0].item() for n in view.dtype.names if n not in ("payload", "reserved")}
        spare = "payload" if "payload" in view.dtype.names else "reserved"
        if spare in view.dtype.names:
            assert not any(view[spare].tobytes()), (kind, view)
        assert tick.pop("seq") == 0
        symbol, vendor_id, publisher_id = table.of[tick.pop("instrument_id")]
        out.append(tick | {"symbol": symbol, "vendor_id": vendor_id, "publisher_id": publisher_id})
    return out


def told_bars(bars: np.ndarray, table: Any) -> list[dict[str, Any]]:
    zero = ("seq", "first_seq", "last_seq", "revision", "late_count", "reserved")
    out = []
    for row in bars:
        bar = dict(zip(BAR.names, row.item(), strict=True))
        assert all(bar.pop(name) == 0 for name in zero)
        symbol, vendor_id, publisher_id = table.of[bar.pop("instrument_id")]
        out.append(bar | {"symbol": symbol, "vendor_id": vendor_id, "publisher_id": publisher_id})
    return out


class Tools:
    """What the tests need of this module."""

    Oracle = Oracle
    Table = Table
    told = staticmethod(told)
    told_bars = staticmethod(told_bars)
    plain = staticmethod(plain)
    fragment_version = staticmethod(fragment_version)
    samples = ROOT


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    return Tools
