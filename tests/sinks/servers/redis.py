"""A Redis server for tests: a process of its own on a free port, with its data in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

NOT_INSTALLED = "no redis-server here (Debian: apt-get install redis-server)"
START_S = 60.0


def binary():
    """Path of the server, or None; MDFEEDD_REDIS_SERVER names another (Valkey, a newer one)."""
    return shutil.which(os.environ.get("MDFEEDD_REDIS_SERVER") or "redis-server")


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_tls(folder):
    """Whether the server speaks TLS: without certificates it complains of these, or of TLS."""
    command = [binary(), "--port", "0", "--tls-port", "1", "--dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
    return "TLS support" not in done.stdout + done.stderr


class RedisServer:
    """One server. `settings` are lines of redis.conf; `start` begins with the data that are there."""

    def __init__(self, **settings):
        self.folder = Path(tempfile.mkdtemp(prefix="mdfeedd-redis-"))
        self.port = free_port()
        self.unix_socket = str(self.folder / "socket")
        self.settings = {"save": '""', "appendonly": "no"} | settings
        self.process = None

    def start(self, **settings):
        """Start it, and wait until it answers."""
        self.settings |= settings
        lines = {
            "port": self.port,
            "bind": "127.0.0.1",
            "unixsocket": self.unix_socket,
            "dir": self.folder,
            "logfile": self.folder / "log",
            "daemonize": "no",
        } | {key.replace("_", "-"): value for key, value in self.settings.items()}
        file = self.folder / "redis.conf"
        file.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        self.process = subprocess.Popen([binary(), str(file)])
        end = time.monotonic() + START_S
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.01)
        return self

    def _answers(self):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.settimeout(START_S)
                probe.connect(self.unix_socket)
                probe.sendall(b"PING\r\n")
                reply = probe.recv(100)
            except OSError:
                return False
            return reply.startswith((b"+PONG", b"-NOAUTH"))

    def client(self, **options):
        """A client of redis-py, which is not ours."""
        import redis

        return redis.Redis(port=self.port, protocol=2, **options)

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait(START_S)

    def freeze(self):
        """Let it do nothing, without closing anything."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def remove(self):
        """Stop it, and forget its data."""
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
