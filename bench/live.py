"""The WebSocket fan-out: how many records a second it gives to how many clients, as text and as records.

    python bench/live.py [--records 200000] [--rounds 3] [--save]

Clients are sockets of one other process, which reads and does nothing with it; all want everything, so what is
made once is sent to all of them. Nothing may be lost: the ring's writer, which never waits by itself, paces
itself by what the clients have been given. The limit is a server of the same library, with the same buffers,
that sends one ready message again and again. A figure is the median of the rounds, a ratio the median of the ratios within each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import machine
import numpy as np
from websockets.asyncio.server import serve

from mdfeedd.consumers.event_loop import loop_factory
from mdfeedd.consumers.fanout import FanoutConsumer, FanoutOptions
from mdfeedd.ring import Writer
from mdfeedd.sinks.jsontext import JsonText
from mdfeedd.tick import QUOTE, TICK

RESULT = Path(__file__).parent / "results" / "live.json"
INSTRUMENTS = 200
BATCH = 1000
AHEAD = 50_000  # records that may be on their way
CASES = [(kind, clients) for kind in ("json", "binary") for clients in (1, 10, 50)]
READER = """
import select, socket, sys
port, clients, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
request = (f"GET /?symbols=*&format={kind} HTTP/1.1\\r\\nHost: x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade"
           "\\r\\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n")
poll, sockets, buffer = select.epoll(), {}, bytearray(1 << 20)
for _ in range(clients):
    made = socket.create_connection(("127.0.0.1", port))
    made.sendall(request.encode())
    poll.register(made, select.EPOLLIN)
    sockets[made.fileno()] = made
while True:
    for fd, _ in poll.poll():
        if not sockets[fd].recv_into(buffer):
            sys.exit()
"""


def make_quotes(ids):
    out = np.zeros(BATCH, QUOTE)
    out["kind"], out["flags"] = 1, 1
    out["instrument_id"] = [ids[i % len(ids)] for i in range(BATCH)]
    out["ts_event"] = out["ts_recv"] = 1_772_461_800_123_456_789
    out["bid_price"] = 6000 * 10**9 + np.arange(BATCH) % 400 * 250_000_000
    out["ask_price"] = out["bid_price"] + 250_000_000
    out["bid_size"], out["ask_size"] = 17, 123
    return out.view(TICK)


def readers(port, clients, kind):
    return subprocess.Popen([sys.executable, "-c", READER, str(port), str(clients), kind])


class Fanout:
    """The consumer over a ring of its own, in a thread."""

    def __init__(self, directory):
        self.writer = Writer("live", capacity=1 << 18, directory=directory)
        self._ids = [self.writer.instruments.add(f"SYM{i}") for i in range(INSTRUMENTS)]
        options = FanoutOptions(port=0, batch_size=BATCH, queue_records=1 << 20)
        self._consumer = FanoutConsumer("live", options, ["live"], directory)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._consumer.run, args=(self._stop,))
        self._thread.start()
        while not self._consumer.port:
            time.sleep(0.01)

    def rate(self, kind, clients, records):
        """Records a second that each client was given."""
        hub, quotes = self._consumer._hub, make_quotes(self._ids)
        reading = readers(self._consumer.port, clients, kind)
        while sum(client.filter is not None for client in hub.clients) < clients:
            time.sleep(0.01)
        time.sleep(0.2)  # the snapshots
        given = hub.given["live"]
        before, sent, begin = given.records, 0, time.perf_counter()
        while sent < records:
            self.writer.publish(quotes)
            sent += BATCH
            while sent - (given.records - before) / clients > AHEAD:
                time.sleep(0.0005)
        while given.records - before < sent * clients:
            time.sleep(0.0005)
        took = time.perf_counter() - begin
        if given.dropped:
            raise SystemExit(f"{given.dropped} records were dropped: nothing may be")
        reading.kill()
        reading.wait()
        while hub.clients:
            time.sleep(0.01)
        return sent / took

    def close(self):
        self._stop.set()
        self._thread.join()
        self.writer.close()


class Table:
    """Names for the ready message."""

    feed = "live"

    @staticmethod
    def get(_number):
        return None

    @staticmethod
    def symbol(number):
        return f"SYM{number}"


def ready_message(kind):
    quotes = make_quotes(range(1, INSTRUMENTS + 1))
    if kind == "binary":
        return bytes(64) + quotes.tobytes()
    text, _ = JsonText(before=b",").lines(quotes, Table)
    return b'{"type": "ticks", "ring": "live", "records": [' + bytes(text[1:]) + b"]}"


def limit(kind, clients, records):
    """The same for a server that sends one message of a batch, ready made, to each client."""
    message, messages = ready_message(kind), records // BATCH

    async def run():
        came, begun, done = [], asyncio.Event(), asyncio.Event()
        begin = 0.0

        async def session(connection):
            nonlocal begin
            came.append(connection)
            own = connection.transport.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, FanoutOptions().send_buffer_bytes)
            if len(came) == clients:
                begin = time.perf_counter()
                begun.set()
            await begun.wait()
            for _ in range(messages):
                await connection.send(message, text=kind == "json")
            came.pop()
            if not came:
                done.set()
            await connection.wait_closed()

        async with serve(session, "127.0.0.1", 0, compression=None) as server:
            reading = readers(next(iter(server.sockets)).getsockname()[1], clients, kind)
            await done.wait()
            took = time.perf_counter() - begin
            reading.kill()
            reading.wait()
        return messages * BATCH / took

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(run())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000, help="to all clients together, x 5")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.name}")
    parser.add_argument("--quick", action="store_true", help="one short round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.records, arguments.rounds = 50_000, 1
    directory = tempfile.mkdtemp(prefix="mdfeedd-bench-", dir="/dev/shm")
    fanout = Fanout(directory)
    rounds = {case: [] for case in CASES}
    try:
        for _ in range(arguments.rounds):
            for kind, clients in CASES:
                records = max(arguments.records * 5 // (clients + 4), 50 * BATCH)
                rates = fanout.rate(kind, clients, records), limit(kind, clients, records)
                rounds[kind, clients].append(rates)
    finally:
        fanout.close()
        shutil.rmtree(directory)
    rows = {}
    print(f"{'':20}{'k records/s each':>18}{'M/s in all':>12}{'of the limit':>14}")
    for (kind, clients), rates in rounds.items():
        each = statistics.median(ours for ours, _ in rates)
        ratio = statistics.median(ours / most for ours, most in rates)
        rows[f"{kind}, {clients}"] = {"records_s": round(each), "of_the_limit": round(ratio, 3)}
        print(
            f"{kind}, {clients:2} clients{'':4}{each / 1e3:18.0f}{each * clients / 1e6:12.2f}{ratio:14.2f}"
        )
    if arguments.save:
        told = {"records": arguments.records, "rounds": arguments.rounds, "batch": BATCH}
        result = {"machine": machine.describe("websockets", "uvloop", "numpy"), "what": told}
        RESULT.write_text(json.dumps(result | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
