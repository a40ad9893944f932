"""The journal against what the same disk and processor allow, side by side in one run.

    python bench/journal.py [--quick] [--rounds N] [--folder DIR] [--only append,sync,ring,scan,latency] [--save]

append   records in memory into segments, no syncs: blocks of 8192 and of 1024 records; beside the same bytes
         by `pwrite` alone into a file that has its room (the page cache's limit), and into one without
sync     fdatasync after each 65,536 records, which is what the consumer reads at a time with fsync: batch, and
         after each block of 8192; beside `pwrite` and fdatasync alone, of 8192
ring     a writer's process, unpaced, and the journal consumer's: what is stored, and what it lost
scan     recovery, and a reader that catches up; beside `read` alone
latency  a process that publishes 1,000 records every millisecond, and polls the journal's marks: from the
         publishing of a record to the marks `written` and `durable`, per policy

Rounds are interleaved; a figure is the median, a ratio the median of the ratios within each round. The folder
should be on the disk that is meant: by default one made in the current folder. Targets: append 40 M records/s
of a processor's time, sync 3 M/s. Written to bench/results/journal.json with --save.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

import machine
import numpy as np

from mdfeedd.consumers.journal import JournalConsumer, JournalOptions
from mdfeedd.journal import JournalReader, JournalWriter, WriterOptions
from mdfeedd.journal.marks import MarksFile
from mdfeedd.journal.recovery import look
from mdfeedd.journal.segment import list_segments
from mdfeedd.ring import Writer
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import TICK, layout_of

SECTIONS = ("append", "sync", "ring", "scan", "latency")
TARGETS = {"append 8192, per CPU second": 40.0, "sync 65536": 3.0}
BLOCK = 8192
RESULT = Path(__file__).parent / "results" / "journal.json"
SPAWN = multiprocessing.get_context("spawn")
PATIENCE_S = 120


def ticks(n):
    out = np.zeros(n, TICK)
    out["seq"] = np.arange(1, n + 1)
    out["ts_recv"] = time.time_ns()
    out["instrument_id"] = np.arange(n) % 500
    return out


def begin():
    """Now, by the clock on the wall and by that of this process's processor time."""
    return time.perf_counter(), time.process_time()


def rate(n, start):
    """M records a second of wall time, and of processor time: that of a core of its own."""
    wall, cpu = start
    return n / (time.perf_counter() - wall) / 1e6, n / (time.process_time() - cpu) / 1e6


def plain_writes(folder, n, *, room, each=BLOCK, sync=False):
    """M records/s of `pwrite` of so many bytes at a time, and nothing else."""
    data = ticks(each).view("u1").data
    fd = os.open(folder / "plain", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        if room:
            os.posix_fallocate(fd, 0, n * 64)
        start = begin()
        for at in range(0, n * 64, len(data)):
            os.pwrite(fd, data, at)
            if sync:
                os.fdatasync(fd)
        return rate(n, start)
    finally:
        os.close(fd)
        os.unlink(folder / "plain")


def append(folder, n, *, each=BLOCK, batch=0, fsync="none"):
    """M records/s of the writer, from memory."""
    records = ticks(each)
    writer = JournalWriter(folder / "es", "es", WriterOptions(fsync=fsync))
    writer.begin("ab" * 16, feed="f", layout=layout_of(TICK), record_bytes=64, next_seq=1)
    seqs = records["seq"]
    start = begin()
    for at in range(0, n, each):
        seqs += each if at else 0
        writer.append(records, 1)
        if not batch or at % batch == batch - each:
            writer.commit()
    figure = rate(n, start)
    writer.close()
    shutil.rmtree(folder / "es")
    return figure


def scan(folder, n):
    """Recovery of a last segment, a reader that reads all, and `read` alone."""
    writer = JournalWriter(folder / "es", "es", WriterOptions(fsync="none"))
    writer.begin("ab" * 16, feed="f", layout=layout_of(TICK), record_bytes=64, next_seq=1)
    records = ticks(BLOCK)
    for _ in range(0, n, BLOCK):
        writer.append(records, 1)
        records["seq"] += BLOCK
    writer.close()
    name = list_segments(folder / "es")[0]
    in_it = (name.path.stat().st_size // 64) - 64
    buffer = bytearray(4 << 20)
    start = begin()
    with name.path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    figures = {"read alone": rate(in_it, start)}
    start = begin()
    tail = look(name, None)
    figures["recovery"] = rate(tail.last_seq, start)
    start = begin()
    read = 0
    with JournalReader(folder / "es") as reader:
        while len(batch := reader.read(65_536)):
            read += len(batch)
    figures["reader"] = rate(read, start)
    shutil.rmtree(folder / "es")
    return figures


def consume(path, shm_dir, fsync, cpu):
    """The journal's process."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {cpu})
    options = JournalOptions(path=path, fsync=fsync, follow=False, wait_s=PATIENCE_S)
    JournalConsumer("journal", options, ["es"], shm_dir).run(threading.Event())


@contextlib.contextmanager
def journalled(folder, shm_dir, fsync, capacity):
    """A ring's writer, with the journal consumer in another process on the other processor."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[0]})
    arguments = (str(folder), shm_dir, fsync, cpus[-1])
    with Writer("es", capacity, directory=shm_dir) as writer:
        child = SPAWN.Process(target=consume, args=arguments)
        child.start()
        end = time.monotonic() + PATIENCE_S
        while writer.consumer_count() == 0 and time.monotonic() < end:
            time.sleep(0.01)
        yield writer
    child.join(PATIENCE_S)
    os.sched_setaffinity(0, set(cpus))
    shutil.rmtree(folder / "es")


def consumer_of(shm_dir):
    return next(c for c in inspect("es", shm_dir).consumers if c.name == "journal")


def from_ring(folder, n):
    """M records/s that arrive in the files while the ring's writer does not wait, and the share lost."""
    shm_dir = tempfile.mkdtemp(dir="/dev/shm", prefix="mdfeedd-bench-")
    records = ticks(256)
    try:
        with journalled(folder, shm_dir, "none", 1 << 20) as writer:
            slack = (1 << 20) * 3 // 4
            start = begin()
            waited = 0
            for _ in range(0, n, 256):
                writer.publish(records)
                if writer.next_seq - (writer.slowest_consumer() or 0) > slack:
                    waited += 1
                    while writer.next_seq - (writer.slowest_consumer() or 0) > slack // 2:
                        pass
            while consumer_of(shm_dir).acked < n:
                time.sleep(0.0005)
            figure, _ = rate(n, start)
            lost = consumer_of(shm_dir).lost
            return {"ring to files": figure, "lost": lost, "times the writer waited": waited}
    finally:
        shutil.rmtree(shm_dir)


def latency(folder, seconds, fsync):
    """p50 and p99 in ms from publish to the marks, at 1,000 records a millisecond."""
    shm_dir = tempfile.mkdtemp(dir="/dev/shm", prefix="mdfeedd-bench-")
    records = ticks(1000)
    pending = {"written": [], "durable": []}
    taken = {"written": [], "durable": []}
    try:
        with journalled(folder, shm_dir, fsync, 1 << 20) as writer:
            writer.publish(records)
            end = time.monotonic() + PATIENCE_S
            while not (folder / "es" / "position").exists() and time.monotonic() < end:
                time.sleep(0.01)
            marks = MarksFile(folder / "es" / "position")
            due = time.perf_counter_ns()
            last = due + int(seconds * 1e9)
            while due < last or any(pending.values()):
                now = time.perf_counter_ns()
                if due < last and now >= due:
                    writer.publish(records)
                    for queue in pending.values():
                        queue.append((writer.next_seq - 1, time.perf_counter_ns()))
                    due += 1_000_000
                seen = marks.load()
                if seen is None:  # nothing is written yet
                    continue
                now = time.perf_counter_ns()
                for what, queue in pending.items():
                    mark = getattr(seen, what)
                    while queue and queue[0][0] <= mark.seq:
                        taken[what].append(now - queue.pop(0)[1])
                if fsync == "none":
                    pending["durable"].clear()
                if now > last + PATIENCE_S * 1e9:
                    raise SystemExit("the journal does not come after")
            marks.close()
    finally:
        shutil.rmtree(shm_dir)
    return {
        f"{what} {name}": float(np.percentile(values, q)) / 1e6
        for what, values in taken.items()
        if values
        for name, q in (("p50 ms", 50), ("p99 ms", 99))
    }


def one_round(folder, only, scale):
    n = int(scale * (1 << 24)) // 65_536 * 65_536
    small = n // 8 // 65_536 * 65_536
    figures = {}

    def take(name, both):
        figures[name], figures[f"{name}, per CPU second"] = both

    if "append" in only:
        take("append 8192", append(folder, n))
        take("pwrite alone", plain_writes(folder, n, room=True))
        take("pwrite alone, no room taken", plain_writes(folder, n, room=False))
        take("append 1024", append(folder, n, each=1024))
    if "sync" in only:
        take("sync 8192", append(folder, small, fsync="batch", batch=BLOCK))
        take("pwrite and fdatasync alone", plain_writes(folder, small, room=True, sync=True))
        take("sync 65536", append(folder, small, fsync="batch", batch=65_536))
    if "ring" in only:
        figures |= from_ring(folder, n)
    if "scan" in only:
        for name, both in scan(folder, min(n, 1 << 22)).items():
            take(name, both)
    if "latency" in only:
        for fsync in ("none", "interval", "batch"):
            for what, value in latency(folder, 2 * scale, fsync).items():
                figures[f"{fsync}: {what}"] = value
    return figures


RATIOS = (
    ("append 8192", "pwrite alone"),
    ("append 8192, per CPU second", "pwrite alone, per CPU second"),
    ("sync 8192", "pwrite and fdatasync alone"),
    ("recovery", "read alone"),
    ("reader", "read alone"),
)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    if unknown := set(only) - set(SECTIONS):
        parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(SECTIONS)}")
    load = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(dir=arguments.folder, prefix="journal-bench-"))
    try:
        rounds = [
            one_round(folder, only, 0.25 if arguments.quick else 1.0)
            for _ in range(2 if arguments.quick else arguments.rounds)
        ]
    finally:
        shutil.rmtree(folder)
    figures = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    for name, value in figures.items():
        unit = "" if name.endswith("ms") or name in {"lost", "times the writer waited"} else "M/s"
        target = TARGETS.get(name)
        met = (
            ""
            if target is None
            else f"  target {target:g}: {'met' if value >= target else 'NOT MET'}"
        )
        print(f"{name:46} {value:10.3f} {unit}{met}")
    ratios = {
        f"{one} / {other}": statistics.median(r[one] / r[other] for r in rounds)
        for one, other in RATIOS
        if one in figures and other in figures
    }
    for name, value in ratios.items():
        print(f"{name:46} {value:6.2f}")
    if load > 0.5:
        print(f"the load average was {load:.1f} at the start: others were measured as well")
    if arguments.save:
        result = {
            **machine.describe("mdfeedd", "numpy", "xxhash"),
            "load_before": round(load, 2),
            "rounds": len(rounds),
            "figures": {name: round(value, 4) for name, value in figures.items()},
            "ratios": {name: round(value, 3) for name, value in ratios.items()},
        }
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
