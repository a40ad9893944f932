"""What a process that reads a ring costs: memory over bare numpy, time to import, allocations per tick."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np

from mdfeedd.ring import Reader, Writer
from mdfeedd.tick import TICK

RING = "footprint"
CAPACITY = 65_536
SETTLING = 2_000  # calls before the count, for what is made once
_REPORT = """
import json
fields = {}
for line in open("/proc/self/smaps_rollup"):
    key, _, rest = line.partition(":")
    if rest.strip().endswith("kB"):
        fields[key] = int(rest.split()[0]) / 1024
uss = fields["Private_Clean"] + fields["Private_Dirty"]
print(json.dumps({"rss": fields["Rss"], "pss": fields["Pss"], "uss": uss}))
"""
_BARE = "import numpy as np; np.zeros(8)\n"
_READER = """
import numpy as np
from mdfeedd import Reader
reader = Reader({ring!r}, start="oldest", directory={directory!r})
got = 0
while batch := reader.read(4096, 0):
    got += len(batch.records)
assert got >= {capacity} // 2, got
"""


def _child(code: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", code + _REPORT], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def _import_ms(statement: str) -> float:
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return float(done.stdout) * 1e3


def _grown_bytes(writer: Writer, reader: Reader, calls: int) -> tuple[int, int]:
    """Python memory: what stays after `calls` publishes and reads, and the highest in between."""
    one, many = np.zeros(1, TICK), np.zeros(64, TICK)
    into = np.zeros(4096, TICK)
    publish, read_into = writer.publish, reader.read_into

    def work(n: int) -> None:
        for _ in range(n):
            publish(one)
            publish(many)
            read_into(into)

    work(SETTLING)
    gc.collect()
    tracemalloc.start()
    work(SETTLING)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    work(calls)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before, peak - before


def measure(directory: str, rounds: int) -> dict[str, object]:
    """MiB of a reading process over one that has imported numpy, ms of the import, bytes per calls."""
    with Writer(RING, CAPACITY, directory=directory) as writer:
        writer.publish(np.zeros(CAPACITY, TICK))
        code = _READER.format(ring=RING, directory=directory, capacity=CAPACITY)
        over = []
        for _ in range(rounds):
            bare, reading = _child(_BARE), _child(code)
            over.append({key: reading[key] - bare[key] for key in bare})
        with Reader(RING, directory=directory) as reader:
            growth = {n: _grown_bytes(writer, reader, n) for n in (1_000, 100_000)}
    file_bytes = Path(directory, f"mdfeedd.{RING}").stat()
    imports = [
        (_import_ms("import numpy"), _import_ms("import numpy; import mdfeedd"))
        for _ in range(2 * rounds + 1)
    ]
    return {
        "over_numpy_mib": {k: round(statistics.median(o[k] for o in over), 2) for k in over[0]},
        "ring_file_allocated_bytes": file_bytes.st_blocks * 512,
        "ring_slots_bytes": CAPACITY * TICK.itemsize,
        "import_numpy_ms": round(statistics.median(n for n, _ in imports), 1),
        "import_over_numpy_ms": round(statistics.median(ours - n for n, ours in imports), 1),
        "python_bytes_kept": {str(n): kept for n, (kept, _) in growth.items()},
        "python_bytes_peak": {str(n): peak for n, (_, peak) in growth.items()},
    }
