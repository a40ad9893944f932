"""A decoder that is to stop before the next record of a type: in arrays, into a ring, from a socket; once."""

from __future__ import annotations

import random
import socket

import databento_dbn as db
import numpy as np
import pytest

from mdfeedd.feeds.databento.codec import DbnDecoder, LocalInstruments, RecordHeld, Symbology
from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.feeds.databento.session import _pump
from mdfeedd.ring import Reader, Writer
from mdfeedd.tick import TICK, Kind

T0 = 1_700_000_000_000_000_000
MBP_1, TRADE, STATUS, BAR = 0x01, 0x00, 0x12, 0x20
ACTIONS = {MBP_1: b"A", TRADE: b"T"}
MANY = 700  # more than a run takes at once


def row(rtype, at, ts_out=False):
    dtype = record_dtype(rtype, 3)
    r = np.zeros(1, dtype)
    r["length"], r["rtype"], r["publisher_id"], r["instrument_id"] = (
        dtype.itemsize // 4,
        rtype,
        1,
        7,
    )
    r["ts_event"] = T0 + at
    if "ts_recv" in dtype.names:
        r["ts_recv"] = T0 + at
    if rtype in ACTIONS:
        r["action"], r["side"] = ACTIONS[rtype], b"B"
    data = r.tobytes()
    return bytes([data[0] + 2]) + data[1:] + bytes(8) if ts_out else data


def metadata(ts_out=False):
    return db.Metadata(
        dataset="GLBX.MDP3", start=T0, stype_in=None, stype_out=db.SType.INSTRUMENT_ID, schema=None,
        symbols=[], version=3, ts_out=ts_out,
    ).encode()  # fmt: skip


def stream(ts_out=False):
    """Trades, then mbp-1 with a status now and then, of several runs."""
    types = [TRADE] * 3 + [MBP_1] * 5 + [STATUS] + [MBP_1] * MANY + [TRADE, STATUS] + [MBP_1] * MANY
    return types, [row(rtype, at, ts_out) for at, rtype in enumerate(types)]


class Ring:
    """A ring, and a decoder that writes into it."""

    def __init__(self, directory):
        self.writer = Writer("r", dtype=TICK, capacity=4096, directory=directory)
        self.reader = Reader("r", start="oldest", directory=directory)
        self.decoder = DbnDecoder(Symbology(LocalInstruments()))

    def ticks(self):
        return self.reader.read(4096, timeout=0).records.copy()

    def close(self):
        self.reader.close()
        self.writer.close()


@pytest.fixture
def ring(shm_dir):
    one = Ring(shm_dir)
    yield one
    one.close()


def decode(ring, data):
    """As a session does it: yields the number of ticks since the last pause, and the events, at each pause."""
    left = memoryview(data)
    while True:
        used = ring.decoder.decode_into(ring.writer, left, ts_recv_ns=1, pause=True)
        left = left[used:]
        yield len(ring.ticks()), ring.decoder.take_events()
        if not ring.decoder.paused:
            return


@pytest.mark.parametrize("ts_out", [False, True])
@pytest.mark.parametrize("cut", [None, 1, 2, 3])
@pytest.mark.parametrize("held", [MBP_1, TRADE, STATUS])
def test_nothing_of_the_type_comes_before_its_event(ring, held, cut, ts_out):
    types, records = stream(ts_out)
    assert list(decode(ring, metadata(ts_out)))[-1] == (0, [])
    ring.decoder.hold(held)
    data, pieces = b"".join(records), []
    rng = random.Random(cut)
    while data:
        size = rng.randint(1, 300) if cut else len(data)
        pieces.append(data[:size])
        data = data[size:]
    published, told_at = 0, []
    for piece in pieces:
        for n, events in decode(ring, piece):
            published += n
            told_at += [published] * len(events)
    assert told_at == [types.index(held)]
    assert published == ring.decoder.counts["records"] == len(types)


def test_records_before_it_are_published_and_the_record_itself_after(ring):
    types, records = stream()
    list(decode(ring, metadata()))
    ring.decoder.hold(MBP_1)
    ring.decoder.hold(STATUS)
    steps = list(decode(ring, b"".join(records)))
    assert steps == [
        (types.index(MBP_1), [RecordHeld(MBP_1)]),
        (types.index(STATUS) - types.index(MBP_1), [RecordHeld(STATUS)]),
        (len(types) - types.index(STATUS), []),
    ]


def test_released_before_anything_came(ring):
    types, records = stream()
    list(decode(ring, metadata()))
    ring.decoder.hold(MBP_1)
    ring.decoder.release(MBP_1)
    assert list(decode(ring, b"".join(records))) == [(len(types), [])]


def test_records_that_cannot_be_used_are_not_what_is_waited_for(ring):
    short = bytes([5, MBP_1]) + row(MBP_1, 0)[2:20]
    list(decode(ring, metadata()))
    ring.decoder.hold(MBP_1)
    events = [event for _, told in decode(ring, short + row(MBP_1, 1)) for event in told]
    assert [type(event).__name__ for event in events] == ["ShortRecord", "RecordHeld"]


def test_bars_are_held_too(ring):
    list(decode(ring, metadata()))
    ring.decoder.hold(BAR)
    steps = list(decode(ring, row(TRADE, 0) + row(BAR, 1)))
    assert [events for _, events in steps] == [[RecordHeld(BAR)], []]
    assert ring.decoder.counts["skipped"] == 1  # there is no ring for it


@pytest.mark.parametrize("spin_ns", [0, 10**8])
def test_pump_stops_before_it(ring, spin_ns):
    """What was told in between stands in the ring before the first record of the type, and after all others."""
    types, records = stream()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(None)
        ours.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(8) + (50_000).to_bytes(8, "little")
        )
        theirs.sendall(metadata() + b"".join(records))
        theirs.shutdown(socket.SHUT_WR)
        pump = _pump.Pump(ring.decoder, ring.writer, spin_ns=spin_ns)
        assert pump.run(ours.fileno(), 10**9) == _pump.EVENT
        ring.decoder.hold(MBP_1)
        assert pump.run(ours.fileno(), 10**9) == _pump.EVENT
        assert ring.decoder.take_events() == [RecordHeld(MBP_1)]
        gap = np.zeros(1, TICK)
        gap["kind"] = Kind.GAP
        ring.writer.publish(gap)
        why = _pump.TIME_OVER
        while why == _pump.TIME_OVER:
            why = pump.run(ours.fileno(), 10**9)
        assert why == _pump.ENDED
    kinds = {TRADE: Kind.TRADE, MBP_1: Kind.QUOTE, STATUS: Kind.STATUS}
    wanted = [kinds[rtype] for rtype in types]
    wanted.insert(types.index(MBP_1), Kind.GAP)
    assert ring.ticks()["kind"].tolist() == wanted
