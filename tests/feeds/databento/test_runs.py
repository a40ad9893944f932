"""The loop for runs of mbp-1 makes the ticks that the decoder of single records makes, whatever their bytes are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mdfeedd.feeds.databento.codec import DbnDecoder, LocalInstruments, Symbology
from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.ring import Reader, Writer
from mdfeedd.tick import TICK

T0 = 1_700_000_000_000_000_000
UNDEFINED_PRICE, UNDEFINED_SIZE = 2**63 - 1, 2**32 - 1
DTYPE = record_dtype(0x01, 3)


def rows(n):
    made = np.zeros(n, DTYPE)
    made["length"], made["rtype"], made["publisher_id"] = DTYPE.itemsize // 4, 1, 1
    made["instrument_id"] = 7 + np.arange(n) % 3
    made["ts_event"] = T0 + np.arange(n)
    made["ts_recv"] = made["ts_event"] + 5
    made["sequence"], made["price"], made["size"] = np.arange(n), 10**9, 3
    made["action"], made["side"] = b"A", b"B"
    made["bid_px_00"], made["ask_px_00"] = 10**9, 2 * 10**9
    made["bid_sz_00"], made["ask_sz_00"], made["bid_ct_00"], made["ask_ct_00"] = 5, 6, 8, 9
    return made


def every_byte():
    """All flags, with all actions and sides, and with some that mean nothing."""
    choices = list(itertools.product(b"ACMNTRFX\0", b"BANx\0\xff", range(256)))
    made = rows(len(choices))
    offsets = [DTYPE.fields[name][1] for name in ("action", "side", "flags")]
    octets = made.view(np.uint8).reshape(len(made), -1)
    octets[:, offsets] = np.array(choices, np.uint8)
    return made


def every_undefined():
    names = ("bid_px_00", "ask_px_00", "bid_sz_00", "ask_sz_00", "bid_ct_00", "ask_ct_00", "size")
    sides, actions = (b"B", b"A", b"N"), (b"A", b"T")
    choices = list(itertools.product([False, True], repeat=len(names)))
    made = rows(len(choices) * len(sides) * len(actions))
    for i, (undefined, side, action) in enumerate(itertools.product(choices, sides, actions)):
        made["side"][i], made["action"][i] = side, action
        for name, is_undefined in zip(names, undefined, strict=True):
            if is_undefined:
                made[name][i] = UNDEFINED_PRICE if "px" in name else UNDEFINED_SIZE
    return made


def decoded(data, size, directory, name):
    """Into a ring, in pieces of so many bytes."""
    decoder = DbnDecoder(Symbology(LocalInstruments()), version=3)
    with (
        Writer(name, dtype=TICK, capacity=1 << 15, directory=directory) as writer,
        Reader(name, start="oldest", directory=directory) as reader,
    ):
        for at in range(0, len(data), size):
            assert decoder.decode_into(writer, data[at : at + size], ts_recv_ns=1) == min(
                size, len(data) - at
            )
        return reader.read(1 << 15, timeout=0).records.copy(), decoder.counts


@pytest.mark.parametrize("make", [every_byte, every_undefined])
def test_runs_and_single_records_make_the_same(make, shm_dir):
    data = make().tobytes()
    runs, counts = decoded(data, len(data), shm_dir, "runs")
    singly, counts_singly = decoded(data, DTYPE.itemsize - 1, shm_dir, "singly")  # each one is cut
    arrays, _ = DbnDecoder(Symbology(LocalInstruments()), version=3).decode(data, 1)
    assert len(runs) > 500
    assert runs.tobytes() == singly.tobytes()
    arrays["seq"] = runs["seq"]
    assert runs.tobytes() == arrays.tobytes()
    assert counts == counts_singly
