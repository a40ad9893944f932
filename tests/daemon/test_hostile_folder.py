"""Whatever somebody leaves in the folder of rings: our rings are seen, and nothing waits."""

from __future__ import annotations

import os
from pathlib import Path

from mdfeedd.daemon import status
from mdfeedd.daemon.status import look, snapshot
from mdfeedd.ring import Writer
from mdfeedd.ring.segment import foreign_abi


def test_pipes_and_folders_in_the_place_of_rings_stop_nobody(shm_dir):
    os.mkfifo(f"{shm_dir}/mdfeedd.pipe")
    os.mkfifo(f"{shm_dir}/mdfeedd.mine.readers")
    Path(shm_dir, "mdfeedd.folder").mkdir()
    Path(shm_dir, "mdfeedd.loop").symlink_to(f"{shm_dir}/mdfeedd.loop")
    shown = snapshot(shm_dir)
    assert {one["ring"] for one in shown["unreadable"]} == {"pipe", "folder", "loop"}
    assert all(foreign_abi(name, shm_dir) is None for name in ("pipe", "folder", "loop", "mine"))


def test_a_thousand_files_of_others_do_not_hide_our_rings(shm_dir, monkeypatch):
    monkeypatch.setattr(status, "MAX_RINGS", 10)
    for i in range(50):
        Path(shm_dir, f"mdfeedd.a{i:02}").touch()
    with Writer("zz", 256, directory=shm_dir):
        infos, unreadable = look(shm_dir, {"zz"})
        assert (list(infos), len(unreadable)) == (["zz"], 9)
        assert look(shm_dir)[0] == {}
