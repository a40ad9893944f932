"""What the host must be set to, and which interface a line comes in by: reads, and changes nothing.

Kernel settings are read below /proc/sys. In a sandbox that hides it nothing is said: what counts is then
read back from the sockets themselves.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mdfeedd.feeds.multicast._multicast import interface_of
from mdfeedd.feeds.multicast.errors import ReceiverError
from mdfeedd.feeds.multicast.lines import address_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mdfeedd.feeds.multicast.lines import LineSpec

PROC_SYS = Path("/proc/sys")
MIN_BACKLOG_PACKETS = 10_000
_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_STRICT = 1


class Interface(NamedTuple):
    """An interface as it is now. `ready`: up, and the link is there."""

    name: str
    ifindex: int
    ready: bool


def _ready(name: str) -> bool:
    request = struct.pack("16sh22x", name.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        flags: int = struct.unpack("16sH22x", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))[1]
    return flags & _IFF_UP != 0 and flags & _IFF_RUNNING != 0


def _routed(spec: LineSpec) -> str:
    """The interface by which the kernel would reach the group; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((spec.address, spec.port))
        except OSError as error:
            why = "no route leads to that group: name the interface"
            raise ReceiverError(error.errno, f"{spec}: {why}") from None
        own: str = probe.getsockname()[0]
    return interface_of(address_number(own))


def interface_named(name: str) -> Interface | None:
    """The interface as it is now; None if it is gone."""
    try:
        return Interface(name, socket.if_nametoindex(name), _ready(name))
    except OSError:
        return None


def find_interface(spec: LineSpec) -> Interface:
    """Where the line comes in. `ReceiverError` if there is no such interface."""
    if not spec.is_multicast and not spec.interface:
        loopback = spec.address.startswith("127.")
        name = "lo" if loopback else interface_of(address_number(spec.address))
        missing = f"this host has no such address, and {spec.address} is no multicast group"
    elif not spec.interface:
        name, missing = _routed(spec), "no interface routes to that group: name one"
    elif spec.interface.replace(".", "").isdigit() and spec.interface.count(".") == 3:
        name = interface_of(address_number(spec.interface))
        missing = f"no interface has the address {spec.interface}"
    else:
        name, missing = spec.interface, f"there is no interface {spec.interface}"
    found = interface_named(name)
    if found is None:
        raise ReceiverError(errno.ENODEV, f"{spec}: {missing}")
    return found


def setting(name: str, root: Path = PROC_SYS) -> list[int]:
    """The numbers of a sysctl; none if it cannot be read here."""
    try:
        return [int(word) for word in (root / name).read_text().split()]
    except (OSError, ValueError):
        return []


def buffer_warning(wanted: int, granted: int) -> str | None:
    """About a receive buffer that the kernel cut down, bytes."""
    if granted >= wanted:
        return None
    return (
        f"the receive buffer is {granted} bytes instead of {wanted}, and a stall will lose packets: "
        f"sysctl -w net.core.rmem_max={wanted} (or give CAP_NET_ADMIN)"
    )


def kernel_warnings(receive_buffer_bytes: int, root: Path = PROC_SYS) -> list[str]:
    """About the kernel's queues and memory for UDP."""
    out = []
    backlog = setting("net/core/netdev_max_backlog", root)
    if backlog and backlog[0] < MIN_BACKLOG_PACKETS:
        out.append(
            f"net.core.netdev_max_backlog is {backlog[0]}, and a burst may be dropped before any socket "
            f"sees it: sysctl -w net.core.netdev_max_backlog={MIN_BACKLOG_PACKETS}"
        )
    memory = setting("net/ipv4/udp_mem", root)
    page = os.sysconf("SC_PAGE_SIZE")
    if len(memory) == 3 and memory[2] * page < 2 * receive_buffer_bytes:
        pages = 2 * receive_buffer_bytes // page
        out.append(
            f"net.ipv4.udp_mem lets all UDP sockets together hold {memory[2] * page} bytes, less than one "
            f"full receive buffer: sysctl -w net.ipv4.udp_mem='{pages // 2} {pages * 3 // 4} {pages}'"
        )
    return out


def filter_warning(interface: str, root: Path = PROC_SYS) -> str | None:
    """About strict reverse-path filtering, which drops multicast from sources that are routed elsewhere."""
    found = [setting(f"net/ipv4/conf/{name}/rp_filter", root) for name in ("all", interface)]
    if max((value for values in found for value in values), default=0) != _STRICT:
        return None
    return (
        f"net.ipv4.conf.{interface}.rp_filter is strict: multicast from a source that is not routed by "
        f"{interface} is dropped: sysctl -w net.ipv4.conf.{interface}.rp_filter=2"
    )


def host_warnings(
    specs: Iterable[LineSpec], receive_buffer_bytes: int, root: Path = PROC_SYS
) -> list[str]:
    """All of it, before anything is opened; a line that cannot be received is a sentence, too."""
    out = kernel_warnings(receive_buffer_bytes, root)
    limit = setting("net/core/rmem_max", root)
    if limit and (sentence := buffer_warning(receive_buffer_bytes, limit[0])):
        out.append(sentence)
    seen = set()
    for spec in specs:
        try:
            found = find_interface(spec)
        except ReceiverError as error:
            out.append(str(error))
            continue
        if found.name in seen:
            continue
        seen.add(found.name)
        if not found.ready:
            out.append(f"interface {found.name} is down: ip link set dev {found.name} up")
        if spec.is_multicast and (sentence := filter_warning(found.name, root)):
            out.append(sentence)
    return out
