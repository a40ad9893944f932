"""Last values of real rings: what is new since the last look, exactly, and nobody is registered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.daemon import board
from mdfeedd.daemon.board import Board
from mdfeedd.ring import Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import BAR, DEPTH, QUOTE, TICK, TRADE, Kind, to_fixed


def quote(instrument_id, bid, ask):
    record = np.zeros(1, QUOTE)
    record["kind"], record["instrument_id"] = Kind.QUOTE, instrument_id
    record["bid_price"], record["ask_price"] = to_fixed(bid), to_fixed(ask)
    return record.view(TICK)


def trade(instrument_id, price):
    record = np.zeros(1, TRADE)
    record["kind"], record["instrument_id"], record["price"] = (
        Kind.TRADE,
        instrument_id,
        to_fixed(price),
    )
    return record.view(TICK)


def bar(instrument_id, close):
    record = np.zeros(1, BAR)
    record["instrument_id"], record["interval_s"], record["close"] = (
        instrument_id,
        60,
        to_fixed(close),
    )
    return record


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(board, "FRESH_S", 0.0)


def rings(a_board):
    return {ring["ring"]: ring for ring in json.loads(a_board.answer())["rings"]}


def test_last_of_each_instrument_also_when_it_was_long_ago(shm_dir):
    with Writer("cme", 256, directory=shm_dir) as writer:
        es = writer.instruments.add("ESZ6")
        nq = writer.instruments.add("NQZ6")
        writer.publish(quote(nq, "2.5", "2.75"))
        a_board = Board(shm_dir)
        (seldom,) = rings(a_board)["cme"]["records"]
        assert (seldom["symbol"], seldom["bid_price"], seldom["ask_price"]) == (
            "NQZ6",
            "2.5",
            "2.75",
        )
        for i in range(1000):  # laps the ring
            writer.publish(quote(es, i, i + 1))
        writer.publish(trade(es, "7.125"))
        records = rings(a_board)["cme"]["records"]
        told = [(r["symbol"], r["kind"], r.get("bid_price", r.get("price"))) for r in records]
        assert told == [
            ("NQZ6", "QUOTE", "2.5"),
            ("ESZ6", "QUOTE", "999"),
            ("ESZ6", "TRADE", "7.125"),
        ]
        assert inspect("cme", shm_dir).consumers == ()


def test_bars_in_order_each_once_and_not_too_many(shm_dir, monkeypatch):
    monkeypatch.setattr(board, "MAX_BARS", 3)
    with Writer("bars", 256, dtype=BAR, directory=shm_dir) as writer:
        one = writer.instruments.add("ESZ6")
        a_board = Board(shm_dir)
        assert rings(a_board)["bars"] == {"ring": "bars", "kind": "bar", "records": []}
        for close in range(1, 6):
            writer.publish(bar(one, close))
            told = [r["close"] for r in rings(a_board)["bars"]["records"]]
            assert told == [str(c) for c in range(max(1, close - 2), close + 1)]


def test_ring_made_anew_is_begun_anew_and_a_removed_one_is_forgotten(shm_dir):
    a_board = Board(shm_dir)
    for price in ("1", "2"):
        with Writer("cme", 256, directory=shm_dir) as writer:
            writer.publish(quote(writer.instruments.add("ESZ6"), price, price))
        assert [r["bid_price"] for r in rings(a_board)["cme"]["records"]] == [price]
        for file in Path(shm_dir).iterdir():
            file.unlink()
        assert rings(a_board) == {}


def test_other_layouts_and_rubbish_are_left_out(shm_dir):
    Path(shm_dir, "mdfeedd.rubbish").write_bytes(b"no ring" * 1000)
    with Writer("deep", 256, dtype=DEPTH, directory=shm_dir), Writer("t", 256, directory=shm_dir):
        assert list(rings(Board(shm_dir))) == ["t"]


def test_no_folder(tmp_path):
    assert rings(Board(str(tmp_path / "none"))) == {}


def test_answer_is_kept_for_a_moment(shm_dir, monkeypatch):
    monkeypatch.setattr(board, "FRESH_S", 3600.0)
    a_board = Board(shm_dir)
    first = a_board.answer()
    with Writer("cme", 256, directory=shm_dir):
        assert a_board.answer() is first
