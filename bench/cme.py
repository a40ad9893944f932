"""CME MDP 3.0 packets in memory to ticks in a ring, beside a bare walk, the least of a handler, and sbedecoder.

    python bench/cme.py [--capture FILE.pcap] [--schema TEMPLATES.xml] [--rounds 9] [--repeat 5]
                        [--quick] [--save]

Rows: a C loop that only walks the packets and touches their entries (the limit); a C program that keeps books and
publishes touches and leaves out whatever a channel without a fault lets it (cme_bare.c); `Handler` into a ring:
arbitration of both lines, decoding, ten-level books with their implied part, recovery state, publishing; the
same with a depth ring; sbedecoder parsing the packets of one line, and reading eight fields of each entry.
Rounds are interleaved, and a ratio is the median of the ratios within each round. Capture and schema are
CME's and not ours to ship: they are looked for under $MDFEEDD_TESTDATA/cme.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine

from mdfeedd.feeds._packet import PacketTape
from mdfeedd.feeds.capture import CaptureReader
from mdfeedd.feeds.cme.codec import Feed, Handler
from mdfeedd.ring import Writer, remove
from mdfeedd.tick import DEPTH

HERE = Path(__file__).resolve().parent
TESTDATA = Path(os.environ.get("MDFEEDD_TESTDATA", HERE.parent.parent / "shared" / "data")) / "cme"
CAPTURE = TESTDATA / "captures" / "Mdp3.Sbe.v1.6_Cme.Mdp3.Sbe.v6.1.pcap"
SCHEMA = TESTDATA / "schema" / "templates_FixBinary_v6.xml"
CHANNEL = 340
PORT_A = 14_340
WARM_INSTRUMENTS = 4096  # memory is prefaulted, so no more than the capture can use
MAX_PACKET_NS = 40.0
MAX_TICK_NS = 25.0
MAX_BARE = 2.0  # books that can be trusted, for so much more than books that cannot
MIN_PEER = 1000.0


def packets_of(path: Path) -> list[tuple[int, int, bytes]]:
    """(line, time, payload): line 0 is A, 1 is B."""
    reader = CaptureReader(str(path))
    return [(int(p[4] != PORT_A), p[0], bytes(p[5])) for p in reader.packets()]


def limits(folder: Path, packets: list[tuple[int, int, bytes]]) -> dict[str, list[str]]:
    """By row, the C program and the file that it takes the packets from."""
    data, commands = folder / "packets", {}
    with data.open("wb") as out:
        for line, ts_ns, payload in packets:
            out.write(struct.pack("<IIq", len(payload), line, ts_ns) + payload)
    for row in ("walk", "bare"):
        program = folder / f"cme_{row}"
        subprocess.run(["cc", "-std=c11", "-O2", HERE / f"cme_{row}.c", "-o", program], check=True)
        commands[row] = [str(program), str(data)]
    return commands


def limit_ns(command: list[str], repeat: int) -> float:
    """Nanoseconds a packet, of the best of its rounds."""
    done = subprocess.run([*command, str(repeat)], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[0])


def handler_ns(
    tape: PacketTape, directory: str, repeat: int, *, depth: bool
) -> tuple[float, dict[str, int]]:
    """Nanoseconds for the whole tape, the best of `repeat` handlers that play it one right behind the other.

    Each into rings of its own; handlers and rings lie in memory already.
    """
    with contextlib.ExitStack() as rings:
        handlers = [_ready(directory, f"cme{i}", rings, depth=depth) for i in range(repeat)]
        best = min(_play(tape, handler) for handler in handlers)
        return best, handlers[0].counts


def _ready(directory: str, name: str, rings: contextlib.ExitStack, *, depth: bool) -> Handler:
    handler = Handler(max_instruments=WARM_INSTRUMENTS, recovery_entries=65_536, depth=depth)
    handler.add_channel(CHANNEL)
    for side in (0, 1):
        handler.add_line(CHANNEL, Feed.INCREMENTAL, side)
    levels = None
    if depth:
        rings.callback(remove, f"{name}.depth", directory)
        levels = rings.enter_context(Writer(f"{name}.depth", 65_536, DEPTH, directory=directory))
    rings.callback(remove, name, directory)
    handler.attach(rings.enter_context(Writer(name, 65_536, directory=directory)), levels)
    handler.prefault()
    return handler


def _play(tape: PacketTape, handler: Handler) -> int:
    begin = time.perf_counter_ns()
    tape.play(handler)
    return time.perf_counter_ns() - begin


def peer_ns(schema: Path, payloads: list[bytes], *, fields: bool) -> float:
    """sbedecoder on the payloads: parsed only, or with eight fields of each entry read."""
    from sbedecoder import MDPMessageFactory, MDPSchema, SBEParser

    parsed = MDPSchema()
    parsed.parse(str(schema))
    parser = SBEParser(MDPMessageFactory(parsed))
    begin = time.perf_counter_ns()
    for payload in payloads:
        for message in parser.parse(payload, offset=12):
            if not fields or not hasattr(message, "no_md_entries"):
                continue
            for entry in message.no_md_entries:
                for name in ("md_entry_px", "md_entry_size", "security_id", "rpt_seq", "number_of_orders",
                             "md_price_level", "md_update_action", "md_entry_type"):  # fmt: skip
                    attribute = getattr(entry, name, None)
                    if attribute is not None:
                        _ = attribute.value
    return time.perf_counter_ns() - begin


def measure(
    packets: list[tuple[int, int, bytes]], options: Any, directory: str, folder: Path
) -> dict[str, Any]:
    tape = PacketTape()
    for line, ts_ns, payload in packets:
        tape.append(line, payload, ts_ns, ts_ns)
    commands = limits(folder, packets)
    peer_part = [payload for line, _, payload in packets if not line][: options.peer_packets]
    rounds: list[dict[str, float]] = []
    counts: dict[str, int] = {}
    for number in range(options.rounds):
        one = {row: limit_ns(command, options.repeat) for row, command in commands.items()}
        took, counts = handler_ns(tape, directory, options.repeat, depth=False)
        one["handler"] = took / len(packets)
        took, _ = handler_ns(tape, directory, options.repeat, depth=True)
        one["handler_depth"] = took / len(packets)
        if number < options.peer_rounds:
            one["sbedecoder_parse"] = peer_ns(options.schema, peer_part, fields=False) / len(
                peer_part
            )
            one["sbedecoder_fields"] = peer_ns(options.schema, peer_part, fields=True) / len(
                peer_part
            )
        rounds.append(one)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    ticks = counts["quotes"] + counts["trades"] + counts["others"]
    return {"packets": len(packets), "ticks": ticks, "entries": counts["entries"], "rounds": rounds}


def median(rounds: list[dict[str, float]], name: str, over: str | None = None) -> float:
    return statistics.median(
        one[name] / (one[over] if over else 1.0) for one in rounds if name in one
    )


def report(result: dict[str, Any]) -> None:
    rounds, packets = result["rounds"], result["packets"]
    per_tick = packets / result["ticks"]
    per_entry = packets / result["entries"]
    handler = median(rounds, "handler")
    print(
        f"\n{packets} packets in, {result['entries']} entries, {result['ticks']} ticks; medians of {len(rounds)} rounds"
    )
    print(f"{'':44}{'ns/packet in':>13}{'ns/entry':>10}{'ns/tick':>9}{'x walk':>8}{'x bare':>8}")
    for name, label in (
        ("walk", "bare walk in C (the limit)"),
        ("bare", "least of a handler in C, no fault foreseen"),
        ("handler", "Handler: arbitrate, decode, book, publish"),
        ("handler_depth", "  and a depth ring"),
    ):
        ns = median(rounds, name)
        print(
            f"{label:44}{ns:13.1f}{ns * per_entry:10.1f}{ns * per_tick:9.1f}"
            f"{median(rounds, name, 'walk'):8.1f}{median(rounds, name, 'bare'):8.2f}"
        )
    for name, label in (
        ("sbedecoder_parse", "sbedecoder, one line, parsed only"),
        ("sbedecoder_fields", "sbedecoder, one line, eight fields read"),
    ):
        print(f"{label:44}{median(rounds, name):13.0f}")
    print(
        f"sbedecoder takes {median(rounds, 'sbedecoder_fields', 'bare'):.0f} times the least of a handler"
    )
    peer = median(rounds, "sbedecoder_fields", "handler")
    bare = median(rounds, "handler", "bare")
    verdicts = (
        (f"<= {MAX_PACKET_NS:g} ns a packet in", handler, handler <= MAX_PACKET_NS),
        (f"<= {MAX_TICK_NS:g} ns a tick", handler * per_tick, handler * per_tick <= MAX_TICK_NS),
        (f"<= {MAX_BARE:g} x the least of a handler", bare, bare <= MAX_BARE),
        (f">= {MIN_PEER:g} x sbedecoder (eight fields)", peer, peer >= MIN_PEER),
    )
    for what, figure, met in verdicts:
        print(f"{what:44}{figure:13.1f}  {'met' if met else 'NOT MET'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--capture", type=Path, default=CAPTURE)
    parser.add_argument("--schema", type=Path, default=SCHEMA)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peer-rounds", type=int, default=3)
    parser.add_argument("--peer-packets", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--save", action="store_true", help="write results/cme.json")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.peer_rounds, options.repeat = 1, 1, 2
    if not options.capture.exists():
        parser.error(f"there is no {options.capture}: name one by --capture")
    packets = packets_of(options.capture)
    with (
        tempfile.TemporaryDirectory(prefix="mdfeedd-bench-", dir="/dev/shm") as directory,
        tempfile.TemporaryDirectory(prefix="mdfeedd-bench-") as folder,
    ):
        result = measure(packets, options, directory, Path(folder))
    report(result)
    result["machine"] = machine.describe("mdfeedd", "numpy", "sbedecoder")
    if options.save:
        machine.save("cme", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
