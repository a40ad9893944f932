"""What the pages on vendors say to try without an account or a line: each command in a terminal of its own."""

from __future__ import annotations

import contextlib
import random
import re
import socket
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
MOST_LINES = 1_000_000
"""Until a gap is told; the test's own time limit comes first."""
UDP_PORTS = 8


def free_udp_ports() -> int:
    """The first of so many in a row that are free now."""
    while True:
        first = random.randrange(30_000, 60_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + UDP_PORTS):
                probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind(("127.0.0.1", port))
            return first


def terminals(page: str) -> list[str]:
    """The commands of the block that ends in `mdfeedd tail`; what exports a variable goes with the one after it."""
    text = (REPOSITORY / "mdfeedd" / "docs" / page).read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    (block,) = [b for b in blocks if "mdfeedd tail" in b and "mdfeedd run -c config/" in b]
    plain = re.sub(r" +# .*", "", block)
    return re.sub(r"^(export .*)\n", r"\1; ", plain, flags=re.MULTILINE).splitlines()


@pytest.mark.parametrize("vendor", ["cme", "databento", "bloomberg"])
def test_without_an_account(place, readme, vendor) -> None:
    udp, tcp = free_udp_ports(), readme.free_port()
    substitutions = {
        "mdfeedd sim cme ": f"mdfeedd sim cme --port {udp} ",
        "mdfeedd sim databento ": f"mdfeedd sim databento --port {tcp} ",
        "--loss 0.01": "--loss 0.1",  # of each line: what both lose is a gap
        "after_s=20": "after_s=3",
        "at_s=20": "at_s=3",
        "mdfeedd tail ": f"mdfeedd tail --wait 60 --shm-dir {place.shm} ",
    }
    config = place.folder / "config" / f"{vendor}-sim.yaml"
    config.parent.mkdir()
    text = (
        (REPOSITORY / "config" / config.name)
        .read_text()
        .replace("127.0.0.1:13000", f"127.0.0.1:{tcp}")
    )
    config.write_text(f"shm_dir: {place.shm}\nmetrics: null\n{text}")
    *before, tail = terminals(f"{vendor}.md")
    started = []
    for given in (*before, tail):
        command = given
        for said, run in substitutions.items():
            command = command.replace(said, run)
        if "mdfeedd run" in command and vendor == "cme":  # reads what the simulator writes
            readme.until((place.folder / "config.xml").exists, "the simulator's config.xml")
        started.append(place.start(command if given == tail else f"{command} 2>>log"))
    told = (line.lower() for _, line in zip(range(MOST_LINES), started[-1].stdout, strict=False))
    assert any("quote" in line for line in told)
    assert any("gap" in line for line in told)
    for process in reversed(started):
        place.end(process)
    assert "Traceback" not in (place.folder / "log").read_text()
