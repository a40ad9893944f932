"""Where a simulated channel's lines go, and the config.xml in CME's format that tells a receiver.

Multicast as in production: the sides on ports of their own, I, N and S of a side on one port and told apart by
group alone, orders on another port. Unicast to one host, for machines without multicast: a port for each line.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape, quoteattr

from mdfeedd.sim.cme.entries import Feed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["FEED_TYPES", "Line", "config_xml", "multicast_lines", "unicast_lines"]

FEED_TYPES: Final = {
    Feed.INCREMENTAL: ("I", "Incremental"),
    Feed.DEFINITION: ("N", "Instrument Replay"),
    Feed.SNAPSHOT: ("S", "Market Recovery"),
    Feed.ORDERS: ("SMBO", "Market Recovery - MBO"),
}
MAX_PORT: Final = 65_535
_PORTS: Final = {0: (14_000, 23_000), 1: (15_000, 22_000)}  # of a side: books, orders


@dataclass(frozen=True, slots=True)
class Line:
    """One side (0 A, 1 B) of one feed."""

    feed: Feed
    side: int
    address: str
    port: int

    def __str__(self) -> str:
        """``I A 127.0.0.1:26000``."""
        return f"{FEED_TYPES[self.feed][0]} {'AB'[self.side]} {self.address}:{self.port}"


def unicast_lines(host: str = "127.0.0.1", first_port: int = 26_000) -> list[Line]:
    """A port for each line, upwards: I A, I B, N A, N B, S A, S B, SMBO A, SMBO B."""
    if _address("host", host).is_multicast:
        raise ValueError(f"host: {host} is a multicast group")
    count = 2 * len(FEED_TYPES)
    if not 1 <= first_port <= MAX_PORT - count + 1:
        raise ValueError(f"port: must be 1 to {MAX_PORT - count + 1}, not {first_port}")
    return [
        Line(feed, side, host, first_port + 2 * feed + side) for feed in Feed for side in (0, 1)
    ]


def multicast_lines(channel: int, first_group: str = "239.192.31.0") -> list[Line]:
    """Groups upwards from `first_group`, ports by channel number as CME chooses them."""
    first = _address("group", first_group)
    if not first.is_multicast:
        raise ValueError(f"group: {first_group} is not a multicast group")
    lines = []
    for feed in Feed:
        for side in (0, 1):
            books, orders = _PORTS[side]
            port = (orders if feed == Feed.ORDERS else books) + channel % 1_000
            lines.append(Line(feed, side, str(first + 2 * feed + side), port))
    return lines


def _address(key: str, text: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"{key}: must be an address such as 127.0.0.1, not {text!r}") from None


def config_xml(
    channel: int,
    lines: Iterable[Line],
    *,
    sources: Mapping[int, str] | None = None,
    products: Mapping[str, Iterable[str]] | None = None,
) -> str:
    """The file. `sources`: sender's address by side; `products`: security groups by asset."""
    text = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<configuration environment="Simulation">',
        f'  <channel id="{channel}" label={quoteattr(f"Simulated channel {channel}")}>',
        "    <products>",
    ]
    for asset, groups in (products or {}).items():
        inner = "".join(f"<group code={quoteattr(group)}/>" for group in groups)
        text.append(f"      <product code={quoteattr(asset)}>{inner}</product>")
    text += ["    </products>", "    <connections>"]
    for line in lines:
        kind, name = FEED_TYPES[line.feed]
        side = "AB"[line.side]
        source = (sources or {}).get(line.side)
        text += [
            f'      <connection id="{channel}{kind}{side}">',
            f'        <type feed-type="{kind}">{escape(name)}</type>',
            "        <protocol>UDP/IP</protocol>",
            f"        <ip>{line.address}</ip>",
            *([f"        <host-ip>{source}</host-ip>"] if source else []),
            f"        <port>{line.port}</port>",
            f"        <feed>{side}</feed>",
            "      </connection>",
        ]
    text += ["    </connections>", "  </channel>", "</configuration>", ""]
    return "\n".join(text)
