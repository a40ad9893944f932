"""A process that journals what a ring holds, told what by its arguments: to be killed at any point."""

from __future__ import annotations

import sys
import threading

from mdfeedd.consumers.journal import JournalConsumer, JournalOptions


def main() -> None:
    path, shm_dir, fsync = sys.argv[1:]
    options = JournalOptions(
        path=path, segment_bytes=1 << 17, fsync=fsync, fsync_interval_s=0.005, max_delay_s=0.0005
    )
    print("ready", flush=True)
    JournalConsumer("journal", options, ["es"], shm_dir).run(threading.Event())


if __name__ == "__main__":
    main()
