"""Datagrams from the wire, beside a C program that only calls recvmmsg.

    python bench/cme_wire.py [--rounds 5] [--quick] [--save] [--only blocking,packet_ring] [--also NAME=COMMAND]

Rows are the three modes of `feeds/multicast` with a sink that counts, and the bare program for each way of
waiting. A rate of 0 is as fast as the sender can; "backlog": everything is sent before anything is read, so
that nobody sleeps and the figure is that of receiving alone. On virtual machines a single sleep can cost more
than ten datagrams, and who sleeps how often is chance: believe the backlog before the rates. CPU time per
datagram is the process's own, user and system, from the first datagram to the last; on loopback the kernel's
delivery runs in the sender and counts for nobody. Loss is what was sent less what came. Latency is from the kernel's stamp to the sink, in
runs of its own. Sender and receiver have a processor each. Rounds are interleaved, and a ratio is the median
of the ratios within each round.

`--also` adds a program of your own: it is given the same key=value options, prints "ready" when it listens and
one JSON object as bench/net/receive.c does. Limits: ours 1.25 of recvmmsg, the packet ring 0.25.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import machine

HERE = Path(__file__).resolve().parent
INCLUDES = [HERE.parent / "mdfeedd" / folder for folder in ("ring", "feeds", "feeds/multicast")]
BACKLOG = "backlog"
RATES = (BACKLOG, "50000", "100000", "0")
LATENCY_RATES = ("20000", "100000")
SECONDS = 1.0
FLOOD_PACKETS = 300_000
BACKLOG_PACKETS = 60_000  # 64 MiB hold 80,000 of 150 bytes
PATIENCE_S = 60
LIMITS = {"blocking": 1.25, "busy": 1.25, "packet_ring": 0.25}


class Contender(NamedTuple):
    """A way to receive; `measure` is the bare program that it is held against."""

    name: str
    command: list[str]
    options: dict[str, Any]
    measure: str = ""


def build(folder: Path) -> dict[str, str]:
    """The C programs by name."""
    flags = ["-O2", "-std=c11", "-Wno-unused-function", *(f"-I{path}" for path in INCLUDES)]
    out = {}
    for name in ("send", "recvmmsg", "receive"):
        out[name] = str(folder / name)
        source = HERE / "net" / f"{name}.c"
        subprocess.run(["cc", *flags, source, "-o", out[name]], check=True)
    return out


def contenders(programs: dict[str, str], also: list[str]) -> list[Contender]:
    bare, ours = [programs["recvmmsg"]], [programs["receive"]]
    out = [
        Contender("recvmmsg alone", bare, {"mode": "blocking"}),
        Contender("blocking", ours, {"mode": "blocking"}, "recvmmsg alone"),
        Contender("packet_ring", ours, {"mode": "packet_ring"}, "recvmmsg alone"),
        Contender("recvmmsg alone, spinning", bare, {"mode": "busy"}),
        Contender("busy", ours, {"mode": "busy"}, "recvmmsg alone, spinning"),
    ]
    for text in also:
        name, _, command = text.partition("=")
        out.append(Contender(name, shlex.split(command), {}, "recvmmsg alone"))
    return out


def free_port(lines: int) -> int:
    """The first of as many ports in a row."""
    while True:
        probes = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(lines)]
        try:
            probes[0].bind(("127.0.0.1", 0))
            first: int = probes[0].getsockname()[1]
            for n, probe in enumerate(probes[1:], 1):
                probe.bind(("127.0.0.1", first + n))
        except (OSError, OverflowError):
            continue
        else:
            return first
        finally:
            for probe in probes:
                probe.close()


def run(
    send: str, who: Contender, cpus: tuple[int, int], options: dict[str, Any]
) -> dict[str, Any]:
    """One sender and one receiver; the receiver's figures and what was lost, or its last words."""
    shared = {"port": free_port(options["lines"])} | options
    words = [f"{key}={value}" for key, value in (shared | who.options).items()]
    receiver = subprocess.Popen(
        [*who.command, *words, f"cpu={cpus[1]}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert receiver.stdout is not None
    try:
        if receiver.stdout.readline().strip() != "ready":
            return {"error": receiver.communicate(timeout=PATIENCE_S)[1].strip()}
        sender = subprocess.run(
            [send, *(f"{key}={value}" for key, value in shared.items()), f"cpu={cpus[0]}"],
            capture_output=True,
            check=True,
            timeout=PATIENCE_S,
        )
        figures: dict[str, Any] = json.loads(receiver.communicate("go\n", timeout=PATIENCE_S)[0])
    finally:
        receiver.kill()
        receiver.wait()
    sent = json.loads(sender.stdout)
    datagrams = max(figures["datagrams"], 1)
    return figures | {
        "cpu_ns_per_datagram": round(figures["cpu_ns"] / datagrams, 1),
        "lost": sent["sent"] - sent["refused"] - figures["datagrams"],
        "sent_per_s": round(sent["sent"] * 1e9 / sent["wall_ns"]),
    }


def median(rounds: list[dict[str, Any]], key: str) -> float | None:
    values = [figures[key] for figures in rounds if key in figures]
    return statistics.median(values) if values else None


def ratio(rounds: list[dict[str, Any]], measures: list[dict[str, Any]]) -> float | None:
    key = "cpu_ns_per_datagram"
    pairs = zip(rounds, measures, strict=True)
    found = [a[key] / b[key] for a, b in pairs if key in a and key in b and b[key]]
    return round(statistics.median(found), 3) if found else None


def compare(
    everyone: list[Contender],
    send: str,
    options: argparse.Namespace,
    rates: tuple[str, ...],
    latency: int,
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Rounds by rate and contender."""
    out: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for number in range(options.rounds):
        for rate in rates:
            flood = BACKLOG_PACKETS if rate == BACKLOG else int(FLOOD_PACKETS * options.seconds)
            pps = 0 if rate == BACKLOG else int(rate)
            packets = int(pps * options.seconds) or flood
            settings = {
                "lines": options.lines, "packets": packets // options.lines, "bytes": options.bytes,
                "pps": pps, "backlog": int(rate == BACKLOG), "latency": latency,
                "buffer_mib": options.buffer_mib,
            }  # fmt: skip
            turn = everyone if number % 2 == 0 else everyone[::-1]
            for who in turn:
                figures = run(send, who, (options.cpus[0], options.cpus[1]), settings)
                out.setdefault(rate, {}).setdefault(who.name, []).append(figures)
    return out


def report(
    everyone: list[Contender], found: dict[str, dict[str, list[dict[str, Any]]]]
) -> dict[str, Any]:
    """Prints the table; the same as a dict."""
    out: dict[str, Any] = {}
    print(
        f"{'datagrams/s':>12}  {'':26}{'CPU ns each':>12}{'of recvmmsg':>12}{'limit':>7}{'lost':>8}"
    )
    for rate, rows in found.items():
        for who in everyone:
            rounds = rows[who.name]
            errors = {figures["error"] for figures in rounds if "error" in figures}
            if errors:
                print(f"{rate:>12}  {who.name:26}{'; '.join(sorted(errors))}")
                continue
            row = {
                "cpu_ns_per_datagram": median(rounds, "cpu_ns_per_datagram"),
                "of_recvmmsg": ratio(rounds, rows[who.measure]) if who.measure in rows else None,
                "lost": [figures["lost"] for figures in rounds],
                "kernel_drops": [figures["kernel_drops"] for figures in rounds],
                "sent_per_s": median(rounds, "sent_per_s"),
            }
            out.setdefault(rate, {})[who.name] = row
            speed = f"{int(row['sent_per_s'] or 0)}" if rate == "0" else rate
            limit = LIMITS.get(who.name, "")
            print(
                f"{speed:>12}  {who.name:26}{row['cpu_ns_per_datagram']:12.0f}"
                f"{row['of_recvmmsg'] or '':>12}{limit:>7}{sum(row['lost']):8}"
            )
    return out


def report_latency(found: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    print(
        f"\n{'datagrams/s':>12}  {'kernel stamp to sink':26}{'p50 us':>10}{'p99 us':>10}{'max us':>10}"
    )
    for rate, rows in found.items():
        for name, rounds in rows.items():
            figures = {key: median(rounds, key) for key in ("p50_ns", "p99_ns", "max_ns")}
            if None in figures.values():
                continue
            out.setdefault(rate, {})[name] = figures
            shown = "".join(f"{(value or 0) / 1e3:10.1f}" for value in figures.values())
            print(f"{rate:>12}  {name:26}{shown}")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--quick", action="store_true", help="one round of a third of a second")
    parser.add_argument("--lines", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=150)
    parser.add_argument("--buffer-mib", type=int, default=64)
    parser.add_argument("--rates", default=",".join(RATES), help="with commas, for the CPU time")
    parser.add_argument("--only", default="", help="contenders by name, with commas")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--save", action="store_true", help="write results/cme_wire.json")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.3
    options.cpus = sorted(os.sched_getaffinity(0))
    if len(options.cpus) < 2:
        print("sender and receiver want a processor each, and there is one", file=sys.stderr)
        return 1
    stolen = machine.stolen_s()
    with tempfile.TemporaryDirectory(prefix="mdfeedd-bench-") as folder:
        programs = build(Path(folder))
        everyone = contenders(programs, options.also)
        if options.only:
            names = options.only.split(",")
            names += [who.measure for who in everyone if who.name in names]
            everyone = [who for who in everyone if who.name in names]
        send = programs["send"]
        cost = report(
            everyone, compare(everyone, send, options, tuple(options.rates.split(",")), 0)
        )
        delay = report_latency(compare(everyone, send, options, LATENCY_RATES, 1))
    result = machine.describe("mdfeedd") | {
        "stolen_s": round(machine.stolen_s() - stolen, 2),
        "settings": {key: value for key, value in vars(options).items() if key != "also"},
        "cost": cost,
        "latency_ns": delay,
    }
    if options.save:
        machine.save("cme_wire", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
