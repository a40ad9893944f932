"""kill -9 of the writer, of the server, and of both, at any time: each record is in the stream once.

MDFEEDD_KILLS sets the number of kills, MDFEEDD_SEED repeats a run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

DEADLINE_S = 120.0
KILLS = int(os.environ.get("MDFEEDD_KILLS", "5"))
RECORDS = 12_000 * KILLS  # so many that there is something left to write at the last kill
BATCH = 200
SPACES = (("a" * 32, 1), ("a" * 32, 2), ("b" * 32, 1))  # another writer, then another ring


def everything(records_of):
    """What is to be stored: ring_id, epoch, records."""
    third = RECORDS // 3
    parts = []
    for i, (ring_id, epoch) in enumerate(SPACES):
        first = 1 + third * (i if ring_id == SPACES[0][0] else 0)
        parts.append((ring_id, epoch, records_of(first, third)))
    return parts


def quotes(first, n):
    from mdfeedd.tick import QUOTE, TICK

    out = np.zeros(n, QUOTE)
    out["seq"] = np.arange(first, first + n)
    out["kind"] = 1
    out["ts_event"] = out["seq"].astype("i8") * 7919
    out["instrument_id"] = out["seq"] % 5 + 1
    return out.view(TICK)


class Nobody:
    feed = "cme"

    def get(self, instrument_id):
        return None

    def symbol(self, instrument_id):
        return f"#{instrument_id}"


def main(port):
    """The writer: behind the store's position to the end, as a consumer does."""
    from mdfeedd.sinks import SinkBatch, SinkError
    from mdfeedd.sinks.redis import RedisOptions, RedisSink

    def insist(call):
        while True:
            try:
                return call()
            except SinkError as error:
                if not error.retriable:
                    sys.exit(f"again: {error}")
                time.sleep(0.02)

    options = RedisOptions(
        ["stream", "last"], stream_maxlen=10**9, port=port, packed_records=64, timeout_s=30.0
    )
    sink = RedisSink(options, "store")
    position = insist(lambda: sink.position("cme"))
    print("ready", flush=True)
    todo = everything(quotes)
    if position is not None:
        spaces = [(ring_id, epoch) for ring_id, epoch, _ in todo]
        todo = todo[spaces.index((position.ring_id, position.epoch)) :]
    for ring_id, epoch, records in todo:
        start = 0
        if position is not None and ring_id == position.ring_id:
            start = int(np.searchsorted(records["seq"], np.uint64(position.seq), "right"))
        for at in range(start, len(records), BATCH):
            batch = SinkBatch("cme", ring_id, "cme", epoch, records[at : at + BATCH], Nobody())
            insist(lambda batch=batch: sink.write(batch))
    sink.close()


class Writer:
    """A writer in a process of its own, started again when it asks for it."""

    def __init__(self, spawn, port):
        self.spawn, self.port = spawn, port
        self.start()

    def start(self):
        self.process = self.spawn(
            [sys.executable, __file__, str(self.port)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_ready(self):
        """Until it writes; it may be done already."""
        self.process.stdout.readline()

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def finish(self):
        """Run it until it is done."""
        end = time.monotonic() + DEADLINE_S
        while True:
            _, error = self.process.communicate(timeout=DEADLINE_S)
            if self.process.returncode == 0:
                return
            assert "again: " in error, error
            assert time.monotonic() < end
            self.start()

    def revive(self):
        """Start it again if it has ended, as a supervisor does."""
        if self.process.poll() is not None:
            _, error = self.process.communicate()
            assert self.process.returncode == 0 or "again: " in error, error
            self.start()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "victims"),
    [
        ({"appendonly": "yes", "appendfsync": "always"}, ("writer", "server", "both")),
        ({"appendonly": "yes", "appendfsync": "everysec"}, ("writer", "server", "both")),
        ({"appendonly": "no"}, ("writer", "writer", "server")),
    ],
    ids=["always", "everysec", "no file"],
)
def test_killed_at_any_time(rng, given, make_server, spawn, settings, victims):
    server = make_server(**settings)
    writer = Writer(spawn, server.port)
    for kill in range(KILLS):
        writer.wait_ready()
        victim = victims[kill % len(victims)]
        time.sleep(float(rng.random()) * 0.15)
        if victim in {"server", "both"}:
            server.kill()
        if victim in {"writer", "both"}:
            writer.kill()
            writer.start()
        if victim in {"server", "both"}:
            server.start()
            time.sleep(0.05)
        writer.revive()
    writer.finish()
    found = given.stored(server)
    expected = np.concatenate([records for _, _, records in everything(quotes)])
    assert len(found.records) == len(expected)
    assert found.records.tobytes() == expected.tobytes()
    keys = [tuple(map(int, one.split("-"))) for one in found.ids]
    assert keys == sorted(set(keys))
    spaces = list(dict.fromkeys((h["ring_id"], int(h["epoch"])) for _, h in found.heads))
    assert spaces == list(SPACES)


if __name__ == "__main__":
    main(int(sys.argv[1]))
