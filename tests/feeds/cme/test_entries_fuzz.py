"""The flat decoder and the definitions under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from mdfeedd.feeds.cme.codec import _entries, layout

SECONDS = float(os.environ.get("MDFEEDD_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))
VERSIONS = (5, 8, 9, 13, 99)


@pytest.fixture(scope="module")
def fuzzer(sanitized):
    return sanitized(Path(__file__).parent / "c/fuzz_entries.c", "feeds/cme/codec")


def message(template, version, rng):
    """A message of random bytes in blocks that are long enough, with some entries in each group."""
    root = rng.randbytes(template.root_min + rng.choice((0, 0, 2, 40)))
    groups = b""
    for group in template.groups:
        if group.since > version:
            continue
        number, block = rng.choice((0, 1, 2, 9)), group.entry_min + rng.choice((0, 0, 1, 6))
        groups += struct.pack("<H", block) + bytes(group.dimension - 3) + bytes([number])
        groups += rng.randbytes(number * block)
    size = 10 + len(root) + len(groups)
    return struct.pack("<HHHHH", size, len(root), template.template_id, 1, version) + root + groups


def generated():
    """Packets of every template, alone and in company."""
    rng = random.Random(SEED)
    packets = []
    for version in VERSIONS:
        messages = [message(t, version, rng) for t in layout.TEMPLATES.values()]
        packets += [rng.randbytes(12) + one for one in messages]
        packets += [rng.randbytes(12) + b"".join(rng.sample(messages, 4)) for _ in range(20)]
    return packets


def run(fuzzer, packets, seconds):
    stream = b"".join(struct.pack("<H", len(p)) + p for p in packets)
    done = subprocess.run(
        [fuzzer, str(SEED), str(seconds)], input=stream, capture_output=True, check=False
    )
    assert done.returncode == 0, f"seed {SEED}: {done.stderr.decode()[-3000:]}"
    return tuple(map(int, done.stdout.split()))


def test_mutated_packets_of_every_template(fuzzer, record_property):
    packets = generated()
    for packet in packets:
        _entries.check(packet)
    rounds, sound, rows = run(fuzzer, packets, SECONDS / 2)
    assert rounds > 1000
    record_property("inputs", rounds)
    assert len(packets) < sound < rounds  # some changes break a packet, some do not
    assert rows > sound


def test_mutated_packets_of_the_captures(fuzzer, captures, record_property):
    packets = [p for payloads in captures.values() for p in payloads[:600:3]]
    rounds, sound, _ = run(fuzzer, packets, SECONDS / 2)
    assert rounds > 1000
    record_property("inputs", rounds)
    assert len(packets) < sound


def test_what_was_found_once(fuzzer, replay_regressions):
    replay_regressions(fuzzer, "mdp3-entries")
