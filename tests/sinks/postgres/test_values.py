"""What goes in comes out exactly: every kind, every field, the extremes, names in any script."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from mdfeedd.tick import (
    BAR,
    DEFINITION,
    GAP,
    IMBALANCE,
    PRICE_UNDEF,
    QUOTE,
    STATISTIC,
    STATUS,
    TICK,
    TIME_UNDEF,
    TRADE,
    Flag,
    Kind,
)

COMMON = ("seq", "ts_event", "ts_recv", "venue_seq", "count", "flags", "side")
TABLES = {
    "quote": (QUOTE, (1,), ("bid_price", "ask_price", "bid_size", "ask_size")),
    "trade": (TRADE, (2, 3, 4), ("kind", "price", "size", "trade_id")),
    "status": (
        STATUS,
        (5,),
        (
            *("state", "reason", "trading_event"),
            *("is_trading", "is_quoting", "is_short_sell_restricted"),
        ),
    ),
    "statistic": (
        STATISTIC,
        (6,),
        ("price", "quantity", "ts_ref_s", "type", "update_action", "stat_flags"),
    ),
    "imbalance": (
        IMBALANCE,
        (12,),
        ("ref_price", "match_price", "paired_size", "imbalance_size"),
    ),
    "definition": (DEFINITION, (10,), ("tick_size", "expiration", "action")),
    "feed_event": (GAP, (7, 8, 9, 11), ("kind", "first_missing", "last_missing", "reason", "line")),
}
BAR_FIELDS = (
    *("seq", "ts_open", "interval_s", "open", "high", "low", "close", "volume", "vwap", "count"),
    *("flags", "ts_first", "ts_last", "first_seq", "last_seq", "revision", "late_count"),
)
NULL = {
    **dict.fromkeys(("ts_event", "ts_recv", "expiration", "ts_first", "ts_last"), TIME_UNDEF),
    **dict.fromkeys(
        (
            *("price", "bid_price", "ask_price", "quantity", "ref_price", "match_price"),
            *("tick_size", "open", "high", "low", "close", "vwap"),
        ),
        PRICE_UNDEF,
    ),
}


def value(name, number):
    """A field as the database must give it: null where undefined, 64 bits with a sign."""
    number = int(number)
    if name in NULL and number == NULL[name]:
        return None
    return number - 2**64 if number >= 2**63 else number


def random_ticks(rng, make, n):
    """Ticks of all kinds with random bytes as payloads, where the field may have any value."""
    ticks = make.ticks(rng, n)
    some = rng.random(n) < 0.02
    ticks["kind"][some] = rng.choice([8, 11], some.sum())
    payload = rng.integers(0, 256, (n, 24), dtype="u1")
    ticks["payload"] = payload.view("V24")[:, 0]
    for dtype, names in (
        (QUOTE, ("bid_price", "ask_price")),
        (TRADE, ("price",)),
        (STATISTIC, ("price", "quantity")),
    ):
        for name in names:
            ends = np.array([PRICE_UNDEF, PRICE_UNDEF - 1, -(2**63), 0, -1], "i8")
            rows = (rng.random(n) < 0.2) & np.isin(ticks["kind"], [1, 2, 6])
            ticks.view(dtype)[name][rows] = rng.choice(ends, rows.sum())
    ticks["ts_recv"][rng.random(n) < 0.01] = TIME_UNDEF
    return ticks


def read_back(database, table, names):
    columns = ", ".join(f"t.{name}" for name in names)
    return database.execute(
        f"select {columns}, symbol, ring, replace(ring_id::text, '-', ''), epoch from {table} t "
        f"left join instrument using (instrument_id) left join source using (source_id) "
        f"order by t.seq"
    )


@pytest.mark.parametrize("connections", [1, 3])
def test_ticks_of_every_kind_read_back_exactly(database, rng, make, give, connections):
    ticks = random_ticks(rng, make, 4000)
    sink = database.sink(connections=connections)
    for start in range(0, len(ticks), 700):
        sink.write(give.batch_of(ticks[start : start + 700]))
    sink.close()
    for table, (dtype, kinds, own) in TABLES.items():
        rows = ticks[np.isin(ticks["kind"], kinds)].view(dtype)
        names = COMMON + own
        must = [
            (
                *(value(name, row[name]) for name in names),
                *(give.names[int(row["instrument_id"])], "cme", give.ring_id, 1),
            )
            for row in rows
        ]
        assert len(must) > 20
        assert read_back(database, table, names) == must, table
    assert sink.progress(give.ring_id).skipped_records == 0


def test_bars_read_back_exactly_with_their_revisions(database, rng, make, give):
    bars = make.bars(rng, 600)
    bars["revision"] = rng.integers(0, 2**32, 600)
    bars["first_seq"] = rng.choice(np.array([0, 5, 2**64 - 1], "u8"), 600)
    bars["ts_first"] = rng.choice(np.array([TIME_UNDEF, 0, 1, 2**62], "i8"), 600)
    bars["late_count"] = rng.integers(0, 2**32, 600)
    sink = database.sink()
    sink.write(give.batch_of(bars, ring="bars"))
    sink.close()
    must = [
        (
            *(value(name, bar[name]) for name in BAR_FIELDS),
            *(give.names[int(bar["instrument_id"])], "bars", give.ring_id, 1),
        )
        for bar in bars
    ]
    assert read_back(database, "bar", BAR_FIELDS) == must


def test_all_prices_of_a_batch_are_absent(database, give):
    quotes = give.quotes(1, 10_000, bid_price=PRICE_UNDEF, ask_price=PRICE_UNDEF)
    sink = database.sink()
    sink.write(give.batch_of(quotes))
    sink.close()
    row = database.execute("select count(*), count(bid_price), count(ask_price) from quote")
    assert row == [(10_000, 0, 0)]


def test_views_show_symbols_sides_and_decimal_prices(database, give):
    ticks = np.zeros(3, TRADE)
    ticks["seq"], ticks["instrument_id"] = [1, 2, 3], 8
    ticks["kind"], ticks["side"] = [2, 3, 4], [1, 2, 0]
    ticks["price"] = [-37_630_000_000, 1, PRICE_UNDEF]
    ticks["ts_event"] = ticks["ts_recv"] = give.now + 1_234
    sink = database.sink()
    sink.write(give.batch_of(ticks.view(TICK)))
    rows = database.execute("select symbol, feed, venue, kind, price, side, ts::text from trades")
    when = "2023-11-14 22:13:20.000001+00"
    name = give.names[8]
    assert rows == [
        (name, "cme", "XCME", "trade", Decimal("-37.63"), "buy", when),
        (name, "cme", "XCME", "trade_cancel", Decimal("0.000000001"), "sell", when),
        (name, "cme", "XCME", "trade_correction", None, "none", when),
    ]
    sink.close()


def test_view_of_bars_shows_the_latest_revision_and_the_table_all(database, give):
    bars = np.zeros(3, BAR)
    bars["seq"], bars["instrument_id"], bars["interval_s"] = [1, 2, 3], 1, 60
    bars["ts_open"] = give.now
    bars["close"], bars["revision"] = [5, 6, 7], [0, 1, 0]
    bars["instrument_id"][2] = 2
    sink = database.sink()
    sink.write(give.batch_of(bars))
    assert database.execute("select symbol, close, revision from bars order by symbol") == [
        ("S1", Decimal("0.000000006"), 1),
        ("S2", Decimal("0.000000007"), 0),
    ]
    assert database.execute("select count(*) from bar") == [(3,)]
    sink.close()


def test_every_view_can_be_read(database, give, rng, make):
    sink = database.sink()
    sink.write(give.batch_of(random_ticks(rng, make, 500)))
    views = database.execute("select viewname from pg_views where schemaname = 'mdfeedd'")
    assert len(views) == 8
    for (view,) in views:
        rows = database.execute(f"select * from {view}")
        assert rows or view == "bars", view
    sink.close()


DAY = 86_400 * 10**9


@pytest.mark.parametrize(
    "case",
    [
        (0, 5_000, 0, 0),
        (999, 5_000, 0, 0),  # cut to µs, not rounded
        (1_999, 5_000, Flag.BAD_TS, 5_000),
        (8 * DAY, 5_000, 0, 5_000),  # no venue's time is a week off
        (-8 * DAY, 5_000, 0, 5_000),
        (6 * DAY, 5_000, 0, 6 * DAY),
        (TIME_UNDEF, 5_000, 0, 5_000),
        (4_000, TIME_UNDEF, 0, 4_000),
        (4_000, TIME_UNDEF, Flag.BAD_TS, 4_000),  # the only one there is
        (TIME_UNDEF, TIME_UNDEF, 0, None),
    ],
)
def test_time_of_a_row(database, give, case):
    event, received, flags, told = case

    def absolute(ns):
        return ns if ns in (TIME_UNDEF, None) else give.now + ns

    quotes = give.quotes(1, 1, flags=flags)
    quotes["ts_event"], quotes["ts_recv"] = absolute(event), absolute(received)
    sink = database.sink()
    sink.write(give.batch_of(quotes))
    ((us,),) = database.execute("select (extract(epoch from ts) * 1000000)::bigint from quote")
    assert us == (0 if told is None else absolute(told) // 1000)
    sink.close()


def test_record_of_a_kind_from_the_future_is_skipped_and_counted(database, give):
    quotes = give.quotes(1, 5)
    quotes["kind"][2] = 99
    sink = database.sink()
    sink.write(give.batch_of(quotes))
    assert database.seqs() == [1, 2, 4, 5]
    told = sink.progress(give.ring_id)
    assert (told.safe_seq, told.stored_records, told.skipped_records) == (5, 4, 1)
    assert sink.position("cme").seq == 5
    sink.close()


# -------------------------------------------------------------------------------------------- names


def symbols(database):
    return database.execute("select seq, symbol, instrument_id from quote join instrument "
                            "using (instrument_id) order by seq")  # fmt: skip


def test_names_in_any_script_and_those_that_postgresql_cannot_store(database, give):
    names = ["原油", "Ölpreis €/t", "🛢", "a\0b", "'; drop table quote; --", "\\N"]
    table = give.Instruments([give.instrument(i, name) for i, name in enumerate(names, 1)])
    sink = database.sink()
    quotes = give.quotes(1, 6)
    quotes["instrument_id"] = np.arange(1, 7)
    sink.write(give.batch_of(quotes, instruments=table))
    assert [row[1] for row in symbols(database)] == [*names[:3], "a\ufffdb", *names[4:]]
    sink.close()


def test_instrument_that_the_table_lacks_and_the_whole_feed(database, give):
    quotes = give.quotes(1, 3)
    quotes["instrument_id"] = [0, 77, 1]
    sink = database.sink()
    sink.write(give.batch_of(quotes))
    assert [row[1] for row in symbols(database)] == ["", "#77", "S1"]
    assert database.execute("select distinct feed from instrument") == [("cme",)]
    sink.close()


def test_instrument_that_comes_late_gets_its_name_from_then_on(database, give):
    table = give.Instruments([give.instrument(1, "#1")])
    sink = database.sink()
    quotes = give.quotes(1, 1, instrument_id=1)
    sink.write(give.batch_of(quotes, instruments=table))
    table.entries[1] = give.instrument(1, "ESZ6")
    definition = give.quotes(2, 1, kind=Kind.DEFINITION, instrument_id=1)
    sink.write(give.batch_of(definition, instruments=table))
    sink.write(give.batch_of(give.quotes(3, 1, instrument_id=1), instruments=table))
    assert [row[:2] for row in symbols(database)] == [(1, "#1"), (3, "ESZ6")]
    sink.close()


def test_name_that_changes_without_a_definition_is_seen_within_a_second(database, give):
    from mdfeedd.sinks.postgres import PostgresOptions, PostgresSink

    now = [100.0]
    given = PostgresOptions(dsn=database.server.dsn(database.name))
    sink = PostgresSink(given, "store", clock=lambda: now[0])
    table = give.Instruments([give.instrument(1, "old")])
    for seq, name, passed in ((1, "old", 0.0), (2, "new", 1.0), (3, "new", 0.0)):
        table.entries[1] = give.instrument(1, name)
        now[0] += passed
        sink.write(give.batch_of(give.quotes(seq, 1, instrument_id=1), instruments=table))
    assert [row[1] for row in symbols(database)] == ["old", "new", "new"]
    sink.close()


def test_facts_of_an_instrument_are_kept_as_last_seen_under_one_number(database, give):
    sink = database.sink()
    for seq, tick_size in ((1, 5), (2, 25)):
        table = give.Instruments([give.instrument(1, "ES", tick_size=tick_size)])
        quotes = give.quotes(seq, 1, instrument_id=1)
        sink.write(give.batch_of(quotes, instruments=table))
    assert database.execute("select symbol, tick_size from instrument") == [("ES", 25)]
    sink.close()


def test_instrument_has_one_number_on_all_hosts_and_after_restarts(database, give):
    """Ids of a ring are that boot's: 5 here is 9 there, and vendor ids have 64 bits."""
    for number, name in ((5, "a"), (9, "b"), (9, "c")):
        table = give.Instruments([give.instrument(number, "ES", vendor_id=2**64 - 1)])
        sink = database.sink(name)
        quotes = give.quotes(1, 2, instrument_id=number)
        sink.write(give.batch_of(quotes, instruments=table, ring=name))
        sink.close()
    assert len({row[2] for row in symbols(database)}) == 1
    assert database.execute("select vendor_id from instrument") == [(-1,)]
    # numbers are not used up by restarts
    assert database.execute("select max(instrument_id) from instrument") == [(1,)]


def test_many_instruments_are_learnt_at_once(database, give):
    n = 25_000
    table = give.Instruments([give.instrument(i, f"X{i}") for i in range(1, n + 1)])
    quotes = give.quotes(1, n)
    quotes["instrument_id"] = np.arange(1, n + 1)
    sink = database.sink()
    sink.write(give.batch_of(quotes, instruments=table))
    wrong = database.execute(
        "select count(*) from quote join instrument using (instrument_id) where symbol <> 'X' || seq"
    )
    assert wrong == [(0,)]
    assert database.execute("select count(*) from instrument") == [(n,)]
    sink.close()
