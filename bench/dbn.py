"""DBN mbp-1 into a ring, beside what else reads DBN: one run, one table.

    python bench/dbn.py [--records 2000000] [--repeat 5] [--quick] [--save]

Rows: a bare C loop over the same bytes into 64-byte slots (the limit), the C decoder alone, `decode_into` from
memory, a whole `ReplayFeed` from a file in the page cache (process start left out), and
`databento_dbn.DBNDecoder` iterated with ten fields read of each record. Best of the repetitions, since other
work on the machine only ever adds time. --save keeps it in ``bench/results/dbn.json``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import databento_dbn as db
import machine
import numpy as np

from mdfeedd.feeds.databento.codec import DbnDecoder, Symbology
from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.feeds.protocol import RingPlan
from mdfeedd.feeds.replay.feed import ReplayFeed, ReplayOptions
from mdfeedd.ring import Writer

REPOSITORY = Path(__file__).resolve().parent.parent
INSTRUMENTS = 20
PIECE_BYTES = 1 << 18
PYTHON_SHARE = 20  # databento_dbn iterates over this part of the records: it is that much slower
T0 = 1_700_000_000_000_000_000
BARE_LOOP = r"""
#include "dbn.h"
#include <stdio.h>
#include <stdlib.h>
static uint8_t *read_all(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb"); fseek(f, 0, SEEK_END); *n = (size_t)ftell(f); rewind(f);
    uint8_t *in = malloc(*n); if (fread(in, 1, *n, f) != *n) exit(1); fclose(f); return in;
}
static double bare(const uint8_t *in, size_t n, mdf_tick *ring) {
    int64_t t = mdf_clock_ns(CLOCK_MONOTONIC); uint64_t seq = 0;
    for (size_t at = 0; at < n; at += 4u * in[at]) {
        const dbn_mbp_1 *r = (const dbn_mbp_1 *)(in + at);
        mdf_tick *k = &ring[seq & 65535];
        k->ts_event = (int64_t)r->base.hd.ts_event; k->ts_recv = (int64_t)r->base.ts_recv;
        k->instrument_id = r->base.hd.instrument_id; k->kind = 1; k->side = r->base.side == 'B' ? 1 : 2;
        k->flags = r->base.flags >> 7; k->venue_seq = r->base.sequence; k->count = r->level.bid_ct;
        memcpy(&k->payload, &r->level, 24);
        __atomic_store_n(&k->seq, ++seq, __ATOMIC_RELEASE);
    }
    return (double)(mdf_clock_ns(CLOCK_MONOTONIC) - t) / 1e9;
}
static double codec(const uint8_t *in, size_t n, mdf_tick *staged, mdf_bar *bars) {
    dbn_decoder s; dbn_open(&s, 3, 0);
    dbn_output out = {staged, 512, 0, bars, 64, 0}; size_t at = 0; int status;
    int64_t t = mdf_clock_ns(CLOCK_MONOTONIC);
    do {
        status = dbn_decode(&s, in, n, &at, &out); out.ticks_n = 0;
        if (status == DBN_NEED_INSTRUMENT)
            dbn_map(&s, s.need_publisher, s.need_instrument, s.need_instrument, INT64_MIN, INT64_MAX, 0);
    } while (status != DBN_NEED_INPUT);
    t = mdf_clock_ns(CLOCK_MONOTONIC) - t; dbn_close(&s); return (double)t / 1e9;
}
int main(int argc, char **argv) {
    size_t n; uint8_t *in = read_all(argv[1], &n);
    mdf_tick *ring = aligned_alloc(64, 65536 * sizeof *ring); memset(ring, 0, 65536 * sizeof *ring);
    static mdf_bar bars[64]; double best[2] = {1e9, 1e9}; (void)argc;
    for (int i = 0; i < atoi(argv[2]); i++) {
        double a = bare(in, n, ring), b = codec(in, n, ring, bars);
        if (a < best[0]) best[0] = a;
        if (b < best[1]) best[1] = b;
    }
    printf("%.9f %.9f\n", best[0], best[1]);
    return 0;
}
"""


def records(n: int) -> bytes:
    """Book updates of a busy feed: 20 instruments in turn, a trade in every 25 records."""
    rows = np.zeros(n, record_dtype(1, 3))
    i = np.arange(n)
    rows["length"], rows["rtype"], rows["publisher_id"] = 20, 1, 1
    rows["instrument_id"] = 1_000 + i % INSTRUMENTS
    rows["ts_event"] = T0 + 1_000 * i
    rows["ts_recv"] = rows["ts_event"] + 5_000
    rows["action"] = np.where(i % 25 == 24, b"T", b"A")
    rows["side"] = np.where(i % 2, b"B", b"A")
    rows["flags"], rows["sequence"], rows["price"], rows["size"] = 130, i, 10**12, 3
    rows["bid_px_00"], rows["ask_px_00"] = 10**12 - 10**9 * (i % 9), 10**12 + 10**9
    rows["bid_sz_00"], rows["ask_sz_00"], rows["bid_ct_00"], rows["ask_ct_00"] = 5, 6, 2, 3
    return rows.tobytes()


def in_c(path: Path, repeat: int, folder: Path) -> tuple[float, float]:
    source, program = folder / "bare.c", folder / "bare"
    source.write_text(BARE_LOOP)
    includes = [
        f"-I{REPOSITORY / 'mdfeedd/ring'}",
        f"-I{REPOSITORY / 'mdfeedd/feeds/databento/codec'}",
    ]
    subprocess.run(["gcc", "-std=c11", "-O2", *includes, source, "-o", program], check=True)
    out = subprocess.run([program, path, str(repeat)], check=True, capture_output=True, text=True)
    bare, codec = out.stdout.split()
    return float(bare), float(codec)


def into_ring(raw: bytes, directory: str) -> float:
    view = memoryview(raw)
    with Writer("bench", directory=directory) as writer:
        decoder = DbnDecoder(Symbology(writer.instruments), version=3)
        begin = time.perf_counter()
        for at in range(0, len(view), PIECE_BYTES):
            decoder.decode_into(writer, view[at : at + PIECE_BYTES])
        return time.perf_counter() - begin


def file_to_ring(path: Path, directory: str) -> float:
    feed = ReplayFeed("file", ReplayOptions((str(path),)), RingPlan("file", directory=directory))
    begin = time.perf_counter()
    feed.run(threading.Event())
    return time.perf_counter() - begin


def official(raw: bytes) -> float:
    decoder = db.DBNDecoder(has_metadata=False, input_version=3)
    begin = time.perf_counter()
    for at in range(0, len(raw), 65_536):
        for r in decoder.write_and_decode(raw[at : at + 65_536]):
            level = r.levels[0]
            _ = (r.instrument_id, r.ts_event, r.ts_recv, r.side, r.flags, r.sequence)
            _ = (level.bid_px, level.ask_px, level.bid_sz, level.ask_sz)
    return time.perf_counter() - begin


def measure(n: int, repeat: int, folder: Path, directory: str) -> dict[str, float]:
    """Million records a second, by row."""
    raw = records(n)
    fragment, whole = folder / "a.dbn.frag", folder / "a.dbn"
    fragment.write_bytes(raw)
    head = db.Metadata(
        dataset="BENCH", start=T0, stype_in=None, stype_out=db.SType.INSTRUMENT_ID,
        schema=db.Schema.MBP_1, symbols=[],
    ).encode()  # fmt: skip
    whole.write_bytes(head + raw)
    bare, codec = in_c(fragment, repeat, folder)
    part = raw[: len(raw) // PYTHON_SHARE // 80 * 80]
    seconds = {
        "bare C loop": bare,
        "C decoder alone": codec,
        "bytes to ring (decode_into)": min(into_ring(raw, directory) for _ in range(repeat)),
        "file to ring (ReplayFeed)": min(file_to_ring(whole, directory) for _ in range(repeat)),
    }
    rates = {name: n / s / 1e6 for name, s in seconds.items()}
    slow = min(official(part) for _ in range(2))
    return rates | {"databento_dbn.DBNDecoder, 10 fields read": len(part) / 80 / slow / 1e6}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the records, twice")
    parser.add_argument("--save", action="store_true", help="write results/dbn.json")
    options = parser.parse_args()
    if options.quick:
        options.records, options.repeat = options.records // 10, 2
    directory = tempfile.mkdtemp(prefix="mdfeedd-bench-", dir="/dev/shm")
    try:
        with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-") as folder:
            rates = measure(options.records, options.repeat, Path(folder), directory)
    finally:
        shutil.rmtree(directory)
    limit, peer = rates["bare C loop"], rates["databento_dbn.DBNDecoder, 10 fields read"]
    print(f"{'mbp-1':44}{'M records/s':>12}{'of bare C':>11}{'x databento_dbn':>17}")
    for name, rate in rates.items():
        print(f"{name:44}{rate:12.2f}{rate / limit:11.2f}{rate / peer:17.1f}")
    result = {
        "machine": machine.describe("numpy", "databento-dbn"),
        "records": options.records,
        "million_records_per_s": {name: round(rate, 3) for name, rate in rates.items()},
    }
    if options.save:
        machine.save("dbn", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
