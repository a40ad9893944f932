"""The tests on real multicast once more, by a user without rights: in a user namespace, where that may be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
UNSHARE = ("unshare", "--user", "--map-root-user", "--net")


@pytest.mark.skipif(os.geteuid() == 0, reason="as root the tests have the rights themselves")
def test_multicast_without_rights(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("unshare(1) is not installed (package util-linux)")
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no user namespace: {tried.stderr.strip()}")
    ran = subprocess.run(
        [
            *UNSHARE, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            f"--basetemp={tmp_path / 'inside'}", str(HERE / "test_namespace.py"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=HERE.parents[2],
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-4000:]
    if " passed" not in ran.stdout:
        pytest.skip(ran.stdout[-400:])
