"""What flows through a ring, as lines."""

from __future__ import annotations

import argparse
import json
import signal
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mdfeedd.cli import main, tail
from mdfeedd.ring import Reader, Writer
from mdfeedd.sim.listings import listings
from mdfeedd.sim.market import Market
from mdfeedd.tick import (
    BAR,
    DEFINITION,
    DEPTH,
    GAP,
    IMBALANCE,
    ORDER,
    PRICE_UNDEF,
    QUOTE,
    STATISTIC,
    STATUS,
    TICK,
    TIME_UNDEF,
    TRADE,
    Flag,
    GapReason,
    Kind,
    OrderAction,
    Side,
    to_fixed,
)

if TYPE_CHECKING:
    from tests.cli.conftest import Start

WHEN = 1_790_000_000_123_456_789
LOOKS_S = 1.5  # in which a reader of an ended ring looks for the next one more than once


def publish_samples(writer: Writer) -> None:
    es = writer.instruments.add("ESZ6", tick_size=to_fixed("0.25"))
    quote = np.zeros(1, QUOTE)
    quote["kind"], quote["instrument_id"], quote["ts_event"] = Kind.QUOTE, es, WHEN
    quote["ts_recv"] = WHEN + 1
    quote["bid_price"], quote["ask_price"] = to_fixed("6871.5"), 2**63 - 1
    quote["bid_size"], quote["flags"] = 12, Flag.EVENT_END | Flag.SNAPSHOT
    trade = np.zeros(1, TRADE)
    trade["kind"], trade["instrument_id"], trade["ts_event"] = Kind.TRADE, es, WHEN
    trade["price"], trade["size"], trade["side"] = to_fixed("6871.25"), 3, Side.SELL
    trade["trade_id"], trade["ts_recv"] = 2**64 - 1, TIME_UNDEF
    gap = np.zeros(1, GAP)
    gap["kind"], gap["ts_event"], gap["reason"] = Kind.GAP, WHEN, GapReason.PACKET_LOSS
    gap["first_missing"], gap["last_missing"] = 17, 19
    other = np.zeros(1, TICK)
    other["kind"], other["instrument_id"], other["ts_event"] = 77, 99, WHEN
    for records in (quote, trade, gap, other):
        writer.publish(records.view(TICK))


def test_json_is_exact_and_complete(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Writer("cme", directory=shm_dir) as writer:
        publish_samples(writer)
        assert main(["tail", "cme", "--json", "--oldest", "-n", "4", "--shm-dir", shm_dir]) == 0
    quote, trade, gap, other = map(json.loads, capsys.readouterr().out.splitlines())
    assert (quote["kind"], quote["symbol"], quote["seq"]) == ("QUOTE", "ESZ6", 1)
    assert quote["ts_event"] == "2026-09-21T14:13:20.123456789Z"
    assert (quote["bid_price"], quote["ask_price"]) == ("6871.5", None)
    assert quote["flags"] == ["EVENT_END", "SNAPSHOT"]
    assert (trade["price"], trade["side"], trade["trade_id"]) == ("6871.25", "sell", 2**64 - 1)
    assert trade["ts_recv"] is None
    assert (gap["reason"], gap["first_missing"], gap["symbol"]) == ("PACKET_LOSS", 17, "")
    assert (other["kind"], other["symbol"]) == ("#77", "#99")


def test_text_has_the_grid_s_decimals(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Writer("cme", directory=shm_dir) as writer:
        publish_samples(writer)
        assert main(["tail", "cme", "--oldest", "-n", "4", "--shm-dir", shm_dir]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "-- 2026-09-21"
    assert "QUOTE   ESZ6" in lines[1]
    assert "12 x 6871.50 | - x 0 [snapshot]" in lines[1]
    assert lines[1].startswith("14:13:20.123456789  ")
    assert "3 at 6871.25 sell #18446744073709551615" in lines[2]
    assert "packet loss: 17 to 19" in lines[3]
    assert len(lines) == 5


def test_only_the_symbol_that_was_asked_for(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer("fx", directory=shm_dir) as writer:
        listed = listings("fx", 4)
        ids = [writer.instruments.add(item.symbol) for item in listed]
        writer.publish(Market(listed, 1000, 1, ids=ids).ticks(500))
        options = ["--oldest", "-n", "20", "--symbol", "USD/JPY", "--json", "--shm-dir", shm_dir]
        assert main(["tail", "fx", *options]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 20
    assert {row["symbol"] for row in rows} == {"USD/JPY"}


@pytest.mark.parametrize("as_json", [True, False])
def test_a_loss_is_told_where_it_happened(
    as_json: bool, shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = argparse.Namespace(json=as_json, n=5, symbol=None, no_follow=True)
    with (
        Writer("cme", 256, directory=shm_dir) as writer,
        Reader("cme", "oldest", follow=False, directory=shm_dir) as reader,
    ):
        publish_samples(writer)
        writer.publish(np.zeros(1000, TICK))
        tail._show(reader, arguments)
        lost = reader.lost
    first, *rest = capsys.readouterr().out.splitlines()
    assert lost > 0
    if as_json:
        assert json.loads(first) == {"kind": "LOST", "count": lost}
        assert json.loads(rest[0])["seq"] == lost + 1
    else:
        assert first.startswith(f"-- {lost} records lost")
    assert len([line for line in rest if not line.startswith("--")]) == 5


def test_a_ring_of_bars(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    bar = np.zeros(1, BAR)
    bar["ts_open"], bar["interval_s"], bar["volume"], bar["count"] = WHEN, 60, 42, 7
    for i, name in enumerate(("open", "high", "low", "close", "vwap")):
        bar[name] = to_fixed("5.5") + i
    with Writer("bars", dtype=BAR, directory=shm_dir) as writer:
        bar["instrument_id"] = writer.instruments.add("ESZ6")
        writer.publish(bar)
        common = ["tail", "bars", "--oldest", "-n", "1", "--shm-dir", shm_dir]
        assert main([*common, "--json"]) == 0
        assert main(common) == 0
    as_json, _, as_text = capsys.readouterr().out.splitlines()
    row = json.loads(as_json)
    assert (row["kind"], row["open"], row["vwap"]) == ("BAR", "5.5", "5.500000004")
    assert row["ts_first"] is None
    assert "BAR 60s ESZ6" in as_text
    assert "O 5.5 H 5.500000001" in as_text
    assert "vol 42" in as_text


@pytest.mark.parametrize("records", [0, 1])
def test_a_ring_of_another_layout_is_refused_before_it_is_waited_for(
    records: int, shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = np.dtype([("seq", "<u8"), ("x", "V56")])
    with Writer("own", dtype=own, directory=shm_dir) as writer:
        writer.publish(np.zeros(records, own))
        assert main(["tail", "own", "--oldest", "--shm-dir", shm_dir]) == 1
    told = capsys.readouterr().err
    assert "the ring own holds records of a layout of its own, neither ticks nor bars" in told
    assert "mdfeedd.Reader('own')" in told


def test_what_a_statistic_does_not_have_is_null(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.zeros(2, STATISTIC)
    rows["kind"], rows["ts_event"] = Kind.STATISTIC, WHEN
    rows["price"], rows["quantity"] = (PRICE_UNDEF, 5), (42, PRICE_UNDEF)
    rows["ts_ref_s"] = 0, 86_400
    with Writer("cme", directory=shm_dir) as writer:
        writer.publish(rows.view(TICK))
        assert main(["tail", "cme", "--json", "--oldest", "-n", "2", "--shm-dir", shm_dir]) == 0
    first, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["price"], first["quantity"], first["ts_ref_s"]) == (None, 42, None)
    assert (last["price"], last["quantity"], last["ts_ref_s"]) == ("0.000000005", None, 86_400)


def test_a_book_that_was_in_doubt_from_the_start_has_no_bounds(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.zeros(2, GAP)
    rows["kind"], rows["ts_event"], rows["reason"] = Kind.RECOVERED, WHEN, GapReason.PACKET_LOSS
    rows["first_missing"], rows["last_missing"] = (0, 17), (0, 19)
    with Writer("cme", directory=shm_dir) as writer:
        writer.publish(rows.view(TICK))
        assert main(["tail", "cme", "--oldest", "-n", "2", "--shm-dir", shm_dir]) == 0
    _, first, last = capsys.readouterr().out.splitlines()
    assert first.endswith("right for the first time since it was joined")
    assert last.endswith("packet loss: 17 to 19")


def test_a_status_is_shown_by_its_codes_or_as_what_a_vendor_lets_come(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.zeros(3, STATUS)
    rows["kind"], rows["ts_event"], rows["instrument_id"] = Kind.STATUS, WHEN, 0
    rows["state"], rows["reason"], rows["is_trading"] = (7, 0, 0), (1, 10_102, 10_100), (1, 0, 0)
    with Writer("blp", directory=shm_dir) as writer:
        writer.publish(rows.view(TICK))
        assert main(["tail", "blp", "--oldest", "-n", "3", "--shm-dir", shm_dir]) == 0
    trading, failed, back = capsys.readouterr().out.splitlines()[-3:]
    assert trading.endswith("state 7 reason 1 trading yes quoting ?")
    assert failed.endswith("no data: not entitled")
    assert back.endswith("data come again")


def test_figures_of_the_day_auctions_and_definitions_are_shown_in_words(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    statistic, imbalance = np.zeros(1, STATISTIC), np.zeros(1, IMBALANCE)
    definition, gap = np.zeros(1, DEFINITION), np.zeros(1, GAP)
    statistic["kind"], statistic["type"], statistic["price"] = Kind.STATISTIC, 3, to_fixed("6871.5")
    statistic["quantity"] = PRICE_UNDEF
    imbalance["kind"], imbalance["ref_price"] = Kind.IMBALANCE, to_fixed("12.5")
    imbalance["paired_size"], imbalance["imbalance_size"] = 700, 30
    definition["kind"], definition["tick_size"] = Kind.DEFINITION, to_fixed("0.25")
    definition["expiration"] = WHEN
    gap["kind"], gap["reason"], gap["first_missing"] = Kind.GAP, GapReason.DISCONNECT, WHEN
    gap["last_missing"] = WHEN + 5_000_000_000
    with Writer("cme", directory=shm_dir) as writer:
        for record in (statistic, imbalance, definition, gap):
            record["ts_event"] = WHEN
            writer.publish(record.view(TICK))
        assert main(["tail", "cme", "--oldest", "-n", "4", "--shm-dir", shm_dir]) == 0
    *_, day, auction, contract, missing = capsys.readouterr().out.splitlines()
    assert day.endswith("type 3 price 6871.5 quantity -")
    assert auction.endswith("paired 700 imbalance 30 ref 12.5")
    assert contract.endswith("tick size 0.25 expires 2026-09-21")
    assert missing.endswith("14:13:20.123456789 to 14:13:25.123456789")


def test_the_end_of_a_writer_is_told_once_and_the_next_one_is_waited_for(
    shm_dir: str, start: Start
) -> None:
    with Writer("cme", directory=shm_dir) as writer:
        publish_samples(writer)
    process = start("tail", "cme", "--json", "--oldest", "--shm-dir", shm_dir)
    assert process.stdout is not None
    assert process.stderr is not None
    assert [json.loads(process.stdout.readline())["seq"] for _ in range(4)] == [1, 2, 3, 4]
    assert "the writer of cme has ended; waiting for the next" in process.stderr.readline()
    time.sleep(LOOKS_S)
    with Writer("cme", directory=shm_dir) as writer:
        publish_samples(writer)
        assert json.loads(process.stdout.readline())["seq"] == 5
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


def test_a_ring_that_does_not_exist_names_those_that_do(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer("cme", directory=shm_dir):
        assert main(["tail", "cmi", "--shm-dir", shm_dir]) == 1
    err = capsys.readouterr().err
    assert "there is no ring cmi" in err
    assert "there is cme" in err
    assert main(["tail", "../x", "--shm-dir", shm_dir]) == 1
    assert main(["tail", "x", "--shm-dir", shm_dir + "/nowhere"]) == 1


def test_an_ended_ring_without_following_is_shown_and_done(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer("cme", directory=shm_dir) as writer:
        publish_samples(writer)
    assert main(["tail", "cme", "--oldest", "--no-follow", "--shm-dir", shm_dir]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_it_follows_and_ctrl_c_ends_it_quietly(shm_dir: str, start: Start) -> None:
    with Writer("cme", directory=shm_dir) as writer:
        publish_samples(writer)
        process = start("tail", "cme", "--json", "--oldest", "--shm-dir", shm_dir)
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["seq"] for _ in range(4)] == [1, 2, 3, 4]
        publish_samples(writer)
        assert json.loads(process.stdout.readline())["seq"] == 5, "flushed as it comes"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""


def test_a_closed_pipe_is_no_error(shm_dir: str, start: Start) -> None:
    with Writer("cme", directory=shm_dir) as writer:
        publish_samples(writer)
        process = start("tail", "cme", "--oldest", "--shm-dir", shm_dir)
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        while process.poll() is None:
            publish_samples(writer)
        assert process.stderr is not None
        err = process.stderr.read()
        process.stderr.close()
    assert process.returncode == 0
    assert err == ""


def test_a_symbol_that_the_ring_does_not_know_is_told_once(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer("cme", directory=shm_dir) as writer:
        publish_samples(writer)
    options = ["--oldest", "--no-follow", "--symbol", "NOPE", "--symbol", "ESZ6"]
    assert main(["tail", "cme", *options, "--shm-dir", shm_dir]) == 0
    err = capsys.readouterr().err
    assert err == "mdfeedd tail: no instrument NOPE in ring cme yet\n"


def test_a_ring_of_depth_is_shown_by_its_levels(
    shm_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = np.zeros(1, DEPTH)
    row["ts_event"], row["bids"], row["asks"], row["venue_seq"] = WHEN, 4, 0, 9
    row["flags"] = Flag.EVENT_END | Flag.STALE
    for i in range(4):
        row["bid_price"][0, i] = PRICE_UNDEF if i == 1 else to_fixed("100") - i * to_fixed("0.25")
        row["bid_size"][0, i], row["bid_orders"][0, i] = 10 + i, i
    row["bid_size"][0, 4:] = 99  # beyond `bids`: what was there before
    with Writer("cme.depth", dtype=DEPTH, directory=shm_dir) as writer:
        row["instrument_id"] = writer.instruments.add("ESZ6", tick_size=to_fixed("0.25"))
        writer.publish(row)
        common = ["tail", "cme.depth", "--oldest", "-n", "1", "--shm-dir", shm_dir]
        assert main([*common, "--json"]) == 0
        assert main(common) == 0
    as_json, _, as_text = capsys.readouterr().out.splitlines()
    told = json.loads(as_json)
    assert (told["kind"], told["symbol"], told["venue_seq"]) == ("DEPTH", "ESZ6", 9)
    assert told["flags"] == ["EVENT_END", "STALE"]
    assert told["ask"] == []
    assert told["bid"] == [
        {"price": "100", "size": 10, "orders": 0},
        {"price": None, "size": 11, "orders": 1},
        {"price": "99.5", "size": 12, "orders": 2},
        {"price": "99.25", "size": 13, "orders": 3},
    ]
    assert "DEPTH   ESZ6     12 x 99.50, 11 x -, 10 x 100.00 | - [stale]" in as_text


def test_a_ring_of_orders(shm_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.zeros(2, ORDER)
    rows["ts_event"], rows["order_id"], rows["size"] = WHEN, 2**63 + 1, 15
    rows["price"], rows["action"] = to_fixed("5000.25"), (OrderAction.NEW, 77)
    rows["side"] = Side.BID, Side.ASK
    with Writer("cme.orders", dtype=ORDER, directory=shm_dir) as writer:
        rows["instrument_id"] = writer.instruments.add("ESZ6", tick_size=to_fixed("0.25"))
        writer.publish(rows)
        common = ["tail", "cme.orders", "--oldest", "-n", "2", "--shm-dir", shm_dir]
        assert main([*common, "--json"]) == 0
        assert main(common) == 0
    first, second, _, new, odd = capsys.readouterr().out.splitlines()
    told = json.loads(first)
    assert (told["kind"], told["action"], told["side"]) == ("ORDER", "NEW", "buy")
    assert (told["price"], told["size"], told["order_id"]) == ("5000.25", 15, 2**63 + 1)
    assert json.loads(second)["action"] == "#77"
    assert new.endswith("ORDER   ESZ6     new    buy  15 at 5000.25 #9223372036854775809")
    assert "#77" in odd
    assert " sell 15 at " in odd
