"""A rig for scenarios: packets by name, lines by letter, virtual time, and what came out as lines
of text.

    rig.put(5, m.book("31.1 +b1 100x5/2"))        packet 5 of I, by the simulator's encoder
    rig.play("A:1-4 B:5 +10ms SA:s1")             which line brings what, when
    rig.told()                                    every field of every tick but ts_recv:
        ["5@5 QUOTE 31 100x5 -x0 bid/2 END"]      seq@time kind security, touch, side/count, flags

Times are told in steps: packet n's TransactTime is n, its SendingTime n + 0.5. Prices are plain
numbers. Entries are written ``security.rpt action side level price x size / orders`` with the
actions ``+`` new, ``=`` change, ``-`` delete, ``!`` delete thru, ``~`` delete from, ``^`` overlay,
and the sides b, o, E, F.
"""

from __future__ import annotations

import random
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from mdfeedd.feeds.cme.codec import Feed, Handler
from mdfeedd.sim.cme import Wire
from mdfeedd.tick import DEFINITION as DEFINITION_DTYPE
from mdfeedd.tick import GAP as GAP_DTYPE
from mdfeedd.tick import PRICE_UNDEF, QUOTE, STATISTIC, STATUS, TICK, TRADE, Flag, Kind, Side

E9 = 1_000_000_000
T0 = 1_790_000_000 * E9
STEP_NS = 1_000
CHANNEL = 310
LINES = {
    "A": (Feed.INCREMENTAL, 0),
    "B": (Feed.INCREMENTAL, 1),
    "NA": (Feed.DEFINITION, 0),
    "NB": (Feed.DEFINITION, 1),
    "SA": (Feed.SNAPSHOT, 0),
    "SB": (Feed.SNAPSHOT, 1),
    "OA": (Feed.ORDERS, 0),
    "OB": (Feed.ORDERS, 1),
}
ACTIONS = {"+": 0, "=": 1, "-": 2, "!": 3, "~": 4, "^": 5}
SIDES = {"b": b"0", "o": b"1", "E": b"E", "F": b"F"}
ENTRY = re.compile(
    r"(\d+)\.(\d+) (?:(J)|([-+=!~^])([boEF])(\d+)(?: (-?[\d.]+|null)x(\d+|null)(?:/(\d+))?)?)"
)
TRADED = re.compile(r"(\d+)\.(\d+) (-?[\d.]+)x(\d+) (buy|sell|none) (\d+)(?: #(\d+))?(?: (\w+))?")
LEVEL = re.compile(r"([boEF])(\d+) (-?[\d.]+|null)x(\d+|null)(?:/(\d+))?")
UNITS = {"us": 1_000, "ms": 1_000_000, "s": E9, "h": 3600 * E9}


def price(text: str | None) -> int | None:
    """In 1e-9; null where there is none."""
    return None if text in (None, "null") else int(Decimal(text) * E9)


def number(text: str | None) -> int | None:
    return None if text in (None, "null") else int(text)


class Messages:
    """Messages to be encoded when it is known in which packet, version and at what time they go."""

    def book(self, *entries: str, **options: Any) -> Any:
        return "book", ([_entry(text) for text in entries],), options

    def trades(self, *entries: str, **options: Any) -> Any:
        return "trades", ([_trade(text) for text in entries],), options

    def snapshot(self, security_id: int, last: int, rpt: int, *levels: str, **options: Any) -> Any:
        options.setdefault("time", last)
        options.setdefault("status", 255)
        options.setdefault("total", 99)  # no whole loop but where the test says so
        options["transact_ns"] = T0 + STEP_NS * options.pop("time")
        options["entries"] = [_level(text) for text in levels] + options.pop("statistics", [])
        return "snapshot", (security_id,), {"last_seq": last, "rpt_seq": rpt, **options}

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **options: (name, values, options)


def _entry(text: str) -> tuple[Any, ...]:
    found = ENTRY.fullmatch(text)
    assert found, text
    security_id, rpt, reset, action, side, level, px, size, orders = found.groups()
    if reset:
        return int(security_id), int(rpt), 0, b"J", 1, None, None
    return (
        int(security_id),
        int(rpt),
        ACTIONS[action],
        SIDES[side],
        int(level),
        price(px),
        number(size),
        number(orders),
    )


def _trade(text: str) -> tuple[Any, ...]:
    found = TRADED.fullmatch(text)
    assert found, text
    security_id, rpt, px, size, side, orders, trade_id, action = found.groups()
    return (
        int(security_id),
        int(rpt),
        price(px),
        int(size),
        int(orders),
        ("none", "buy", "sell").index(side),
        number(trade_id),
        {None: 0, "corrected": 1, "busted": 2}[action],
    )


def _level(text: str) -> tuple[Any, ...]:
    found = LEVEL.fullmatch(text)
    assert found, text
    side, level, px, size, orders = found.groups()
    return SIDES[side], price(px), number(size), number(orders), int(level)


class Rig:
    """A handler with one channel, its lines, packets by name and a clock that the test moves."""

    def __init__(self, lines: str, version: int, old: bool | None, options: dict[str, Any]) -> None:
        self.made_of = (lines, version, old, options)
        self.handler = Handler(**options)
        self.handler.add_channel(CHANNEL)
        self.lines = {name: self.handler.add_line(CHANNEL, *LINES[name]) for name in lines.split()}
        self.wire = Wire(version, old_templates=old)
        self.now_ns = T0
        self.packets: dict[int | str, bytes] = {}
        self.names: dict[int, str] = {}
        self.ticks = np.empty(0, TICK)

    def at(self, step: float) -> int:
        """A time of the scenario, UNIX ns."""
        return T0 + int(STEP_NS * step)

    def encode(self, message: Any, step: float = 0) -> bytes:
        """One message of `Messages`; bytes are taken as they are."""
        if isinstance(message, bytes):
            return message
        name, values, options = message
        self.wire.now_ns = self.at(step)
        return getattr(self.wire, name)(*values, **options)

    def packet(
        self, seq: int, *messages: Any, step: float | None = None, sent: float | None = None
    ) -> bytes:
        """A payload. `step`: of TransactTime, the sequence number where not given; `sent` half a
        step later.
        """
        step = seq if step is None else step
        sent = step + 0.5 if sent is None else sent
        encoded = [self.encode(message, step) for message in messages]
        return self.wire.packet(seq, *encoded, sending_ns=self.at(sent))

    def put(self, name: int | str, *messages: Any, seq: int | None = None, **times: float) -> bytes:
        """Keep a packet under a name: its sequence number if it is a number."""
        seq = int(name) if seq is None else seq
        payload = self.packets[name] = self.packet(seq, *messages, **times)
        return payload

    def send(self, line: str, payload: bytes) -> None:
        self.handler.packet(self.lines[line], payload, self.now_ns, self.now_ns)

    def wait(self, ns: int) -> None:
        """Time passes in steps of a millisecond, as the receive loop's timer does; in one step
        beyond a second.
        """
        end_ns, step_ns = self.now_ns + ns, 1_000_000 if ns <= E9 else ns
        while self.now_ns < end_ns:
            self.now_ns = min(end_ns, self.now_ns + step_ns)
            self.handler.timer(self.now_ns)

    def play(self, script: str) -> Rig:
        """``A:1-4,7 +10ms SB:s1``: packets by name on a line, ranges of numbers, and time that
        passes.
        """
        for token in script.split():
            if token[0] == "+":
                value, unit = re.fullmatch(r"\+(\d+)(\w+)", token).groups()  # type: ignore[union-attr]
                self.wait(int(value) * UNITS[unit])
                continue
            line, _, names = token.partition(":")
            for name in expand(names):
                self.send(line, self.packets[name])
        return self

    def again(self) -> Rig:
        """Another rig like this one, with its packets, to which nothing has happened."""
        other = Rig(*self.made_of)
        other.packets = self.packets
        return other

    def interleavings(
        self, rounds: int = 40, before: str = "", after: str = "", **lines: str
    ) -> Any:
        """Rigs that were given these packets of each line, in order by line and in any order
        between lines.

        Runs of one line are long or short by chance, so that either side leads by much or by
        little.
        """
        for seed in range(rounds):
            rng = random.Random(seed)
            rig = self.again().play(before)
            left = {line: list(expand(names.replace(" ", ","))) for line, names in lines.items()}
            while any(left.values()):
                line = rng.choice([line for line, names in left.items() if names])
                for _ in range(rng.choice((1, 1, 1, 2, 5, 50))):
                    if left[line]:
                        rig.send(line, rig.packets[left[line].pop(0)])
                if rng.random() < 0.3:
                    rig.now_ns += rng.randrange(50_000)
            rig.seed = seed  # type: ignore[attr-defined]
            yield rig.play(after)

    # What came out

    def raw(self) -> np.ndarray[Any, Any]:
        """All ticks so far, without ts_recv."""
        self.ticks = np.concatenate([self.ticks, self.handler.take_ticks()])
        ticks = self.ticks.copy()
        ticks["ts_recv"] = 0
        return ticks

    def told(self, *kinds: str) -> list[str]:
        """All ticks so far, or those of some kinds, as text."""
        for security_id in self.handler.security_ids(CHANNEL):
            known = self.handler.book(CHANNEL, security_id)
            self.names[known.instrument_id] = str(security_id)
        texts = [self._text(tick) for tick in self.raw()]
        return [text for text in texts if not kinds or text.split()[1] in kinds]

    def _text(self, tick: Any) -> str:
        kind = Kind(int(tick["kind"]))
        at = (int(tick["ts_event"]) - T0) / STEP_NS
        who = self.names.get(int(tick["instrument_id"]), "-") if tick["instrument_id"] else "-"
        named = tick.reshape(1).view(_DTYPES.get(kind, TICK))[0]
        flags = Flag(int(tick["flags"]))
        words = [
            name
            for name in ("SNAPSHOT", "STALE", "IMPLIED", "SIZE_SATURATED")
            if Flag[name] in flags
        ]
        words += ["END"] if Flag.EVENT_END in flags else []
        payload = _PAYLOADS.get(kind, lambda _: "")(named)
        parts = (f"{tick['venue_seq']}@{at:g}", kind.name, who, payload, *words)
        return " ".join(part for part in parts if part)

    def book(self, security_id: int, channel: int = CHANNEL) -> str:
        """State, RptSeq and levels of a book; ``?`` when nobody can say that it is right."""
        book = self.handler.book(channel, security_id)
        sides = [" ".join(_level_text(*level) for level in side) or "-" for side in book[:4]]
        implied = f" ({sides[2]} | {sides[3]})" if sides[2:] != ["-", "-"] else ""
        return f"{book.state}{'?' * book.stale} {book.rpt_seq}: {sides[0]} | {sides[1]}{implied}"

    def orders(self, security_id: int) -> str:
        """Orders of a book, as id priority price x size."""
        book = self.handler.order_book(CHANNEL, security_id)
        sides = [
            " ".join(f"{oid}:{priority}:{plain(px)}x{size}" for oid, priority, px, size in side)
            or "-"
            for side in book[:2]
        ]
        return f"{'?' * book.stale}{sides[0]} | {sides[1]}"

    def told_orders(self) -> list[str]:
        """Records of the orders ring since the last call."""
        return [
            f"{r['venue_seq']} {('NEW', 'CHANGE', 'DELETE', 'FILL', 'CLEAR')[r['action']]} "
            f"{r['order_id']}:{r['priority']}:{plain(r['price'])}x{r['size']} "
            f"{('none', 'bid', 'ask')[r['side']]}" + " STALE" * bool(r["flags"] & Flag.STALE)
            for r in self.handler.take_orders()
        ]

    def events(self) -> list[str]:
        """Events since the last call, as code first last."""
        return [
            " ".join(
                str(part)
                for part in (e.code.name, e.security_id or "", e.first, e.last or "")
                if part != ""
            )
            for e in self.handler.take_events()
        ]

    @property
    def counts(self) -> dict[str, int]:
        """Counts that are not 0."""
        return {name: value for name, value in self.handler.counts.items() if value}

    def count(self, *names: str) -> tuple[int, ...]:
        return tuple(self.handler.counts[name] for name in names)

    def line(self, name: str, *counts: str) -> tuple[int, ...]:
        found = self.handler.line_counts(self.lines[name])
        return tuple(found[count] for count in counts)

    @property
    def state(self) -> Any:
        return self.handler.state(CHANNEL)


def expand(names: str) -> Any:
    """``1-4,7,s1`` to names."""
    for part in names.split(","):
        if re.fullmatch(r"\d+-\d+", part):
            first, last = part.split("-")
            yield from range(int(first), int(last) + 1)
        elif part:
            yield int(part) if part.isdigit() else part


def plain(value: Any) -> str:
    return "-" if value == PRICE_UNDEF else f"{Decimal(int(value)) / E9:f}"


def _level_text(px: int, size: int, orders: int) -> str:
    return f"{plain(px)}x{size}" + (f"/{orders}" if orders else "")


def _quote(q: Any) -> str:
    side = Side(int(q["side"]))
    changed = "both" if side == Side.NONE else side.name.lower()
    count = f"/{q['count']}" if q["count"] else ""
    return f"{plain(q['bid_price'])}x{q['bid_size']} {plain(q['ask_price'])}x{q['ask_size']} {changed}{count}"


def _traded(t: Any) -> str:
    side = ("none", "buy", "sell")[int(t["side"])]
    return f"{plain(t['price'])}x{t['size']} {side} {t['count']} #{t['trade_id']}"


def _statistic(s: Any) -> str:
    quantity = "-" if s["quantity"] == PRICE_UNDEF else s["quantity"]
    day = f" day={s['ts_ref_s'] // 86_400}" if s["ts_ref_s"] else ""
    more = f" action={s['update_action']}" if s["update_action"] != 1 else ""
    kind = f" settlement={s['stat_flags']}" if s["stat_flags"] else ""
    return f"type={s['type']} {plain(s['price'])} {quantity}{day}{more}{kind}"


def _status(s: Any) -> str:
    return f"{s['state']}/{s['reason']}/{s['trading_event']} trading={s['is_trading']} quoting={s['is_quoting']}"


def _gap(g: Any) -> str:
    return f"{g['first_missing']}..{g['last_missing']} reason={g['reason']} line={g['line']}"


def _definition(d: Any) -> str:
    return f"{chr(d['action'])} tick={plain(d['tick_size'])}"


_PAYLOADS = {
    Kind.QUOTE: _quote,
    Kind.TRADE: _traded,
    Kind.TRADE_CANCEL: _traded,
    Kind.TRADE_CORRECTION: _traded,
    Kind.STATISTIC: _statistic,
    Kind.STATUS: _status,
    Kind.GAP: _gap,
    Kind.RECOVERED: _gap,
    Kind.DEFINITION: _definition,
}
_DTYPES = {
    Kind.QUOTE: QUOTE,
    Kind.TRADE: TRADE,
    Kind.TRADE_CANCEL: TRADE,
    Kind.TRADE_CORRECTION: TRADE,
    Kind.STATISTIC: STATISTIC,
    Kind.STATUS: STATUS,
    Kind.GAP: GAP_DTYPE,
    Kind.RECOVERED: GAP_DTYPE,
    Kind.DEFINITION: DEFINITION_DTYPE,
}


@pytest.fixture
def make() -> Any:
    """Makes rigs: `lines` "A B SA ...", header `version`, and options of `Handler`."""

    def made(
        lines: str = "A B", *, version: int = 13, old: bool | None = None, **options: Any
    ) -> Rig:
        options.setdefault("max_instruments", 64)
        options.setdefault("recovery_entries", 4096)
        options.setdefault("max_orders", 4096)
        return Rig(lines, version, old, options)

    return made


@pytest.fixture
def m() -> Messages:
    """Messages: `m.book(...)`, `m.trades(...)`, `m.snapshot(...)`, and all methods of `Wire`."""
    return Messages()


@pytest.fixture
def run(make: Any, m: Messages) -> Any:
    """A rig with a small market in packets 1 to n: two instruments whose touches change packet by
    packet.
    """

    def made(n: int = 12, lines: str = "A B", **options: Any) -> Rig:
        rig = make(lines, **options)
        for seq in range(1, n + 1):
            sid, rpt = (31, (seq + 1) // 2) if seq % 2 else (32, seq // 2)
            side = "b" if rpt % 2 else "o"
            action = "+" if rpt <= 2 else "^"
            level = 100 + rpt if side == "o" else 100 - rpt
            rig.put(seq, m.book(f"{sid}.{rpt} {action}{side}1 {level}x{seq}/{rpt}"))
        return rig

    return made


@pytest.fixture
def quote() -> Any:
    """What `run`'s packet `seq` makes of a handler that has seen all of its instrument, by
    arithmetic alone.
    """

    def text(seq: int) -> str:
        sid, rpt = (31, (seq + 1) // 2) if seq % 2 else (32, seq // 2)
        bid_rpt, ask_rpt = (rpt, rpt - 1) if rpt % 2 else (rpt - 1, rpt)
        sizes = [2 * r - seq % 2 for r in (bid_rpt, ask_rpt)]
        ask = f"{100 + ask_rpt}x{sizes[1]}" if ask_rpt else "-x0"
        side = "bid" if rpt % 2 else "ask"
        return f"{seq}@{seq} QUOTE {sid} {100 - bid_rpt}x{sizes[0]} {ask} {side}/{rpt} END"

    return text
