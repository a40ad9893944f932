"""Channels that are silent as a whole: told as long as it lasts, on the page, in metrics, and to scripts."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.request

import pytest
from line_rows import line

from mdfeedd.cli.main import main
from mdfeedd.daemon import config
from mdfeedd.daemon.channels import SILENCE_S, channels_of
from mdfeedd.daemon.status import snapshot
from mdfeedd.daemon.supervisor import Supervisor
from mdfeedd.daemon.troubles import troubles_of
from mdfeedd.sim.cme import Venue

PATIENCE_S = 120.0


def feed(*lines, silences=1, **changed):
    row = {
        "name": "cme",
        "managed": True,
        "writer_alive": True,
        "silent_s": 0.0,
        "heartbeat_age_s": 0.0,
        "published": 0,
        "listened_s": 1000.0,
        "silence_s": SILENCE_S,
        "counters": {"silences": silences},
        "lines": list(lines),
    }
    return row | changed


@pytest.mark.parametrize(
    ("row", "silent"),
    [
        (feed(line(40.0), line(50.0, side="B")), [310]),
        (feed(line(40.0)), [310]),
        (feed(line(34.0), line(50.0, side="B")), []),
        (feed(line(40.0), line(None, 0, side="B")), [310]),
        (feed(line(40.0), line(0.1, side="B", channel=312)), [310]),
        (feed(line(40.0), line(0.1, kind="snapshot")), [310]),
        (feed(line(None, 0), line(None, 0, side="B")), [310]),
        (feed(line(None, 0), line(0.1, channel=312)), [310]),
        (feed(line(None, 0), listened_s=34.0), []),
        (feed(line(400.0), listened_s=34.0), []),  # it has just been started again
        (feed(line(40.0), silences=0), []),  # its own limit is longer
        (feed(line(40.0), silence_s=60.0), []),
        (feed(line(40.0), heartbeat_age_s=10.0), []),  # it is the feed that stands still
        (feed(line(40.0), heartbeat_age_s=4.0, silent_s=0.0), [310]),
        (feed(line(35.1), heartbeat_age_s=0.2, silent_s=0.0), []),  # nor was it one 0.2 s ago
        (feed(line(40.0), writer_alive=False), []),
        (feed(line(None), line(None, side="B")), []),  # a recording
        (feed(line(None), line(None, 0, channel=312)), []),
        (feed(), []),
    ],
)
def test_silent_is_a_channel_of_which_no_line_brings_anything(row, silent):
    assert [one.number for one in channels_of(row) if one.is_silent] == silent


def test_it_is_told_with_its_lines_and_since_when(shm_dir):
    shown = snapshot(shm_dir) | {"time_s": 1_000_000_000.0}
    shown["feeds"] = [feed(line(40.0, side="B"), line(50.0))]
    (told,) = troubles_of(shown)
    assert (told["name"], told["trouble"]) == ("cme", "channel silent")
    assert "feed cme: channel 310 has been silent for 40 s" in told["text"]
    assert "since 2001-09-09 01:46:00 UTC: no packet on lines A and B" in told["text"]
    shown["feeds"] = [feed(line(None, 0), listened_s=100.0)]
    (told,) = troubles_of(shown)
    assert "since 2001-09-09 01:45:00 UTC, and was never heard: no packet on line A" in told["text"]


async def get(supervisor, path):
    """Status code and body."""

    def fetch():
        url = f"http://127.0.0.1:{supervisor.exporter.port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()

    return await asyncio.to_thread(fetch)


async def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.02)
    return found


def test_channel_that_is_not_heard_is_a_trouble_until_packets_come(shm_dir, capsys):
    """Both lines of a real feed, never heard, then alive, then dead again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ports = free_ports(2)
        venue = Venue(7, instruments=1)

        def send():
            venue.heartbeat()
            for packet in venue.take():
                for port in ports:
                    ours.sendto(packet.payload, ("127.0.0.1", port))

        async def scenario():
            async with Supervisor(config.check(lined(shm_dir, ports))) as supervisor:

                def troubles():
                    shown = snapshot(shm_dir, supervisor)
                    return [one for one in shown["troubles"] if one["trouble"] != "down"]

                def well():
                    send()
                    return not troubles()

                for never in (True, False):
                    (told,) = await until(troubles)
                    assert [troubles()[0]["trouble"] for _ in range(20)] == [told["trouble"]] * 20
                    assert told["trouble"] == "channel silent"
                    assert ("never heard" in told["text"]) is never
                    assert (await get(supervisor, "/readyz"))[0] == 200, "the feed is well"
                    _, text = await get(supervisor, "/metrics")
                    assert 'mdfeedd_channel_silent{channel="310",feed="cme"} 1.0' in text
                    assert await asyncio.to_thread(main, status_of(shm_dir, supervisor)) == 1
                    assert "trouble: feed cme: channel 310 " in capsys.readouterr().out
                    await until(well)
                _, text = await get(supervisor, "/metrics")
                return json.loads((await get(supervisor, "/status"))[1]), text

        shown, text = asyncio.run(scenario())
    assert shown["feeds"][0]["silence_s"] == 1.0
    assert 'mdfeedd_channel_silent{channel="310",feed="cme"} ' in text


def free_ports(count):
    taken = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def lined(shm_dir, ports):
    """A daemon of one channel with two lines."""
    lines = [
        {
            "channel": 310,
            "feed": "incremental",
            "side": side,
            "address": "127.0.0.1",
            "port": port,
            "sources": ["127.0.0.1"],
        }
        for side, port in zip("AB", ports, strict=True)
    ]
    options = {"lines": lines, "silence_s": 1, "cache_dir": "", "receive_buffer_bytes": 1 << 20}
    feeds = [{"name": "cme", "vendor": "cme", "capacity": 4096, "options": options}]
    return {"shm_dir": shm_dir, "metrics": {"port": 0}, "feeds": feeds}


def status_of(shm_dir, supervisor):
    """What a script would call."""
    path = f"{shm_dir}/daemon.yaml"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(lined(shm_dir, (1, 2)) | {"metrics": {"port": supervisor.exporter.port}}, file)
    return ["status", "--over", "0.1", "-c", path]
