"""What reads bytes of others' in C: each target is a program of the tests that takes one input, or many by chance.

build(target, folder, guided=False)   gcc, sanitizers: PROGRAM replay FILE...
build(target, folder, guided=True)    clang, sanitizers, libFuzzer: PROGRAM CORPUS...
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdfeedd.feeds.cme.codec import layout
from mdfeedd.sim.cme import Habits, Venue
from mdfeedd.sim.cme.network import Network, lossy

from .python_targets import dbn_seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ENVIRONMENT = {
    **os.environ,
    # a cut file is a SIGBUS, which the header takes; what is left is for the sanitizer
    "ASAN_OPTIONS": "allow_user_segv_handler=1:handle_sigbus=0:detect_leaks=1",
}
SEED = struct.pack("<Q", 1)


@dataclass(frozen=True)
class CTarget:
    """`test`: the module that plays it by chance, for as long as MDFEEDD_FUZZ_SECONDS says."""

    source: str
    folders: tuple[str, ...]
    seeds: Callable[[], Sequence[bytes]]
    test: str


def dbn() -> list[bytes]:
    return [SEED + b"\0" + stream for stream in dbn_seeds()]


def mdp3() -> list[bytes]:
    """What a venue sends and a network delivers."""
    made = []
    for seed, version in ((1, 13), (2, 9)):
        venue = Venue(seed, instruments=3, version=version, habits=Habits(channel_reset=2))
        packets = Network(seed, loss=lossy(0.05)).deliver(venue.run(60))
        head = struct.Struct("<qHHI")
        data = b"".join(
            head.pack(t, feed, side, len(p)) + p for t, feed, side, p in packets if len(p) <= 4096
        )
        made.append(SEED + data)
    return made


def entries() -> list[bytes]:
    """A packet with one message of each template, of random bytes."""
    rng = random.Random(1)
    made = []
    for template in layout.TEMPLATES.values():
        root, groups = rng.randbytes(template.root_min), b""
        for group in template.groups:
            groups += struct.pack("<H", group.entry_min) + bytes(group.dimension - 3) + b"\2"
            groups += rng.randbytes(2 * group.entry_min)
        head = struct.pack(
            "<HHHHH", 10 + len(root) + len(groups), len(root), template.template_id, 1, 13
        )
        made.append(SEED + rng.randbytes(12) + head + root + groups)
    return made


def capture() -> list[bytes]:
    """Three datagrams in a pcap and in a pcapng."""
    udp = struct.pack(">HHHH", 14310, 14310, 8 + 40, 0) + bytes(40)
    ip = (
        struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 1, 17, 0, b"\n\0\0\1", b"\xe0\0\x1f\1"
        )
        + udp
    )
    frame = bytes(12) + b"\x08\0" + ip
    pcap = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    pcap += (struct.pack("<IIII", 1, 2, len(frame), len(frame)) + frame) * 3
    body = frame + bytes(-len(frame) % 4)
    packet = struct.pack("<IIIIIII", 6, 32 + len(body), 0, 0, 1, len(frame), len(frame)) + body
    packet += struct.pack("<I", 32 + len(body))
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface = struct.pack("<IIHHII", 1, 20, 1, 0, 0, 20)
    return [SEED + pcap, SEED + section + interface + packet * 3]


def bloomberg() -> list[bytes]:
    """An event of one message with two fields, as the double takes it (native/double.c)."""
    made = []
    for name in (b"BID", b"LAST_PRICE"):
        field = struct.pack("<BBBBI", len(name), 0, 0, 0, 8) + name + struct.pack("<d", 100.25)
        made.append(SEED + struct.pack("<IIIQII", 1, 0, 1, 1, 0, 2) + field * 2)
    return made


def ring() -> list[bytes]:
    rng = random.Random(1)
    return [bytes([i % 5]) + rng.randbytes(200) for i in range(20)]


C_TARGETS = {
    "dbn": CTarget(
        "feeds/databento/fuzz_dbn.c", ("ring", "feeds/databento/codec"), dbn, "feeds/databento/test_fuzz.py"
    ),
    "mdp3": CTarget(
        "feeds/cme/c/fuzz_mdp.c", ("ring", "feeds", "feeds/cme/codec"), mdp3, "feeds/cme/properties/test_fuzz.py"
    ),
    "mdp3-entries": CTarget(
        "feeds/cme/c/fuzz_entries.c", ("feeds/cme/codec",), entries, "feeds/cme/test_entries_fuzz.py"
    ),
    "pcap": CTarget(
        "feeds/capture/fuzz_capture.c", ("ring", "feeds", "feeds/capture"), capture, "feeds/capture/test_fuzz.py"
    ),
    "blpapi": CTarget(
        "feeds/bloomberg/native/fuzz_walk.c", ("ring", "feeds/bloomberg/native"), bloomberg,
        "feeds/bloomberg/native/test_fuzz.py",
    ),
    "ring": CTarget("fuzz/c/fuzz_ring.c", ("ring",), ring, "fuzz/test_ring.py"),
}  # fmt: skip


def command(target: CTarget, *, guided: bool, include: Path | None = None) -> list[str]:
    """How it is compiled, but for the output. `include` is searched before the package."""
    compiler = ["clang", "-O1", *SANITIZERS, "-fsanitize=fuzzer", "-DFUZZ_GUIDED"]
    if not guided:
        compiler = ["gcc", "-Og", *SANITIZERS]
    folders = [] if include is None else [f"-I{include}"]
    folders += [f"-I{REPOSITORY / 'mdfeedd' / folder}" for folder in target.folders]
    source = REPOSITORY / "tests" / target.source
    return [*compiler, "-std=gnu11", "-g", "-w", *folders, str(source), "-pthread"]


def build(
    target: CTarget, program: Path, *, guided: bool = False, include: Path | None = None
) -> Path:
    """Compile; raises `subprocess.CalledProcessError` with what the compiler said."""
    line = [*command(target, guided=guided, include=include), "-o", str(program)]
    subprocess.run(line, check=True, capture_output=True, text=True)
    return program
