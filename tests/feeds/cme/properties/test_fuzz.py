"""The whole handler under AddressSanitizer and UndefinedBehaviorSanitizer, on damaged packets (c/fuzz_mdp.c).

MDFEEDD_FUZZ_SECONDS is how long three of the inputs are played, MDFEEDD_FUZZ_SEED where to begin.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from mdfeedd.sim.cme import Habits, Venue
from mdfeedd.sim.cme.network import Network, lossy

SECONDS = float(os.environ.get("MDFEEDD_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))
HEAD = struct.Struct("<qHHI")
MAX_PAYLOAD = 4096


@pytest.fixture(scope="module", params=("gcc", "clang"))
def fuzzer(request, sanitized):
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} here")
    source = Path(__file__).parents[1] / "c/fuzz_mdp.c"
    folders = ("ring", "feeds", "feeds/cme/codec")
    return sanitized(source, *folders, compiler=request.param, flags=("-std=gnu11",))


def played(version, old):
    """What a venue sends and a network delivers, with everything that can happen."""
    habits = Habits(channel_reset=2, weekly_reset=0.5, delete=2, add=2, workup=2, cut=0.1, late=0.1)
    venue = Venue(
        version, instruments=6, version=version, old_templates=old, orders=True, habits=habits
    )
    sent = venue.run(400) + venue.settle(1)
    loss = lossy(0.02) | lossy(0.01, feeds=(0,))
    return Network(version, loss=loss, duplicate=0.02, reorder=0.02).deliver(sent)


def fuzz(program, packets):
    data = b"".join(
        HEAD.pack(time_ns, feed, side, len(payload)) + payload
        for time_ns, feed, side, payload in packets
        if len(payload) <= MAX_PAYLOAD
    )
    done = subprocess.run(
        [program, str(SEED), str(SECONDS / 3)], input=data, capture_output=True, check=False,
        timeout=60 + 20 * SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {SEED} and later: {done.stderr.decode()[-4000:]}"
    assert int(done.stdout) >= 5
    return int(done.stdout)


@pytest.mark.parametrize(("version", "old"), [(13, False), (9, True), (99, False), (6, True)])
def test_damaged_packets_of_a_venue(fuzzer, version, old, record_property):
    record_property("inputs", fuzz(fuzzer, played(version, old)))


def test_damaged_packets_of_real_captures(fuzzer, captures, record_property):
    """Both lines, in the order of the capture; and a capture of one line alone."""
    packets = []
    for name, payloads in sorted(captures.items()):
        for i, payload in enumerate(payloads[:4000]):
            packets.append(
                (1_000_000 * len(packets), 0, (i if "ab" in name.lower() else 0) % 2, payload)
            )
    record_property("inputs", fuzz(fuzzer, packets))


def test_what_was_found_once(fuzzer, replay_regressions):
    replay_regressions(fuzzer, "mdp3")
