"""Two daemons as on two hosts: a market here, its ring there, by the configuration of the page on Kafka."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mdfeedd.ring import Reader, RingMissing
from mdfeedd.tick import TICK

REPOSITORY = Path(__file__).resolve().parents[3]
DEADLINE_S = 120


def configurations(address, here, there):
    """The two YAML files of the page, with this broker and a market in place of CME."""
    text = (REPOSITORY / "mdfeedd" / "docs" / "kafka.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[:2]
    out = []
    for block, folder in zip(blocks, (here, there), strict=True):
        changed = f"shm_dir: {folder}\nmetrics: null\n{block}"
        for old, new in (
            (r'bootstrap_servers: "[^"]*"', f'bootstrap_servers: "{address}"'),
            (r"security_protocol: sasl_ssl.*\n( +(sasl|password|tls)_?.*\n)*", ""),
            (
                r"vendor: cme\n( +)options:\n( +.*# .*\n)+",
                r"vendor: synthetic\n\1options: {rate: 3000, seed: 5}\n",
            ),
            ("/var/lib/mdfeedd/journal", f"{folder}/journal"),
            ("start: latest", "start: earliest"),
        ):
            changed = re.sub(old, new, changed)
        out.append(changed)
    return out


@contextlib.contextmanager
def daemon(path, log):
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mdfeedd", "run", "-c", path],
            cwd=REPOSITORY, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ring_of(name, folder):
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with contextlib.suppress(RingMissing):
            return Reader(name, start="oldest", directory=str(folder))
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_ring_of_one_host_is_on_the_other(apache, tmp_path, shm_dir):
    here, there = Path(shm_dir) / "here", Path(shm_dir) / "there"
    files = []
    for folder, text in zip(
        (here, there), configurations(apache.address, here, there), strict=True
    ):
        folder.mkdir()
        files.append(tmp_path / f"{folder.name}.yaml")
        files[-1].write_text(text)
    logs = [tmp_path / "here.log", tmp_path / "there.log"]
    with daemon(files[1], logs[1]), daemon(files[0], logs[0]):
        try:
            origin, copy = ring_of("cme", here), ring_of("cme", there)
            parts, deadline = [], time.monotonic() + DEADLINE_S
            while sum(map(len, parts)) < 6000:
                batch = copy.read(1 << 16, timeout=0.5)
                assert not batch.lost
                parts.append(batch.records.copy())
                assert time.monotonic() < deadline
            came = np.concatenate(parts)[:6000]
            was = np.concatenate([np.empty(0, TICK), origin.read(1 << 16).records])[:6000]
        except BaseException:
            for log in logs:
                print(log.read_text()[-4000:])
            raise
    names = [
        [reader.instruments.symbol(i) for i in records["instrument_id"].tolist()]
        for reader, records in ((origin, was), (copy, came))
    ]
    assert names[0] == names[1]
    for records in (was, came):
        records["instrument_id"] = 0
    assert (came == was).all()  # seq too: both rings are new
    for reader in (origin, copy):
        reader.close()
