"""Processes that journal what a ring holds, to be killed at any point; forked, for imports take longer than lives.

killed.py PATH DIRECTORY FSYNC: each line that comes begins a life. Its pid is told, and then its end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from mdfeedd.consumers.journal import JournalConsumer, JournalOptions

PR_SET_PDEATHSIG = 1


def live(path: str, shm_dir: str, fsync: str) -> None:
    options = JournalOptions(
        path=path, segment_bytes=1 << 17, fsync=fsync, fsync_interval_s=0.005, max_delay_s=0.0005
    )
    JournalConsumer("journal", options, ["es"], shm_dir).run(threading.Event())


def main() -> None:
    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            live(*sys.argv[1:])
            os._exit(0)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
