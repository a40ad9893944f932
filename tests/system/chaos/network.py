"""Two hosts in network namespaces, and the cable between them: the daemon's, and the venues'.

    daemon's host: lo, near 10.79.0.1  ═══ veth ═══  far 10.79.0.2, lo: venues' host

What a thread starts while it is in a namespace, threads and processes, is there as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET: Final = 0x40000000
PATIENCE_S: Final = 20
NEAR, FAR = "10.79.0.1", "10.79.0.2"


def ip(*words: str) -> None:
    """ip(8). Raises `OSError` with what it said."""
    done = subprocess.run(
        ["ip", *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def why_not() -> str:
    """Why there can be no namespaces here; empty if there can."""
    if shutil.which("ip") is None:
        return "ip(8) is not installed (package iproute2)"
    name = f"mdfeedd-try-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
    except OSError as error:
        return f"no network namespaces ({error}): run as root"
    return ""


class Cable:
    """Both hosts, made by `with`. What cuts it is in force until it is mended."""

    def __init__(self) -> None:
        self.names: Final = {side: f"mdfeedd-{side}-{os.getpid()}" for side in ("daemon", "venues")}
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Self:
        try:
            for name in self.names.values():
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            here, there = self.names["daemon"], self.names["venues"]
            ip("-n", here, "link", "add", "near", "type", "veth", "peer", "far", "netns", there)
            ip("-n", here, "addr", "add", f"{NEAR}/24", "dev", "near")
            ip("-n", there, "addr", "add", f"{FAR}/24", "dev", "far")
            ip("-n", here, "link", "set", "near", "up")
            ip("-n", there, "link", "set", "far", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        for name in self.names.values():
            with contextlib.suppress(OSError):
                ip("netns", "del", name)

    @contextlib.contextmanager
    def at(self, side: str) -> Iterator[None]:
        """This thread is on the host of `side`."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        other = os.open(f"/run/netns/{self.names[side]}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._enter(other)
            try:
                yield
            finally:
                self._enter(own)
        finally:
            os.close(own)
            os.close(other)

    def _enter(self, namespace: int) -> None:
        if self._libc.setns(namespace, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def cut_line(self) -> None:
        """The far end of the cable is down: nothing comes from the venues, nothing goes there."""
        ip("-n", self.names["venues"], "link", "set", "far", "down")

    def mend_line(self) -> None:
        ip("-n", self.names["venues"], "link", "set", "far", "up")

    def cut_loopback(self) -> None:
        """The daemon reaches no server by TCP, and no server the daemon."""
        ip("-n", self.names["daemon"], "link", "set", "lo", "down")

    def mend_loopback(self) -> None:
        ip("-n", self.names["daemon"], "link", "set", "lo", "up")
