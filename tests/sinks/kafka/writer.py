"""A process to be killed: writes records of a file into Kafka, from where Kafka says that it is.

writer.py ADDRESS RING DIRECTORY RECORDS.npy MODE SEED
"""

from __future__ import annotations

import random
import sys
import time

import numpy as np

from mdfeedd.ring import Reader
from mdfeedd.sinks import SinkBatch, SinkError
from mdfeedd.sinks.kafka import KafkaSink, KafkaSinkOptions


def persist(call):
    while True:
        try:
            return call()
        except SinkError as error:
            if not error.retriable:
                raise
            print(f"retry {error}", flush=True)
            time.sleep(0.05)


def main(address, ring, directory, path, mode, seed):
    dice = random.Random(int(seed))
    records = np.load(path, mmap_mode="r")
    reader = Reader(ring, directory=directory)
    options = KafkaSinkOptions(address, mode=mode, records_per_message=200, timeout_s=2.0)
    sink = KafkaSink(options, "store")
    position = persist(lambda: sink.position(ring))
    done = 0 if position is None else int(np.searchsorted(records["seq"], position.seq, "right"))
    print(f"begins behind {done}", flush=True)
    reader.instruments.refresh()
    while done < len(records):
        part = np.array(records[done : done + dice.randint(1, 1500)])
        batch = SinkBatch(ring, reader.ring_id.hex(), "feed", 1, part, reader.instruments)
        persist(lambda batch=batch: sink.write(batch))
        done += len(part)
        print(f"stored {done}", flush=True)
    sink.close()
    print("all", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
