"""A CME MDP 3.0 channel from one seed: the venue, its packets, a faulty network, and what was true.

    Habits, seed ─► Schedule ─► Venue: books by order id, statuses, statistics, resets, virtual clock
                                  │ Event: what changed ─► messages ─► Wire ─► schema, encode
                                  ▼
                               Channel ─► Published ─► Truth: each instrument after each packet, each event's end
                                  │            └─────► Loops: definitions (N), snapshots (S), with orders (SMBO)
                                  ▼
                            Sent(time, feed, seq, payload)
                                  ├─► Network: lines A and B that lose, double, reorder, delay ─► Delivered
                                  │                   └─► what each line lost; `checks` compares with the truth
                                  └─► Publisher: real UDP in real time, and the config.xml that describes it

Everything but `publisher` is sans-IO: bytes and virtual time, no socket, no clock; the same seed gives the same
bytes. The encoder states messages as sequences of fields and shares nothing with the decoder under test.

Who owns what: the venue its books, the channel what has been told; `Truth` keeps immutable states only.
Limits: prices and sizes as the templates have them; MsgSeqNum 2^32 - 1; 255 entries a group.
Ways to fail: ValueError for what a version does not have, or an option that makes no sense.
"""

from __future__ import annotations

from mdfeedd.sim.cme.book import ASK, BID_SIDE, Book, Level, changes
from mdfeedd.sim.cme.entries import Action, Feed, Mei, OrderAction, Sent
from mdfeedd.sim.cme.event import Shape
from mdfeedd.sim.cme.instruments import Listing, listings
from mdfeedd.sim.cme.published import State
from mdfeedd.sim.cme.schedule import Habits
from mdfeedd.sim.cme.truth import EventEnd, Told, Truth
from mdfeedd.sim.cme.venue import Venue
from mdfeedd.sim.cme.wire import Wire

__all__ = [
    "ASK",
    "BID_SIDE",
    "Action",
    "Book",
    "EventEnd",
    "Feed",
    "Habits",
    "Level",
    "Listing",
    "Mei",
    "OrderAction",
    "Sent",
    "Shape",
    "State",
    "Told",
    "Truth",
    "Venue",
    "Wire",
    "changes",
    "listings",
]
