"""Lines of UDP datagrams, multicast or unicast, received without the GIL and passed to a `PacketSink`.

::

    venue, side A --> eth1 --+--> socket, one per line --recvmmsg--+
                             |    bound to its group               |        mdf_packet: payload, line,
    venue, side B --> eth2 --+--> socket, one per line --recvmmsg--+--> time of arrival, source --> sink
                             |                                     |        (a codec, a recorder)
                             +--> packet ring, one per interface --+        burst_end: timers, wake-ups

    modes   blocking     sleeps in epoll; the rule
            busy         spins: a processor of its own for a few microseconds less (`cpu`, `busy_poll_us`)
            packet_ring  reads the kernel's memory without a system call per packet; needs CAP_NET_RAW,
                         waits up to 1 ms at low rates. The lines' sockets then only hold the membership.

Knows nothing of vendors: lines have the numbers that the taker gave them, and packets are in no order
but that of arrival on each line. A line belongs to one group alone even where groups share a port; with
sources it hears those alone. Lines are joined and left at run time, between two runs.

Times are the kernel's, or the network card's where asked for, there, and within a second of the host's.
What this host loses is counted per line (per ring in packet_ring), apart from what the network loses.
Fragments are put together by the kernel; frames with a VLAN tag belong to the VLAN's interface.

Limits: 512 lines, 16 sources a line, 8 interfaces in packet_ring, 9,216 bytes a datagram, 64 a call.
Nothing is allocated while receiving; the memory is 0.7 MB and what the kernel holds in its buffers.

Fails with `ReceiverError` when a line cannot be opened. Once open, nothing is fatal: an interface that
goes is waited for, one that was made anew is joined again, both are told once. What is set wrong on the
host (`net.core.rmem_max`, ...) is a sentence in `Receiver.warnings` with the command that mends it.
"""

from __future__ import annotations

from mdfeedd.feeds.multicast.errors import ReceiverError
from mdfeedd.feeds.multicast.host import host_warnings
from mdfeedd.feeds.multicast.lines import LineCounts, LineSpec
from mdfeedd.feeds.multicast.receiver import Receiver

__all__ = ["LineCounts", "LineSpec", "Receiver", "ReceiverError", "host_warnings"]
