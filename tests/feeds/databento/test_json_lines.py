"""DBN as JSON lines: cut anywhere, pretty or raw, and lines that are something else."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from mdfeedd.feeds.databento.codec import DbnDecoder, JsonLines, LocalInstruments, Symbology
from mdfeedd.feeds.databento.codec.json_lines import MAX_LINE_BYTES, VERSION, JsonLineError
from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.tick import QUOTE

HEADER = {"ts_event": "1700000000000000001", "rtype": 1, "publisher_id": 1, "instrument_id": 7}
LEVEL = {
    "bid_px": "5000000000",
    "ask_px": "6.500000000",
    "bid_sz": 3,
    "ask_sz": 4,
    "bid_ct": 1,
    "ask_ct": 2,
}


def line(**changes):
    record = {
        "ts_recv": "2023-11-14T22:13:20.000000005Z", "hd": HEADER, "action": "A", "side": "B",
        "depth": 0, "price": "5.000000000", "size": 3, "flags": 128, "ts_in_delta": 0, "sequence": 9,
        "levels": [LEVEL], "symbol": "ESZ3",
    } | changes  # fmt: skip
    return json.dumps({k: v for k, v in record.items() if v != "leave out"}).encode() + b"\n"


def test_one_line_is_one_record_and_its_name():
    table = LocalInstruments()
    decoder = DbnDecoder(Symbology(table), version=VERSION)
    ticks = decoder.decode(JsonLines().feed(line())).ticks
    quote = ticks.view(QUOTE)[0]
    assert (quote["bid_price"], quote["ask_price"]) == (5 * 10**9, 65 * 10**8)
    assert (quote["ts_event"], quote["ts_recv"]) == (1700000000000000001, 1700000000000000005)
    assert table.symbols[quote["instrument_id"].item()] == "ESZ3"


@pytest.mark.parametrize("seed", range(5))
def test_lines_cut_anywhere_with_and_without_a_last_newline(seed):
    rng = random.Random(seed)
    text = b"\n".join(line(sequence=i, symbol=f"S{i % 3}").rstrip() for i in range(50))
    text += b"\r\n\n" if seed % 2 else b""
    cuts = sorted(rng.choices(range(len(text)), k=30))
    lines = JsonLines()
    out = b"".join(
        lines.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)
    )
    out += lines.finish()
    whole = JsonLines()
    assert out == whole.feed(text) + whole.finish()
    ticks = DbnDecoder(Symbology(LocalInstruments()), version=VERSION).decode(out).ticks
    assert ticks["venue_seq"].tolist() == list(range(50))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"hello\n", "Expecting value"),
        (b"[1]\n", "it has no header 'hd'"),
        (b"{}\n", "it has no header 'hd'"),
        (b'{"hd":{"rtype":119}}\n', "rtype 119 is unknown"),
        (line(flags="leave out"), "it has no flags"),
        (line(levels=[]), "it has no bid_px_00"),
        (line(flags=256), "format requires"),
        (line(price="1.0000000001"), "more than 9 decimals"),
        (line(ts_recv="2023-11-14T22:13:20"), "is not a time in UTC"),
        (line(ts_recv="2023-11-14T22:13:20.5+02:00"), "is not a time in UTC"),
        (line(ts_recv="yesterday, 20.000000005Z"), "Invalid isoformat"),
        (b"\xff\xfe\n", "Expecting value|codec can't decode"),
        (b'{"hd":' * 5_000 + b"\n", "nested too deeply"),
    ],
)
def test_a_line_that_is_no_record_is_told_with_its_number(bad, reason):
    lines = JsonLines()
    good = lines.feed(b"\n" + line())
    assert lines.feed(line() + bad + line()) == good[176:]  # the name is told once
    for _ in range(2):
        with pytest.raises(JsonLineError, match=reason) as told:
            lines.feed(line())
        assert told.value.line == 4
        assert told.value.offset == 1 + 2 * len(line())


def test_a_line_without_an_end_is_refused_at_the_limit():
    lines = JsonLines()
    assert lines.feed(b" " * MAX_LINE_BYTES) == b""
    with pytest.raises(JsonLineError, match=r"line 1 .* longer than 65536 bytes"):
        lines.feed(b" ")


def test_null_is_the_undefined_value():
    empty = LEVEL | {"bid_px": None, "ask_px": None}
    raw = JsonLines().feed(
        line(levels=[empty], price=None, hd=HEADER | {"ts_event": None}, symbol=None)
    )
    record = np.frombuffer(raw, record_dtype(1, VERSION))[0]
    assert record["price"] == record["bid_px_00"] == 2**63 - 1
    assert record["ts_event"] == 2**64 - 1
