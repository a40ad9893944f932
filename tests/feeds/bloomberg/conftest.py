"""A decoder with a notebook: what it stages, as plain dictionaries."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from mdfeedd.feeds.bloomberg.codec import Decoder, Staging
from mdfeedd.feeds.bloomberg.failure import Pauses
from mdfeedd.feeds.bloomberg.moment import Now, Tell
from mdfeedd.feeds.bloomberg.options import Topic
from mdfeedd.feeds.bloomberg.topics import Topics
from mdfeedd.tick import CLEAR, GAP, QUOTE, STATISTIC, STATUS, TRADE, Kind

PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
SECOND = 1_000_000_000
START_NS = 1_772_463_600_000_000_000  # 2026-03-02 15:00:00 UTC
LAYOUTS = {
    Kind.QUOTE: QUOTE,
    Kind.TRADE: TRADE,
    Kind.TRADE_CANCEL: TRADE,
    Kind.TRADE_CORRECTION: TRADE,
    Kind.GAP: GAP,
    Kind.RECOVERED: GAP,
    Kind.STATUS: STATUS,
    Kind.STATISTIC: STATISTIC,
    Kind.CLEAR: CLEAR,
}


def rows(ticks: Any) -> list[dict[str, Any]]:
    """Ticks as dictionaries, each with the fields of its kind."""
    found = []
    for i in range(len(ticks)):
        kind = Kind(int(ticks["kind"][i]))
        row = ticks[i : i + 1].view(LAYOUTS[kind])
        values = {name: row[name][0].item() for name in row.dtype.names}
        found.append(values | {"kind": kind})
    return found


class Desk:
    """A decoder, the topics over it, and a clock that only the test moves."""

    def __init__(self, names: Any = ("ESZ6 Index",), **options: Any) -> None:
        decoding = {k: options.pop(k) for k in ("statistics", "refuse_delayed") if k in options}
        self.staging = Staging(16)
        self.decoder = Decoder(self.staging, **decoding)
        self.sentences: list[tuple[str, str]] = []
        self.now = Now(1000 * SECOND, START_NS)
        desk = self

        class Listening(Tell):
            def __call__(
                self,
                kind: str,
                sentence: str,
                now: Now,
                *,
                routine: bool = False,
                each: bool = False,
            ) -> None:
                desk.sentences.append((kind, sentence))

        self.tell = Listening()
        self.pauses = Pauses(lambda: 0.0)
        self.topics = Topics(
            self.decoder, self.tell, self.pauses, lambda: 0.0,
            fields=("LAST_PRICE", "BID", "ASK"), image_wait_ns=30 * SECOND,
            refuse_delayed=decoding.get("refuse_delayed", False), **options,
        )  # fmt: skip
        self.listings = tuple(Topic(name) for name in names)
        self.follow(self.listings)

    def follow(self, listings: Any) -> None:
        numbers = {topic.topic: i + 1 for i, topic in enumerate(self.listings)}
        new = iter(range(len(numbers) + 1, 1000))
        self.topics.follow(listings, lambda t: numbers.get(t.topic) or next(new), self.now)

    def after(self, seconds: float) -> Now:
        ns = int(seconds * SECOND)
        self.now = Now(self.now.monotonic_ns + ns, self.now.wall_ns + ns)
        return self.now

    def decode(self, cid: int, body: dict[str, Any], recap: int = 0, fragment: int = 0) -> None:
        self.decoder.decode(cid, recap, fragment, body, self.now.wall_ns)
        self.topics.handle(self.now)

    def ask(self) -> Any:
        return self.topics.due(self.now)

    def drain(self) -> list[Any]:
        """All that is due to be asked for."""
        asks = []
        while (one := self.ask()) is not None:
            asks.append(one)
        return asks

    def again(self) -> list[int]:
        """Correlation ids of what is due to be asked for."""
        return [ask.cid for one in self.drain() for ask in one.subscribe]

    def open(self) -> list[int]:
        """All topics asked for: their correlation ids."""
        self.topics.open(self.now)
        return self.again()

    def live(self) -> list[int]:
        """All topics live, with a touch of 100 to 101."""
        cids = self.open()
        for cid in cids:
            self.topics.started(cid, {}, self.now)
            self.decode(cid, image(), 1)
        self.take()
        return cids

    def take(self) -> list[dict[str, Any]]:
        """What was staged since the last time."""
        found = rows(self.staging.ticks())
        self.staging.clear()
        return found

    def kinds(self) -> list[Kind]:
        return [row["kind"] for row in self.take()]

    def entry(self, place: int = 0) -> Any:
        return list(self.topics)[place]

    def said(self, kind: str) -> list[str]:
        return [sentence for of, sentence in self.sentences if of == kind]


def image(**fields: Any) -> dict[str, Any]:
    return {
        "MKTDATA_EVENT_TYPE": "SUMMARY", "MKTDATA_EVENT_SUBTYPE": "INITPAINT", "LAST_PRICE": 100.5,
        "BID": 100.0, "ASK": 101.0, "BID_SIZE": 5, "ASK_SIZE": 7, "IS_DELAYED_STREAM": False,
    } | fields  # fmt: skip


def reason(category: str, code: int = 0, **more: Any) -> dict[str, Any]:
    why = {"source": "test", "category": category, "errorCode": code, "description": "because"}
    return {"reason": why | more}  # more of it, or in place of it


@pytest.fixture(autouse=True)
def dumpable() -> Any:
    """Whether this process is; afterwards it is so again."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_DUMPABLE, ctypes.c_ulong(1), 0, 0, 0)
    yield lambda: prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    prctl(PR_SET_DUMPABLE, ctypes.c_ulong(1), 0, 0, 0)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def desks() -> Any:
    """To make others."""
    return Desk


@pytest.fixture
def make_image() -> Any:
    return image


@pytest.fixture
def make_reason() -> Any:
    return reason


@pytest.fixture
def read_rows() -> Any:
    return rows
