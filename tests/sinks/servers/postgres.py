"""A PostgreSQL server of one's own: from the distribution's package, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PATIENCE_S = 60
NOT_INSTALLED = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
CONFIG = """
listen_addresses = '127.0.0.1'
max_connections = 40
fsync = off                        # the machine does not crash in these tests, only processes do
full_page_writes = off
shared_buffers = 64MB
max_wal_size = 2GB
autovacuum = off
dynamic_shared_memory_type = mmap  # a killed server leaves it: in its folder, which is removed
log_min_messages = warning
unix_socket_permissions = 0777
"""
#: "locked" needs its password, whichever way it comes; all others are trusted.
ACCESS = """
local all locked scram-sha-256
host all locked 127.0.0.1/32 scram-sha-256
local all all trust
host all all 127.0.0.1/32 trust
"""


def binaries() -> Path | None:
    """The folder with initdb and postgres, of the newest version; None if there is none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: [int(p.parent.name)], reverse=True
    )
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgresServer:
    """A cluster and its server. Root lends it the user postgres, which the server insists on."""

    def __init__(self, settings: str = "", access: str = ACCESS) -> None:
        folder = binaries()
        assert folder is not None
        self.bin = folder
        self.folder = Path(tempfile.mkdtemp(prefix="mdfeedd-pg-"))
        self.port = free_port()
        self.as_user: dict[str, object] = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self.as_user = {
                "user": owner.pw_uid,
                "group": owner.pw_gid,
                "extra_groups": [],
                "cwd": "/",
            }
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            [
                self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust",
                "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions",
            ],
            check=True, capture_output=True, **self.as_user,
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(CONFIG + settings)
        (self.data / "pg_hba.conf").write_text(access)

    # ------------------------------------------------------------------------------------- its life

    def start(self) -> None:
        """Start and wait until it takes connections."""
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    str(self.bin / "postgres"), "-D", str(self.data), "-p", str(self.port),
                    "-k", str(self.folder),
                ],
                stdout=log, stderr=log, start_new_session=True, **self.as_user,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it takes connections."""
        done = subprocess.run(
            [self.bin / "pg_isready", "-q", "-h", self.folder, "-p", str(self.port)], check=False
        )
        return done.returncode == 0

    def stop(self) -> None:
        """Stop as an operator does: sessions are ended, everything is written."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """kill -9 of all its processes."""
        if self._process is not None:
            deadline = time.monotonic() + PATIENCE_S
            while self._signal(signal.SIGKILL) and time.monotonic() < deadline:
                self._process.poll()
                time.sleep(0.002)
            self._process.wait(PATIENCE_S)
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            self._process = None

    def freeze(self) -> None:
        """All its processes stand still: the kernel takes connections and bytes, and that is all."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """They go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> bool:
        """To all processes of the server, each of which is in a session of its own; any there?"""
        found = False
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(entry / "cwd") == str(self.data):
                    os.kill(int(entry.name), number)
                    found = True
        return found

    def remove(self) -> None:
        """Stop and remove everything."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ----------------------------------------------------------------------------------- its users

    def dsn(self, dbname: str = "postgres", **more: object) -> str:
        """How to connect by its socket."""
        given = {"host": self.folder, "port": self.port, "user": "postgres", "dbname": dbname}
        return " ".join(f"{key}='{value}'" for key, value in (given | more).items())

    def connect(self, dbname: str = "postgres"):
        """A psycopg connection in autocommit."""
        import psycopg

        return psycopg.connect(self.dsn(dbname), autocommit=True)

    def execute(self, sql: str, dbname: str = "postgres", parameters: object = None) -> list:
        """The rows of a statement."""
        with self.connect(dbname) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []
