"""Last values: what each kind of record does to them, alone and through a ring."""

from __future__ import annotations

import gc
import math
import random

import numpy as np
import pytest

from mdfeedd import LAST, Reader, Side, Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.strategy import last as last_module
from mdfeedd.strategy._last import MAX_LINES, LastTable
from mdfeedd.strategy.book import from_row
from mdfeedd.strategy.last import UnknownSymbol
from mdfeedd.tick import BAR, QUOTE, TICK, TRADE, Flag, Kind

ES = 5 << 24 | 1
NQ = 5 << 24 | 2


@pytest.fixture
def table():
    return LastTable()


def book(table, instrument=ES):
    return from_row(table.row(instrument), "S", "f", None)


def test_quote_and_trade(table, make):
    table.take(make.quote(ES, "4500.25", "4500.5", 7, 9, ts=10, recv=11, seq=3))
    table.take(make.trade(ES, "4500.5", 2, ts=12, recv=13, seq=4, side=Side.SELL))
    seen = book(table)
    assert (seen.bid, seen.ask, seen.bid_size, seen.ask_size) == (4500.25, 4500.5, 7, 9)
    assert (seen.trade, seen.trade_size, seen.trade_side) == (4500.5, 2, Side.SELL)
    assert (seen.trade_ts_ns, seen.ts_event_ns, seen.ts_recv_ns, seen.seq) == (12, 12, 13, 4)
    assert (seen.bid_feed, seen.ask_feed, seen.trade_feed) == ("f", "f", "f")
    assert (seen.is_stale, seen.is_gapped) == (False, False)
    assert seen.is_trading is None


def test_quote_of_the_implied_book_is_not_the_touch(table, make):
    table.take(make.quote(ES, "4500.25", "4500.5", 7, 9, seq=3))
    table.take(make.quote(ES, "4400.25", "4600.5", 1, 1, seq=4, flags=Flag.IMPLIED))
    seen = book(table)
    assert (seen.bid, seen.ask, seen.bid_size, seen.ask_size) == (4500.25, 4500.5, 7, 9)


def test_side_of_the_book_that_is_empty(table, make):
    table.take(make.quote(ES, None, "1", bid_size=0))
    seen = book(table)
    assert seen.bid_price is None
    assert math.isnan(seen.bid)
    assert math.isnan(seen.mid)
    assert seen.bid_feed == ""
    assert seen.ask == 1.0


def test_clear_voids_one_book_or_all_of_the_feed(table, make):
    for feed, instrument in ((0, ES), (0, NQ), (1, 9)):
        table.take(make.quote(instrument, 1, 2), feed=feed)
        table.take(make.trade(instrument, 1), feed=feed)
    table.take(make.clear(ES))
    assert book(table).bid_price is None
    assert book(table).trade == 1.0
    assert book(table, NQ).bid == 1.0
    table.take(make.clear(), feed=0)
    assert book(table, NQ).bid_price is None
    assert book(table, 9).bid == 1.0


def test_trade_that_is_cancelled_or_corrected(table, make):
    table.take(make.trade(ES, 10, 1, trade_id=77))
    table.take(make.trade(ES, 11, 5, trade_id=76, kind=Kind.TRADE_CORRECTION))
    assert book(table).trade == 10.0  # of an earlier trade
    table.take(make.trade(ES, 11, 5, trade_id=77, kind=Kind.TRADE_CORRECTION))
    assert (book(table).trade, book(table).trade_size) == (11.0, 5)
    table.take(make.trade(ES, 11, 5, trade_id=77, kind=Kind.TRADE_CANCEL))
    assert book(table).trade_price is None
    assert book(table).trade_ts_ns is None


def test_cancel_that_names_no_trade_is_of_the_last_if_it_looks_like_it(table, make):
    table.take(make.trade(ES, 10, 1))
    table.take(make.trade(ES, 11, 1, kind=Kind.TRADE_CORRECTION))
    table.take(make.trade(ES, 11, 1, kind=Kind.TRADE_CANCEL))
    assert book(table).trade == 10.0
    table.take(make.trade(ES, 10, 1, kind=Kind.TRADE_CANCEL))
    assert book(table).trade_price is None


def test_status_says_whether_it_trades(table, make):
    table.take(make.status(ES, 2))
    assert book(table).is_trading is False
    table.take(make.status(ES, 0))  # says nothing
    assert book(table).is_trading is False
    table.take(make.status(ES, 1))
    assert book(table).is_trading is True


def test_stale_until_a_quote_that_is_not(table, make):
    table.take(make.quote(ES, 1, 2, flags=Flag.STALE))
    assert book(table).is_stale
    table.take(make.trade(ES, 1, flags=Flag.STALE))
    assert book(table).is_stale
    table.take(make.quote(ES, 1, 2))
    assert not book(table).is_stale


def test_gap_until_a_quote_that_is_right(table, make):
    table.take(make.quote(ES, 1, 2))
    table.take(make.gap(ES))
    assert book(table).is_gapped
    table.take(make.trade(ES, 1))  # says nothing of the touch
    assert book(table).is_gapped
    table.take(make.quote(ES, 1, 2, flags=Flag.STALE))
    assert book(table).is_gapped
    table.take(make.quote(ES, 1, 2))
    assert not book(table).is_gapped


def test_gap_of_an_instrument_without_quotes_ends_with_a_trade(table, make):
    table.take(make.trade(ES, 1))
    table.take(make.gap(ES))
    assert book(table).is_gapped
    table.take(make.trade(ES, 1))
    assert not book(table).is_gapped


def test_gap_of_the_feed_ends_when_all_its_lines_are_recovered(table, make):
    table.take(np.concatenate([make.quote(ES, 1, 2), make.quote(NQ, 1, 2)]))
    table.take(make.quote(9, 1, 2), feed=1)
    table.take(np.concatenate([make.gap(line=310), make.gap(line=318), make.gap(line=310)]))
    assert book(table).is_gapped
    assert not book(table, 9).is_gapped
    table.take(make.gap(line=310, kind=Kind.RECOVERED))
    assert book(table).is_gapped
    table.take(make.quote(NQ, 1, 2))
    assert not book(table, NQ).is_gapped
    table.take(make.gap(line=318, kind=Kind.RECOVERED))
    assert not book(table).is_gapped


def test_gap_of_a_ring_that_is_no_more_is_no_gap_of_the_next(table, make):
    table.take(make.gap(line=5), feed=1)
    table.take(make.gap(line=310))
    table.forget(0)
    table.take(np.concatenate([make.quote(ES, 1, 2), make.gap(line=318)]))
    table.take(make.quote(9, 1, 2), feed=1)
    table.take(make.gap(line=6), feed=1)
    assert book(table).is_gapped
    table.take(make.gap(line=318, kind=Kind.RECOVERED))
    assert not book(table).is_gapped
    table.take(make.gap(line=6, kind=Kind.RECOVERED), feed=1)
    assert book(table, 9).is_gapped  # its line 5 still is
    table.take(make.gap(line=5, kind=Kind.RECOVERED), feed=1)
    assert not book(table, 9).is_gapped


def test_more_lines_with_gaps_than_are_told_apart(table, make):
    table.take(make.quote(ES, 1, 2))
    for line in range(MAX_LINES + 1):
        table.take(make.gap(line=line))
    for line in range(MAX_LINES + 1):
        table.take(make.gap(line=line, kind=Kind.RECOVERED))
    assert book(table).is_gapped  # nobody knows any more
    table.take(make.quote(ES, 1, 2))
    assert not book(table).is_gapped


def test_lapped_is_healed_by_a_quote_and_not_by_recovered(table, make):
    table.take(make.quote(ES, 1, 2))
    table.lapped(0)
    table.take(make.gap(ES, kind=Kind.RECOVERED))
    table.take(make.gap(kind=Kind.RECOVERED))
    assert book(table).is_gapped
    table.take(make.quote(ES, 1, 2))
    assert not book(table).is_gapped


def test_other_kinds_change_nothing(table, make):
    table.take(make.quote(ES, 1, 2, seq=5))
    for kind in (Kind.STATISTIC, Kind.DEFINITION, Kind.HEARTBEAT, Kind.IMBALANCE, 200):
        record = make.clear(ES, seq=6)
        record["kind"] = kind
        table.take(record)
    assert book(table).seq == 5
    assert len(table) == 1


def test_many_instruments_equal_a_dictionary(make):
    chance = random.Random(7)
    n = 20_000
    records = np.zeros(n, QUOTE)
    ids = [chance.choice((1, 2, 200)) << 24 | chance.randrange(1, 3000) for _ in range(n)]
    records["kind"], records["instrument_id"] = Kind.QUOTE, ids
    records["bid_price"] = np.arange(n)
    records["kind"][::7] = Kind.TRADE
    expected = {one: i for i, one in enumerate(ids) if i % 7}
    table = LastTable()
    for part in np.array_split(records.view(TICK), 13):
        table.take(np.ascontiguousarray(part))
    assert len(table) == len(set(ids))
    rows = table.records()
    assert rows.dtype == LAST
    quoted = rows[rows["bid_price"] != 2**63 - 1]
    found = dict(zip(quoted["instrument_id"].tolist(), quoted["bid_price"].tolist(), strict=True))
    assert found == expected
    for one in list(expected)[:100]:
        assert table.row(one)[7] == expected[one]
    assert table.row(12345 << 8) is None


@pytest.mark.parametrize(
    ("records", "feeds", "error"),
    [
        ([1, 2], None, TypeError),
        (np.zeros(3), None, TypeError),
        (np.zeros(3, TRADE), None, TypeError),
        (np.zeros((3, 2), TICK), None, ValueError),
        (np.zeros(8, TICK)[::2], None, ValueError),
        (np.zeros(3, TICK), np.zeros(2, np.uint8), ValueError),
        (np.zeros(3, TICK), np.zeros(3, np.int64), TypeError),
    ],
)
def test_arrays_that_are_none(table, records, feeds, error):
    with pytest.raises(error):
        table.take(records, feeds)


# ------------------------------------------------------------------------------------ through a ring


def test_view_follows_the_batches(shm_dir, make):
    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        es = writer.instruments.add("ESZ6", venue="XCME")
        last = reader.last
        writer.publish(make.quote(es, "10.25", "10.5"))
        assert last["ESZ6"].bid_price is None  # published, and not yet read
        reader.read(timeout=5)
        assert last["ESZ6"].bid == 10.25
        assert last["ESZ6"].instrument.venue == "XCME"
        assert last["ESZ6"] == last[es] == last[np.uint32(es)]
        assert np.uint32(es) in last
        assert 1.5 not in last
        for none in (-1, 1 << 40):
            assert last.get(none) is None
        assert list(last) == ["ESZ6"]
        assert len(last) == 1
        assert "ESZ6" in last
        assert "NQZ6" not in last
        assert last.get("NQZ6") is None
        assert last.get("NQZ6", 5) == 5


def test_first_look_takes_over_what_the_ring_holds(shm_dir, make, monkeypatch):
    with Writer("r", 256, directory=shm_dir) as writer:
        seldom, often = writer.instruments.add("A"), writer.instruments.add("B")
        writer.publish(make.quote(seldom, 1, 2))
        for i in range(100):
            writer.publish(make.quote(often, i, i + 1))
        with Reader("r", directory=shm_dir) as reader:
            writer.publish(make.quote(often, 1000, 1001))  # after this reader's beginning
            assert (reader.last["A"].bid, reader.last["B"].bid) == (1.0, 99.0)
            assert len(inspect("r", shm_dir).consumers) == 1
            reader.read()
            assert reader.last["B"].bid == 1000.0
        monkeypatch.setattr(last_module, "LOOK_BACK_RECORDS", 50)
        with Reader("r", directory=shm_dir) as reader:
            assert reader.last["A"].bid_price is None
            assert reader.last["B"].bid == 1000.0


def test_writer_that_laps_the_first_look_is_told(shm_dir, make, monkeypatch):
    """Between two reads of the look the ring goes round: what it had read by then may be no more so."""
    with Writer("r", 256, directory=shm_dir) as writer:
        a, b = writer.instruments.add("A"), writer.instruments.add("B")
        writer.publish(make.quote(a, 1, 2))
        for i in range(200):
            writer.publish(make.quote(b, i, i + 1))

        class Slow(last_module.Look):
            def poll(self, n):
                batch = super().poll(n)
                if self.next_seq == 51:
                    for _ in range(300):
                        writer.publish(make.clear(99))
                return batch

        monkeypatch.setattr(last_module, "Look", Slow)
        monkeypatch.setattr(last_module, "_LOOK_RECORDS", 50)
        with Reader("r", directory=shm_dir) as reader:
            assert reader.last["A"].bid == 1.0
            assert reader.last["A"].is_gapped


def test_reader_that_began_in_the_past_knows_nothing_of_its_future(shm_dir, make):
    with Writer("r", directory=shm_dir) as writer:
        es = writer.instruments.add("A")
        for i in range(10):
            writer.publish(make.quote(es, i, i + 1))
        with Reader("r", "oldest", directory=shm_dir) as reader:
            reader.read(4)
            assert reader.last["A"].bid == 3.0
            reader.read(1)
            assert reader.last["A"].bid == 4.0
            array = np.zeros(2, TICK)
            assert reader.read_into(array) == 2
            assert reader.last["A"].bid == 6.0


def test_several_venues_of_one_symbol_are_one_book(shm_dir, make):
    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        one = writer.instruments.add("SPY", publisher_id=1, venue="XNAS")
        other = writer.instruments.add("SPY", publisher_id=2, venue="ARCX")
        writer.publish(np.concatenate([make.quote(one, 10, 12), make.quote(other, 9, 11)]))
        last = reader.last
        reader.read()
        seen = last["SPY"]
        assert (seen.bid, seen.ask) == (10.0, 11.0)
        assert [source.instrument.venue for source in seen.sources] == ["XNAS", "ARCX"]
        assert last[other].bid == 9.0


def test_symbol_that_comes_later_and_one_that_never_does(shm_dir, make):
    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        writer.instruments.add("ESZ6")
        last = reader.last
        with pytest.raises(
            UnknownSymbol, match=r"no instrument 'ESZ7' in r \(did you mean 'ESZ6'\?\)"
        ):
            last["ESZ7"]
        with pytest.raises(KeyError):
            last[99]
        esz7 = writer.instruments.add("ESZ7")
        assert last["ESZ7"].bid_price is None
        writer.publish(make.quote(esz7, 1, 2))
        reader.read()
        assert last["ESZ7"].bid == 1.0


def test_names_are_searched_for_a_likely_one_only_when_somebody_reads_it(shm_dir, monkeypatch):
    import pickle

    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        writer.instruments.add("ESZ6")
        monkeypatch.setattr(last_module, "nearest", None)  # it would be called with each batch
        with pytest.raises(UnknownSymbol) as unknown:
            reader.wait_until(lambda last: last["ESZ7"].bid > 0, 0.01)
        monkeypatch.undo()
        assert unknown.value.args == ("ESZ7",)
        sentence = "no instrument 'ESZ7' in r (did you mean 'ESZ6'?)"
        assert str(unknown.value) == sentence
        assert pickle.loads(pickle.dumps(unknown.value)).args == (sentence,)


def test_reader_that_was_lapped(shm_dir, make):
    with Writer("r", 256, directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        a, b = writer.instruments.add("A"), writer.instruments.add("B")
        last = reader.last
        writer.publish(np.concatenate([make.quote(a, 1, 2), make.quote(b, 1, 2)]))
        reader.read()
        for i in range(1000):
            writer.publish(make.quote(b, i, i + 1))
        assert reader.read().lost
        assert last["A"].is_gapped
        assert not last["B"].is_gapped


def test_reader_that_raises_when_lapped_knows_it_too(shm_dir, make):
    from mdfeedd.ring import RingOverrun

    with (
        Writer("r", 256, directory=shm_dir) as writer,
        Reader("r", directory=shm_dir, on_overrun="raise") as reader,
    ):
        a = writer.instruments.add("A")
        last = reader.last
        writer.publish(make.quote(a, 1, 2))
        reader.read()
        for _ in range(1000):
            writer.publish(make.clear(a + 1))
        with pytest.raises(RingOverrun):
            reader.read()
        assert last["A"].is_gapped


def test_another_ring_takes_the_name(shm_dir, make):
    from mdfeedd.ring import remove

    with Writer("r", directory=shm_dir) as writer:
        a = writer.instruments.add("A")
        reader = Reader("r", directory=shm_dir)
        last = reader.last
        writer.publish(make.quote(a, 1, 2))
        reader.read()
        assert last["A"].bid == 1.0
    remove("r", shm_dir)
    with Writer("r", directory=shm_dir) as writer, reader:
        b = writer.instruments.add("B")  # with the id that A had
        assert b == a
        writer.publish(make.trade(b, 5))
        batch = reader.read(timeout=20)
        assert len(batch) == 1
        assert last["B"].bid_price is None
        assert last["B"].trade == 5.0
        with pytest.raises(KeyError):
            last["A"]


def test_view_outlives_its_reader(shm_dir, make):
    with Writer("r", directory=shm_dir) as writer:
        a = writer.instruments.add("A")
        writer.publish(make.quote(a, 1, 2))
        with Reader("r", "oldest", directory=shm_dir) as reader:
            last = reader.last
            reader.read()
            assert list(last) == ["A"]
        assert last["A"].bid == 1.0
        del reader
        gc.collect()
        assert last["A"].bid == 1.0
        assert list(last) == ["A"]


def test_ring_without_ticks_has_no_last_values(shm_dir):
    with (
        Writer("b", dtype=BAR, directory=shm_dir),
        Reader("b", directory=shm_dir) as reader,
        pytest.raises(TypeError, match="the ring 'b' holds no ticks"),
    ):
        reader.last  # noqa: B018


def test_removed_ring_is_no_obstacle(shm_dir, make):
    from mdfeedd.ring import segment

    with Writer("r", directory=shm_dir) as writer, Reader("r", directory=shm_dir) as reader:
        a = writer.instruments.add("A")
        segment.ring_path("r", shm_dir).unlink()
        last = reader.last
        writer.publish(make.quote(a, 1, 2))
        reader.read()
        assert last["A"].bid == 1.0
