"""One line of a channel: a feed, a side, and the group that carries it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, get_args

from mdfeedd.options import refuse, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mdfeedd.feeds.multicast.lines import LineSpec

__all__ = [
    "FEEDS",
    "MAX_CHANNEL_ID",
    "MAX_SOURCES",
    "FeedName",
    "Line",
    "SideName",
    "check_channel",
]

FeedName = Literal["incremental", "definition", "snapshot", "orders"]
SideName = Literal["A", "B"]
FEEDS: Final[tuple[FeedName, ...]] = get_args(FeedName)
SIDES: Final[tuple[SideName, ...]] = get_args(SideName)

MAX_CHANNEL_ID: Final = 32_767  # ApplID is an int16 on the wire
MAX_PORT: Final = 65_535
MAX_SOURCES: Final = 16
"""Senders of one group; IGMP's limit of the kernel is 10 by default (net.ipv4.igmp_max_msf)."""

_INTERFACE: Final = re.compile(r"[^\s/:]{1,15}")


@dataclass(frozen=True, slots=True)
class Line:
    """Where one side of one feed of one channel arrives. Raises `ValueError` ("key: reason")."""

    channel: int = field(metadata={"help": "CME's number of the channel, such as 310"})
    feed: FeedName = field(metadata={"help": "incremental, definition, snapshot or orders"})
    address: str = field(metadata={"help": "multicast group, or an address of this machine"})
    port: int = field(metadata={"help": "UDP port"})
    side: SideName = field(default="A", metadata={"help": "A or B"})
    sources: tuple[str, ...] = field(
        default=(), metadata={"help": "senders of the group; others are kept out. Empty: any"}
    )
    interface: str = field(
        default="",
        metadata={"help": "name or address of the card; empty: as the side's, or routed"},
    )

    def __post_init__(self) -> None:
        refuse(
            told(lambda: check_channel("channel", self.channel)),
            self._check_kind(),
            told(self._check_address),
            self._check_port(),
            told(self._check_sources),
            told(lambda: check_interface("interface", self.interface)),
        )

    def _check_kind(self) -> Iterator[str]:
        if self.side not in SIDES:
            yield f"side: must be A or B, not {self.side!r}"
        if self.feed not in FEEDS:
            yield f"feed: must be one of {', '.join(FEEDS)}, not {self.feed!r}"

    def _check_address(self) -> None:
        if _ipv4("address", self.address).is_unspecified:
            raise ValueError("address: 0.0.0.0 hears every group on that port: name the group")

    def _check_port(self) -> Iterator[str]:
        if not 1 <= self.port <= MAX_PORT:
            yield f"port: must be 1 to {MAX_PORT}, not {self.port}"

    def _check_sources(self) -> None:
        if len(self.sources) > MAX_SOURCES:
            raise ValueError(f"sources: at most {MAX_SOURCES}, not {len(self.sources)}")
        for source in self.sources:
            if _ipv4("sources", source).is_multicast:
                raise ValueError(f"sources: {source} is a group, not the address of a sender")

    @property
    def multicast(self) -> bool:
        """Whether the address is a group, to be joined."""
        return ipaddress.IPv4Address(self.address).is_multicast

    def spec(self, number: int, *, joined: bool = True) -> LineSpec:
        """The same for a `Receiver`, under this number."""
        from mdfeedd.feeds.multicast.lines import LineSpec  # noqa: PLC0415 - its package opens sockets

        return LineSpec(
            number,
            self.address,
            self.port,
            interface=self.interface,
            sources=self.sources,
            name=str(self),
            joined=joined,
        )

    def __str__(self) -> str:
        """``310 incremental A 224.0.31.1:14310``."""
        return f"{self.channel} {self.feed} {self.side} {self.address}:{self.port}"


def check_channel(key: str, channel: int) -> None:
    """Raise `ValueError` ("key: reason") for what cannot be the number of a channel."""
    if not 1 <= channel <= MAX_CHANNEL_ID:
        raise ValueError(f"{key}: a channel is 1 to {MAX_CHANNEL_ID}, not {channel}")


def check_interface(key: str, interface: str) -> None:
    """Raise `ValueError` ("key: reason") for what is no interface's name or IPv4 address."""
    if interface and not _INTERFACE.fullmatch(interface):
        raise ValueError(f"{key}: not the name or IPv4 address of an interface: {interface!r}")


def _ipv4(key: str, text: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"{key}: not an IPv4 address: {text!r}") from None
