"""Why a line could not be opened, as one sentence that says what to do."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdfeedd.feeds.multicast.lines import LineSpec

_RAW = "mode packet_ring needs CAP_NET_RAW (AmbientCapabilities=CAP_NET_RAW in the unit)"
_FAMILY = "mode packet_ring needs AF_PACKET (RestrictAddressFamilies= in the unit lacks it)"

# by what was tried and the errno; more exact than the system's words
_SENTENCES = {
    ("bind", errno.EADDRINUSE): "another program has that address and port",
    ("bind", errno.EADDRNOTAVAIL): "this host has no such address",
    ("bind", errno.EACCES): "ports below 1024 need CAP_NET_BIND_SERVICE",
    ("join", errno.ENODEV): "no interface can receive that group: name one, and see that it is up",
    (
        "join",
        errno.ENOBUFS,
    ): "more sources than net.ipv4.igmp_max_msf allows: sysctl -w net.ipv4.igmp_max_msf=16",
    ("join", errno.EPERM): "this process may not join groups",
    ("socket", errno.EMFILE): "out of descriptors: raise LimitNOFILE= in the unit, or ulimit -n",
    ("socket", errno.ENFILE): "the system is out of descriptors: sysctl fs.file-max",
    ("ring socket", errno.EPERM): _RAW,
    ("ring socket", errno.EACCES): _RAW,
    ("ring socket", errno.EAFNOSUPPORT): _FAMILY,
    ("ring memory", errno.ENOMEM): "no memory for the packet ring: lower receive_buffer_bytes",
    ("ring memory", errno.ENOSPC): "lines on more than 8 interfaces: give some to another feed",
    ("ring bind", errno.ENODEV): "the interface is gone",
    ("ring bind", errno.ENETDOWN): "the interface is down: ip link set dev NAME up",
    (
        "filter",
        errno.ENOMEM,
    ): "the filter is too long for the kernel: sysctl -w net.core.optmem_max=131072",
}


class ReceiverError(OSError):
    """A line cannot be received. `errno` is the system's; the text says what to do about it."""

    def __str__(self) -> str:
        return str(self.strerror)


def explain(spec: LineSpec, stage: str, number: int) -> ReceiverError:
    """The error for a line that failed at `stage` with errno `number`."""
    why = _SENTENCES.get((stage, number)) or f"{os.strerror(number)} ({stage})"
    return ReceiverError(number, f"{spec}: {why}")
