"""Capture files: what was on the wire, read into takers of packets, and written by them.

::

    file ──► CaptureFile ──► Decoder ─┐        by (address, port)                run()
    .pcap    pieces: mapped, capture.h├─► Player ──────────────────► line ──► PacketSink: a codec, a writer
    .pcapng  .gz, .zst       Decoder ─┘   merge by time  `─► unlisted: counted
                                              `─► packets(), samples(): CapturedPacket, for tools

    sockets (Recorder), simulation ──► PacketSink: CaptureWriter ──► file.pcapng

`capture.h` knows the containers, `capture_net.h` the way from a frame to the payload of UDP, `capture_play.h`
merges and keeps the time of the taker's timers; they do no I/O. `files.py` opens, maps and decompresses,
`reader.py` joins them. `writer.py` writes, `recorder.py` lets it write what sockets bring.

Who owns what: a piece of a file is kept by its decoder until the next; a payload is valid during the call.
Limits: CAP_MAX_* in the headers (bytes of a packet and a block, interfaces, destinations, datagrams in
fragments and their age), `files.READ_BYTES` at a time, `reader.MAX_FILES`. Ways to fail: `CaptureError`, one
sentence with the file and the byte, after what came before has been delivered. What does not make a datagram
is counted under its reason: `CaptureReader.counts`.
"""

from __future__ import annotations

from mdfeedd.feeds.capture.files import CaptureError, is_capture
from mdfeedd.feeds.capture.reader import CapturedPacket, CaptureReader, Destination, Stop
from mdfeedd.feeds.capture.writer import CaptureWriter, RecordedLine

__all__ = [
    "CaptureError",
    "CaptureReader",
    "CaptureWriter",
    "CapturedPacket",
    "Destination",
    "RecordedLine",
    "Stop",
    "is_capture",
]
