"""What cannot be a ring, or is not ours: one clear sentence, and nothing half-made left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mdfeedd import TICK, Reader, Writer
from mdfeedd.ring import (
    RingCorrupt,
    RingMismatch,
    RingMissing,
    RingSpace,
    list_rings,
)
from mdfeedd.tick import BAR, QUOTE, TICK_VIEWS

ROOT = os.geteuid() == 0


@pytest.mark.parametrize("capacity", [0, -1, 2**40])
def test_absurd_capacity(shm_dir: str, capacity: int) -> None:
    with pytest.raises(ValueError, match="capacity"):
        Writer("r", capacity, directory=shm_dir)
    assert list_rings(shm_dir) == []


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "x" * 65, "r.readers", "r.new", "é"])
def test_name_that_cannot_be(shm_dir: str, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a ring"):
        Writer(name, directory=shm_dir)
    with pytest.raises(ValueError, match="cannot name a ring"):
        Reader(name, directory=shm_dir)


def test_missing_ring_says_what_to_do(shm_dir: str) -> None:
    with pytest.raises(RingMissing, match=r"no ring 'nope' .* doctor"):
        Reader("nope", directory=shm_dir)
    with pytest.raises(RingMissing):
        Writer("r", directory=shm_dir + "/no/such/folder")


def test_wrong_dtype(shm_dir: str) -> None:
    with Writer("r", directory=shm_dir):
        with pytest.raises(RingMismatch, match="another layout"):
            Reader("r", directory=shm_dir, dtype=BAR)
        same_size = np.dtype([("seq", "<u8"), ("x", "<u8", 7)])
        with pytest.raises(RingMismatch, match="another layout"):
            Reader("r", directory=shm_dir, dtype=same_size)
    for bad in (np.dtype("<u8"), np.dtype([("seq", "<u8")]), np.dtype([("x", "V64")])):
        with pytest.raises(TypeError, match=r"structured|slot"):
            Writer("q", dtype=bad, directory=shm_dir)


def test_other_abi(shm_dir: str) -> None:
    Writer("r", directory=shm_dir).close()
    with (Path(shm_dir) / "mdfeedd.r").open("r+b") as file:
        file.seek(8)
        file.write((99).to_bytes(4, "little"))
    with pytest.raises(RingMismatch, match="ABI 99"):
        Reader("r", directory=shm_dir)
    with pytest.raises(RingMismatch, match="ABI 99"):
        Writer("r", directory=shm_dir)


def test_registry_of_another_abi_and_size(shm_dir: str) -> None:
    Writer("r", directory=shm_dir).close()
    registry = Path(shm_dir) / "mdfeedd.r.readers"
    older = bytearray(registry.read_bytes()[:36864])  # as it was before it held latencies
    older[8:12] = (1).to_bytes(4, "little")
    registry.write_bytes(bytes(older))
    with pytest.raises(RingMismatch, match="readers has ABI 1, this program has ABI 2"):
        Reader("r", "now", "me", directory=shm_dir)
    with pytest.raises(RingMismatch, match="readers has ABI 1, this program has ABI 2"):
        Writer("r", directory=shm_dir)


def test_header_damaged_anywhere_is_refused_or_harmless(shm_dir: str) -> None:
    path = Path(shm_dir) / "mdfeedd.r"
    Writer("r", 256, directory=shm_dir).close()
    whole = path.read_bytes()
    for offset in range(0, 256, 4):
        damaged = bytearray(whole)
        damaged[offset : offset + 4] = b"\xff\xff\xff\xff"
        path.write_bytes(bytes(damaged))
        try:
            Reader("r", directory=shm_dir).close()
        except (RingCorrupt, RingMismatch, ValueError):
            pass
        except UnicodeDecodeError:  # pragma: no cover
            pytest.fail(f"offset {offset}")
    for size in (0, 100, 4095, 4096, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(RingCorrupt):
            Reader("r", directory=shm_dir)
        with pytest.raises(RingCorrupt):
            Writer("r", directory=shm_dir)


@pytest.mark.skipif(not ROOT, reason="needs root to mount a small file system and to change user")
def test_shared_memory_full(tmp_path: Path, ticks) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=True)
    try:
        with pytest.raises(RingSpace, match=r"needs \d+ bytes.*--shm-size"):
            Writer("r", directory=str(tmp_path))
        assert list(tmp_path.iterdir()) == [], "nothing half-made is left"
        with Writer("r", 1024, directory=str(tmp_path)) as writer:
            writer.publish(ticks(1))
            with pytest.raises(RingSpace, match="free"):
                [writer.instruments.add(f"I{i}") for i in range(65_536)]
            writer.publish(ticks(1))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(not ROOT, reason="needs root to change user")
def test_ring_of_another_user(shm_dir: str, run_python) -> None:
    code = """
        import os, sys
        from mdfeedd import Reader, Writer
        from mdfeedd.ring import RingDenied
        os.setgid(int(sys.argv[2])); os.setgroups([]); os.setuid(65534)
        for attach in (Reader, Writer):
            try:
                attach("r", directory=sys.argv[1])
                print("attached")
            except RingDenied as error:
                print("denied", error)
    """
    Path(shm_dir).chmod(0o755)
    with Writer("r", directory=shm_dir) as writer:
        out = run_python(code, shm_dir, "65534").stdout.splitlines()
        assert [line.split()[0] for line in out] == ["denied", "denied"]
        os.chown(writer.path, 0, 12345)
        out = run_python(code, shm_dir, "12345").stdout.splitlines()
        # the group reads the ring; it cannot write it, and without the registry it is not listed
        assert [line.split()[0] for line in out] == ["attached", "denied"]


def test_modes_do_not_depend_on_umask(shm_dir: str) -> None:
    before = os.umask(0o077)
    try:
        Writer("r", directory=shm_dir).close()
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in Path(shm_dir).iterdir()}
    assert modes == {"mdfeedd.r": 0o640, "mdfeedd.r.readers": 0o660}


def test_closed_objects_say_so(shm_dir: str, ticks) -> None:
    writer = Writer("r", directory=shm_dir)
    reader = Reader("r", directory=shm_dir)
    reader.close()
    reader.close()
    writer.close()
    writer.close()
    for call in (
        lambda: writer.publish(ticks(1)),
        lambda: writer.instruments.add("X"),
        reader.read,
        lambda: reader.read_into(np.zeros(1, TICK)),
        lambda: reader.lag,
        lambda: writer.next_seq,
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


_BIG_ENDIAN = QUOTE.newbyteorder(">")
_FLOATS = np.dtype([(name, "<f8" if name == "bid_price" else QUOTE[name]) for name in QUOTE.names])


@pytest.mark.parametrize("dtype", [_BIG_ENDIAN, TICK.newbyteorder(">"), _FLOATS, BAR])
def test_records_with_the_names_of_ticks_and_other_bytes(shm_dir: str, dtype: np.dtype) -> None:
    with Writer("r", 256, directory=shm_dir) as writer:
        with pytest.raises(TypeError, match="do not fit a ring of"):
            writer.publish(np.zeros(1, dtype))
        assert [writer.publish(np.zeros(1, view)) for view in TICK_VIEWS] == list(range(1, 8))
