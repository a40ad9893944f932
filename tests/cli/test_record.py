"""``mdfeedd record``, with a venue of the simulator on the other side of this machine's sockets."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from mdfeedd.cli import record
from mdfeedd.feeds.capture import CaptureError, CaptureReader
from mdfeedd.feeds.multicast import LineSpec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start


def free_ports(n: int) -> int:
    """The first of so many ports in a row that are free."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            first: int = probe.getsockname()[1]
        try:
            for port in range(first, first + n):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first
    raise AssertionError("no ports")


def test_a_channel_is_recorded_and_replayed(
    start: Start, run: Run, shm_dir: str, tmp_path: Path
) -> None:
    config, out = tmp_path / "config.xml", tmp_path / "x.pcapng"
    port = free_ports(8)
    venue = start("sim", "cme", "--port", port, "--write-config", config, "--seconds", 60)
    try:
        assert venue.stdout is not None
        while "playing" not in venue.stdout.readline():
            assert venue.poll() is None
        options = ("--config-xml", config, "--channel", 310)
        ran = run("record", *options, "--out", out, "--seconds", 1.5)
    finally:
        venue.send_signal(signal.SIGTERM)
        venue.communicate(timeout=60)
    assert ran.status == 0, ran
    assert ran.out.count(" packets\n") == 8
    assert "nothing came" not in ran.out
    found = re.search(r"^([\d,]+) packets in 1\.\d s", ran.out, re.MULTILINE)
    assert found, ran.out
    packets = int(found[1].replace(",", ""))
    assert packets > 100
    ran = run("replay", out, *options, "--shm-dir", shm_dir)
    assert ran.status == 0, ran
    assert re.search(rf"^  packets +{packets:,}  ", ran.out, re.MULTILINE), ran.out
    assert re.search(r"^  missing +0  ", ran.out, re.MULTILINE)


def test_ctrl_c_ends_it_with_a_whole_file(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "x.pcapng"
    port = free_ports(1)
    process = start("record", "--line", f"127.0.0.1:{port}", "--out", out)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("recording 1 line into")
    process.send_signal(signal.SIGINT)
    told, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "0 packets in" in told
    assert "nothing came: are the groups, the ports and the interfaces right" in told
    assert out.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"


OFTEN = """
import sys
from mdfeedd.cli import main, record
record._TELL_S = 0.05
sys.exit(main(sys.argv[1:]))
"""


def test_progress_is_told_on_standard_error(run: Run, tmp_path: Path) -> None:
    line = f"127.0.0.1:{free_ports(1)}"
    ran = run("record", "--line", line, "--out", tmp_path / "x", "--seconds", 1, code=OFTEN)
    assert ran.status == 0
    assert re.fullmatch(r"(      \d s  0 packets, \d+ B\n)+", ran.err), ran.err
    assert " s  0 packets" not in ran.out


def test_what_is_not_in_the_file_is_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    lost = {"kernel_drops": 3, "buffer_drops": 1, "refused": 2, "unwritten": 4}
    for names in ((), *((name,) for name in lost), tuple(lost)):
        counts = dict.fromkeys(lost, 0) | {name: lost[name] for name in names}
        done = SimpleNamespace(packets=10, file_bytes=2000, **counts)
        line = LineSpec(1, "127.0.0.1", 20001)
        recorder = SimpleNamespace(
            recorded=done, lines=[line], paths=["x"], line_counts=lambda _line, done=done: done
        )
        assert record._tell_end(recorder, 1.0) == (1 if names else 0)
        told = [one for one in capsys.readouterr().out.splitlines() if one.startswith("trouble:")]
        assert len(told) == len(names)
    assert "3 packets arrived and are not in the file: the kernel's buffer was full" in told[0]
    assert "1 packet arrived and are not in the file: the disk was too slow" in told[1]
    assert "2 packets arrived and are not in the file: too long" in told[2]
    assert "4 packets arrived and are not in the file: it could not be written" in told[3]


LITTLE_ROOM = """
import atexit, resource, signal, sys
from mdfeedd.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, -1))
atexit.register(resource.setrlimit, resource.RLIMIT_FSIZE, (-1, -1))  # for the counts of coverage
sys.exit(main(sys.argv[1:]))
"""


def test_a_file_that_cannot_be_written_on_is_summed_up(start: Start, tmp_path: Path) -> None:
    port = free_ports(1)
    line, out = f"127.0.0.1:{port}", tmp_path / "x.pcapng"
    process = start("record", "--line", line, "--out", out, code=LITTLE_ROOM)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("recording 1 line into")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(100):  # more than the file may hold
            sender.sendto(bytes(1000), ("127.0.0.1", port))
    told, err = process.communicate(timeout=60)
    assert process.returncode == 1, (told, err)
    assert err == f"mdfeedd record: {out} cannot be written: File too large\n"
    came = re.search(rf"^  line +{line} +(\d+) packets$", told, re.MULTILINE)
    found = re.search(r"^(\d+) packets in .* s, .* in 1 file: ", told, re.MULTILINE)
    lost = re.search(
        r"^trouble: (\d+) packets arrived .* it could not be written$", told, re.MULTILINE
    )
    assert came, told
    assert found, told
    assert lost, told
    whole = []
    with CaptureReader(str(out)) as reader, contextlib.suppress(CaptureError):  # it is cut
        whole.extend(reader.packets())
    assert len(whole) == int(found[1]) > 0
    assert int(found[1]) + int(lost[1]) == int(came[1])


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ((), 2, "say what to record"),
        (("--channel", 310), 2, "belong together"),
        (("--config-xml", "/none", "--channel", 310), 1, "/none: cannot be read"),
        (("--line", "224.0.31.1"), 1, "GROUP:PORT, such as"),
        (("--line", "224.0.31.999:5"), 1, "is not an IPv4 address"),
        (("--line", "192.0.2.1:5000"), 1, "no such address, and 192.0.2.1 is no multicast group"),
    ],
)
def test_what_cannot_be_recorded(
    options: tuple[object, ...], status: int, sentence: str, run: Run, tmp_path: Path
) -> None:
    ran = run("record", *options, "--out", tmp_path / "x.pcapng")
    assert ran.status == status
    assert sentence in ran.sentence()
    assert not (tmp_path / "x.pcapng").exists()


def test_file_that_exists(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"precious")
    ran = run("record", "--line", f"127.0.0.1:{free_ports(1)}", "--out", tmp_path / "x")
    assert ran.status == 1
    assert "exists already: choose another name" in ran.sentence()
