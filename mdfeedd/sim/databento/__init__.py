"""A Databento gateway from one seed, that the real client authenticates against, and what was true.

    Market(seed) or FileMarket(path) ─► Timeline per schema: records in the order in which they fall due
                                            │
    client's bytes ─► Session: handshake, subscriptions ─► Flow: replay, snapshot, live ─► Wire: DBN, zstd, JSON
                         ▲                                                                  │
                      Script: faults                                                        ▼
                                                              actions: Send, Close, Reset, HalfClose, Stall
    core.sessions: SessionAccount, exactly what was sent, skipped, omitted, asked, and how it ended

    core = GatewayCore(Market(7), Script((Fault("rst", after_records=100),)))
    session = core.connect(now_ns); session.receive(data, now_ns); session.advance(now_ns); session.next_ns
    with Gateway(core) as gateway: ...                  the same over TCP, on gateway.port, in real time

Everything but `gateway` and `child` is sans-IO: bytes and virtual time. Layouts are written from their
description; nothing is shared with the decoder under test.

Who owns what: the market its books and timelines, each session its account. A record is in `sent` when the
`Send` with its last byte has been handed over; what a kernel throws away at a RST is in it, too.
Limits: 65,536 bytes of an unfinished line, 500 symbols of a request, 1 MiB held back for the compressor.
Ways to fail: ValueError for options, keys and faults that make no sense; DbnFileError; GatewayError.
"""

from __future__ import annotations

from mdfeedd.sim.databento.account import Control, Request, Sent, SessionAccount
from mdfeedd.sim.databento.core import KEY, GatewayCore, Habits
from mdfeedd.sim.databento.file_market import DbnFileError, FileMarket
from mdfeedd.sim.databento.gateway import Gateway, GatewayError
from mdfeedd.sim.databento.market import Market
from mdfeedd.sim.databento.script import KINDS, STAGES, Fault, Script
from mdfeedd.sim.databento.session import Session
from mdfeedd.sim.databento.stream import Action, Close, HalfClose, Reset, Send, Stall
from mdfeedd.sim.databento.timeline import Record

__all__ = [
    "KEY",
    "KINDS",
    "STAGES",
    "Action",
    "Close",
    "Control",
    "DbnFileError",
    "Fault",
    "FileMarket",
    "Gateway",
    "GatewayCore",
    "GatewayError",
    "Habits",
    "HalfClose",
    "Market",
    "Record",
    "Request",
    "Reset",
    "Script",
    "Send",
    "Sent",
    "Session",
    "SessionAccount",
    "Stall",
]
