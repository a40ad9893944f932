"""The market: the same for a seed whoever asks, and consistent with itself in every schema."""

from __future__ import annotations

import collections

import databento_dbn as db
import pytest

from mdfeedd.sim.databento import Market
from mdfeedd.sim.databento.layouts import ALL_SCHEMAS, UNDEF_PRICE, UNDEF_TIME, unpack
from mdfeedd.sim.databento.timeline import BY_RECV

S = 1_000_000_000
LAST = 128


def market(**more):
    return Market(**{"seed": 5, "rate": 300} | more)


def read(of, schema, seconds=20):
    return [unpack(r.raw) for r in of.records(schema, 0, of.start_ns + seconds * S)]


def test_same_seed_is_the_same_market_whoever_asks_when_and_for_what():
    one, other = market(), market(schemas=["mbp-1", "trades", "statistics"])
    for ms in range(0, 20_000, 37):
        other.run_until(other.start_ns + ms * 1_000_000)
    until_ns = one.start_ns + 19 * S
    for schema in other.schemas:
        assert one.records(schema, 0, until_ns) == other.records(schema, 0, until_ns) != []
    assert market(seed=6).records("mbp-1", 0, until_ns) != one.records("mbp-1", 0, until_ns)


@pytest.mark.parametrize("backward", [False, True])
def test_times_of_every_schema(backward):
    made = market(backward=backward, publishers=2, rate=100)
    made.run_until(made.start_ns + 65 * S)
    for schema in ALL_SCHEMAS:
        records = made.records(schema, 0, made.start_ns + 64 * S)
        assert bool(records) == (schema not in {"ohlcv-1h", "ohlcv-1d"})
        assert [r.index_ns for r in records] == sorted(r.index_ns for r in records)
        for r in records:
            fields = unpack(r.raw)
            event_ns = fields["ts_event"]
            assert r.index_ns == fields.get("ts_recv", event_ns)
            assert r.key_ns == (r.index_ns if schema in BY_RECV else event_ns)
            assert r.due_ns >= r.key_ns
            assert event_ns == UNDEF_TIME or event_ns <= r.due_ns
    keys = [r.key_ns for r in made.records("mbp-1", 0, made.start_ns + 64 * S)]
    assert (keys != sorted(keys)) == backward


def test_runs_of_equal_times_and_numbers():
    records = read(market(), "mbp-1")
    times = collections.Counter(r["ts_recv"] for r in records)
    numbers = collections.Counter(
        (r["instrument_id"], r["ts_event"], r["sequence"]) for r in records
    )
    assert max(times.values()) > 2
    assert max(numbers.values()) > 1


def test_books_are_never_crossed_and_sometimes_one_sided_or_empty():
    made = market(rate=3_000, schemas=["mbp-1"])
    records = read(made, "mbp-1")
    both = [r for r in records if UNDEF_PRICE not in (r["bid_px_00"], r["ask_px_00"])]
    assert len(both) > 10_000
    assert all(r["bid_px_00"] < r["ask_px_00"] for r in both)
    assert all(
        min(r["bid_sz_00"], r["ask_sz_00"], r["bid_ct_00"], r["ask_ct_00"]) > 0 for r in both
    )
    cleared = [r for r in records if r["action"] == b"R"]
    assert len(cleared) > 4
    for r in cleared:
        assert (r["bid_px_00"], r["ask_px_00"], r["depth"]) == (UNDEF_PRICE, UNDEF_PRICE, 1)
    sides = {(r["bid_px_00"] == UNDEF_PRICE, r["ask_px_00"] == UNDEF_PRICE) for r in records}
    assert sides == {(False, False), (True, False), (False, True), (True, True)}


@pytest.mark.parametrize("schema", ["mbp-1", "mbp-10"])
def test_trade_repeats_the_book_before_it(schema):
    """Equal to the instrument's record before; what it did to the book follows in a record of its own."""
    before = {}
    trades = 0
    for r in read(market(publishers=2), schema):
        key = r["publisher_id"], r["instrument_id"]
        book = {name: value for name, value in r.items() if name[:3] in ("bid", "ask")}
        if r["action"] == b"T":
            trades += 1
            assert book == before[key]
            assert r["flags"] == (0 if key[0] == 1 else LAST)
        before[key] = book
    assert trades > 100


def test_mbo_book_gives_the_touch_of_every_other_schema():
    made = market(publishers=2)
    touches = {}
    orders = collections.defaultdict(dict)
    for r in read(made, "mbo"):
        book = orders[r["publisher_id"], r["instrument_id"]]
        if r["action"] == b"R":
            book.clear()
        elif r["action"] in (b"A", b"M"):
            book[r["order_id"]] = r["side"], r["price"], r["size"]
        elif r["action"] == b"C":
            assert book.pop(r["order_id"]) == (r["side"], r["price"], r["size"])
        if r["flags"] & LAST:
            key = r["publisher_id"], r["instrument_id"], r["ts_recv"]
            touches[key] = _touch(book)
    last = {}
    for r in read(made, "mbp-1"):
        last[r["publisher_id"], r["instrument_id"], r["ts_recv"]] = r
    assert len(last) > 1_000
    for key, r in last.items():
        if r["action"] != b"T":
            assert touches[key] == tuple(
                r[n] for n in ("bid_px_00", "ask_px_00", "bid_sz_00", "ask_sz_00")
            )
    tops = {}
    for r in read(made, "mbp-10"):
        tops[r["publisher_id"], r["instrument_id"], r["ts_recv"]] = r
    for key, r in last.items():
        assert tops[key]["bid_px_00"] == r["bid_px_00"]
        assert tops[key]["ask_sz_00"] == r["ask_sz_00"]


def _touch(book):
    bids = [(price, size) for side, price, size in book.values() if side == b"B"]
    asks = [(price, size) for side, price, size in book.values() if side == b"A"]
    bid = max((p for p, _ in bids), default=UNDEF_PRICE)
    ask = min((p for p, _ in asks), default=UNDEF_PRICE)
    return bid, ask, sum(s for p, s in bids if p == bid), sum(s for p, s in asks if p == ask)


def test_trades_are_the_same_in_every_schema():
    made = market(publishers=2)
    trades = [(r["ts_recv"], r["price"], r["size"], r["side"]) for r in read(made, "trades")]
    assert len(trades) > 100
    for schema in ("tbbo", "tcbbo"):
        assert [
            (r["ts_recv"], r["price"], r["size"], r["side"]) for r in read(made, schema)
        ] == trades
    for schema in ("mbp-1", "cmbp-1", "mbo", "mbp-10"):
        found = [
            (r["ts_recv"], r["price"], r["size"], r["side"])
            for r in read(made, schema)
            if r["action"] == b"T"
        ]
        assert found == trades


def test_bars_are_of_the_trades_of_their_interval():
    made = market()
    bars = {(r["instrument_id"], r["ts_event"]): r for r in read(made, "ohlcv-1s")}
    groups = collections.defaultdict(list)
    for r in read(made, "trades"):
        groups[r["instrument_id"], r["ts_recv"] // S * S].append((r["price"], r["size"]))
    whole = {key: group for key, group in groups.items() if key[1] < made.start_ns + 19 * S}
    assert len(whole) > 20
    for key, group in whole.items():
        prices = [price for price, _ in group]
        bar = bars[key]
        assert (bar["open"], bar["close"]) == (prices[0], prices[-1])
        assert (bar["high"], bar["low"]) == (max(prices), min(prices))
        assert bar["volume"] == sum(size for _, size in group)


def test_quotes_of_intervals_have_the_last_trade_or_none():
    made = market(rate=20)
    quotes = read(made, "bbo-1s", 60)
    assert all(r["ts_recv"] % S == 0 for r in quotes)
    none = [r for r in quotes if r["ts_event"] == UNDEF_TIME]
    assert none
    assert all(r["price"] == UNDEF_PRICE for r in none)
    trades = read(made, "trades", 60)
    for r in quotes:
        if r["ts_event"] != UNDEF_TIME:
            before = [
                t
                for t in trades
                if t["instrument_id"] == r["instrument_id"] and t["ts_recv"] < r["ts_recv"]
            ]
            assert (r["price"], r["size"], r["ts_event"]) == tuple(
                before[-1][n] for n in ("price", "size", "ts_event")
            )


def test_best_of_several_publishers():
    made = market(publishers=3)
    seen = set()
    for r in read(made, "cmbp-1"):
        seen.add((r["bid_pb_00"], r["ask_pb_00"]))
        assert (r["bid_px_00"] == UNDEF_PRICE) == (r["bid_pb_00"] == 0)
    assert {1, 2, 3} <= {b for b, _ in seen}


def test_definitions_name_the_instruments():
    made = market(instruments=["ESZ6", "UD:1V: VT 2500275", "ESH7"])
    definitions = read(made, "definition", 1)
    assert [d["raw_symbol"] for d in definitions[:3]] == [b"ESZ6", b"UD:1V: VT 2500275", b"ESH7"]
    decoder = db.DBNDecoder(has_metadata=False, input_version=3)
    (record,) = decoder.write_and_decode(made.records("definition", 0, made.start_ns + 1)[0].raw)
    assert (record.raw_symbol, record.asset, record.min_price_increment) == (
        "ESZ6",
        "ES",
        250_000_000,
    )


def test_old_records_are_forgotten_and_the_rest_is_the_same():
    some = ["mbp-1", "mbo"]
    made, whole = market(keep_ns=5 * S, schemas=some), market(schemas=some)
    for second in range(60):
        made.run_until(made.start_ns + second * S)
    now_ns = made.start_ns + 59 * S
    kept = made.records("mbp-1", 0, now_ns)
    assert 0 < made.timeline("mbp-1").first < len(made.timeline("mbp-1"))
    assert kept == whole.records("mbp-1", 0, now_ns)[-len(kept) :]
    assert kept[0].index_ns > now_ns - 20 * S
    assert made.snapshot([5482], now_ns) == whole.snapshot([5482], now_ns) != []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"rate": 0}, "rate: must be above 0"),
        ({"rate": 1e6}, "rate: must be above 0 and at most 100000"),
        ({"publishers": 0}, "publishers: must be 1 to 100"),
        ({"schemas": ["mbp-2"]}, "schemas: must be of .* not 'mbp-2'"),
        ({"schemas": []}, "schemas: at least one"),
        ({"instruments": 0}, "instruments: must be 1 to"),
        ({"instruments": ["A", "A"]}, "'A' is named twice"),
    ],
)
def test_option_that_makes_no_sense(options, why):
    with pytest.raises(ValueError, match=why):
        market(**options)
