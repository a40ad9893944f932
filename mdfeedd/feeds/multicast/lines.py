"""What a line is, as its user says it: a group and port, where it comes in, who may send it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import NamedTuple

MAX_LINES = 512
MAX_SOURCES = 16


def address_number(text: str) -> int:
    """A dotted IPv4 address as a number in host byte order; `ValueError` if it is none."""
    return int(ipaddress.IPv4Address(text))


@dataclass(frozen=True, slots=True)
class LineSpec:
    """One line: `line` is the number under which the taker of the packets knows it.

    A multicast `address` is joined on `interface` (a name, an address of it, or "" for the one that
    routes there), from `sources` alone if there are any. Another address is one of this host's own and
    plainly bound. `joined=False`: known, and opened by `Receiver.join` when it is needed.
    """

    line: int
    address: str
    port: int
    interface: str = ""
    sources: tuple[str, ...] = ()
    name: str = ""
    joined: bool = True

    def __post_init__(self) -> None:
        """Refuse what no socket could be made of: `ValueError` ("field: reason")."""
        if not 0 <= self.line < 2**32:
            raise ValueError(f"line: {self.line} is not a number of 32 bits")
        if not 0 < self.port < 2**16:
            raise ValueError(f"port: {self.port} is not between 1 and 65535")
        for key, text in (("address", self.address), *(("sources", s) for s in self.sources)):
            try:
                ipaddress.IPv4Address(text)
            except ValueError:
                raise ValueError(
                    f"{key}: {text!r} is not an IPv4 address like 224.0.31.1"
                ) from None
        if self.address == "0.0.0.0":  # noqa: S104 - it is refused here
            raise ValueError("address: 0.0.0.0 would hear every group on that port: name the group")
        if len(self.sources) > MAX_SOURCES:
            raise ValueError(f"sources: {len(self.sources)} of them, at most {MAX_SOURCES}")

    @property
    def is_multicast(self) -> bool:
        """A group to join, not an address of this host."""
        return ipaddress.IPv4Address(self.address).is_multicast

    def __str__(self) -> str:
        where = f" on {self.interface}" if self.interface else ""
        return f"line {self.name or self.line} ({self.address}:{self.port}{where})"


class LineCounts(NamedTuple):
    """Of one line since the receiver was made, kept while the line is left and joined again.

    `kernel_drops`: datagrams that came and found the socket's buffer full (or were broken); 0 in mode
    packet_ring, whose queue is shared: see `Receiver.kernel_drops`. `truncated`: longer than the kernel or
    we had room for. `fragments` and `refused` (wrong checksum, wrong source) are told in mode packet_ring
    only; else the kernel has dealt with them. `errors`: failed receive calls.
    """

    packets: int
    bytes: int
    kernel_drops: int
    truncated: int
    fragments: int
    refused: int
    errors: int
