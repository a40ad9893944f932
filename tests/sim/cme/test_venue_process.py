"""The venue in a process of its own: held until told to begin, reporting, and never outliving its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mdfeedd.sim.cme import Feed, Venue
from mdfeedd.sim.cme.child import VenueProcess
from mdfeedd.sim.cme.network import Cut, Network
from mdfeedd.sim.cme.publisher import Publisher, PublisherOptions, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Spawn

WAIT_S = 20.0
PORT = 9_000 + os.getpid() % 1_000  # nobody needs to listen


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def held() -> Iterator[VenueProcess]:
    venue = VenueProcess(PublisherOptions(port=PORT, rate=500, hole_every_s=0.1), held=True)
    with venue:
        yield venue


def test_held_venue_sends_nothing_until_it_may_begin(held: VenueProcess) -> None:
    assert held.alive
    assert held.report == Report()
    held.begin()
    until(lambda: held.report.holes > 0)
    held.begin()  # once more: nothing
    sent = held.report.packets
    held.stop()
    report = held.report
    assert report.packets > sent, "the last report is that of the end"
    assert report.uncovered >= report.holes > 0
    assert report.covered == report.refused == 0
    assert held.ending == "", "it was stopped"


def test_held_venue_can_be_stopped(held: VenueProcess) -> None:
    pid = held.pid
    assert pid
    held.stop()
    assert not alive(pid)
    assert held.report == Report()


def test_venue_that_is_killed_says_so(held: VenueProcess) -> None:
    held.begin()
    assert held.ending == ""
    assert held.pid
    os.kill(held.pid, signal.SIGKILL)
    until(lambda: bool(held.ending))
    assert held.ending == "killed by SIGKILL"
    held.begin()


@pytest.mark.parametrize("begun", [True, False])
def test_venue_ends_with_a_parent_that_was_killed(begun: bool, spawn: Spawn) -> None:
    code = (
        "import time\n"
        "from mdfeedd.sim.cme.child import VenueProcess\n"
        "from mdfeedd.sim.cme.publisher import PublisherOptions\n"
        f"venue = VenueProcess(PublisherOptions(port={PORT}), held={not begun})\n"
        "venue.start()\n"
        "print(venue.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = spawn([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.communicate()
    until(lambda: not alive(pid))


def test_stops_at_once_at_whatever_moment_the_signal_comes() -> None:
    for moment in range(8):  # inside `stop.wait` more often than not
        with VenueProcess(PublisherOptions(port=PORT, rate=50)) as venue:
            until(lambda venue=venue: venue.report.packets > 0)  # type: ignore[misc]
            time.sleep(moment / 7_000)
            process = venue._process
            assert process is not None
            process.terminate()
            assert process.wait(WAIT_S) == 0


def test_network_tells_what_the_other_side_had_from_what_nobody_had() -> None:
    venue = Venue(5, instruments=2, rate=1_000)
    network = Network(5, drop={(Feed.INCREMENTAL, 0): range(10, 15)})
    network.deliver(venue.run(40))
    assert network.covered == {Feed.INCREMENTAL: 5}
    assert not network.uncovered
    network.lose_next(3)
    network.deliver(venue.run(40))
    network.lose_next(2)
    network.deliver(venue.run(40))
    assert (
        network.uncovered == {Feed.INCREMENTAL: 5} == {Feed.INCREMENTAL: len(network.lost_both())}
    )
    assert network.hole_counts == {Feed.INCREMENTAL: 2}
    assert [last - first + 1 for first, last in network.holes()] == [3, 2]


def test_healed_network_loses_nothing_more() -> None:
    venue = Venue(5, instruments=2, rate=1_000)
    cut = Cut(1, 0, 1 << 62)
    network = Network(5, loss={(Feed.INCREMENTAL, 0): 0.5}, burst=0.3, cuts=[cut])
    network.deliver(venue.run(100))
    assert network.uncovered[Feed.INCREMENTAL]
    network.lose_next(1_000)
    network.heal(venue.now_ns)
    lost = network.lost_packets.copy()
    venue.run(1)  # what bears the very time of healing is on either side of it
    network.deliver(venue.run(100))
    assert network.lost_packets == lost


def test_calm_venue_lists_futures_only() -> None:
    publisher = Publisher(PublisherOptions(instruments=8, calm=True))
    publisher.close()
    listed = [instrument.listing for instrument in publisher.venue.instruments.values()]
    assert {listing.template for listing in listed} == {54}
    assert len({listing.symbol for listing in listed}) == 8
