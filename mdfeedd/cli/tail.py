"""``mdfeedd tail``: what flows through a ring, for people or for programs."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from mdfeedd.cli import units
from mdfeedd.cli.trouble import Trouble
from mdfeedd.feeds.bloomberg.failure import Flow
from mdfeedd.sinks.jsontext import PAYLOADS, SIDES, TRADES, flags_of, json_value, name_of
from mdfeedd.tick import (
    BAR,
    DEPTH,
    ORDER,
    PRICE_UNDEF,
    TICK,
    BarFlag,
    Flag,
    GapReason,
    Kind,
    OrderAction,
    dtype_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from mdfeedd.ring import Reader
    from mdfeedd.ring.instruments import Instruments

_FLOWS: Final = {int(flow): flow.words for flow in Flow}
BATCH: Final = 1024  # records read, and lines written, at a time
_NAMES: Final[dict[np.dtype[Any], str]] = {BAR: "BAR", DEPTH: "DEPTH", ORDER: "ORDER"}
LEVELS: Final = 3  # of a book, a side, in text

_EPILOG: Final = """\
Times are the venue's, in UTC. A quote is bid size x bid price | ask price x ask size. What was overwritten
before it could be read is told where it is missing. 'mdfeedd doctor' lists the rings. Of a ring of depth the
best three levels a side are shown; as JSON all ten.

JSON lines: prices are strings of decimals, exact; times are ISO 8601 with nanoseconds; what a record does
not have is null. A loss is {"kind": "LOST", "count": N}.

exit status:
  0 as many records as were asked for, the ring has ended, or who read the output had enough
  1 there is no such ring, or it cannot be read   130 Ctrl-C

examples:
  mdfeedd tail demo-futures                      while 'mdfeedd demo' runs in another terminal
  mdfeedd tail demo-futures --symbol ESZ6 -n 20
  mdfeedd tail demo-bars
  mdfeedd tail demo-fx --json | jq -c 'select(.kind == "TRADE") | [.symbol, .price, .size]'
"""


def add(commands: Any) -> None:
    """Tell argparse of the command."""
    parser = commands.add_parser(
        "tail",
        help="show what flows through a ring",
        description="Show what flows through a ring, and follow it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "ring", metavar="RING", help="name of the ring: ticks, bars, depth or orders"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("-n", type=units.whole(1, 2**62), metavar="N", help="stop after N records")
    parser.add_argument(
        "--symbol", action="append", metavar="S", help="only this symbol (may be given again)"
    )
    parser.add_argument(
        "--oldest", action="store_true", help="begin with the oldest record that the ring holds"
    )
    parser.add_argument(
        "--no-follow", action="store_true", help="end when the writer has ended and all is shown"
    )
    parser.add_argument(
        "--wait",
        type=units.number(0, 1e9),
        default=0.0,
        metavar="SECONDS",
        help="wait for a ring that does not exist yet",
    )
    units.add_shm_dir(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show records until told to stop."""
    from mdfeedd.ring import Reader, RingError, RingMissing

    try:
        with Reader(
            arguments.ring,
            "oldest" if arguments.oldest else "now",
            f"tail-{os.getpid()}",
            wait=arguments.wait,
            follow=not arguments.no_follow,
            directory=arguments.shm_dir,
        ) as reader:
            _show(reader, arguments)
    except RingMissing:
        raise Trouble(_missing(arguments)) from None
    except (RingError, ValueError) as error:
        raise Trouble(str(error)) from None
    return 0


def _missing(arguments: argparse.Namespace) -> str:
    from mdfeedd.ring import RingError, list_rings

    directory = arguments.shm_dir
    try:
        there = list_rings(directory)
    except RingError as error:
        return str(error)
    is_are = "there is" if len(there) == 1 else "there are"
    known = f"{is_are} {', '.join(there)}" if there else "there are none at all"
    return f"there is no ring {arguments.ring} in {directory}: {known}; --wait SECONDS waits for its writer"


def _show(reader: Reader, arguments: argparse.Namespace) -> None:
    _check(reader.name, dtype_of(reader.header()["layout"]))  # a ring that is empty must not hang
    left = math.inf if arguments.n is None else arguments.n
    wanted = set(arguments.symbol or ())
    for symbol in sorted(wanted - {instrument.symbol for instrument in reader.instruments}):
        print(
            f"mdfeedd tail: no instrument {symbol} in ring {reader.name} yet"
            f"{'' if arguments.no_follow else '; waiting'}",
            file=sys.stderr,
        )
    lines = (_JsonLines if arguments.json else _TextLines)()
    told_end = False
    while left > 0:
        batch = reader.read(BATCH, timeout=0.5)
        if not len(batch) and not batch.lost:
            if reader.ended and arguments.no_follow:
                return
            if reader.ended and not told_end:
                print(
                    f"mdfeedd tail: the writer of {reader.name} has ended; waiting for the next "
                    f"(Ctrl-C stops)",
                    file=sys.stderr,
                )
            told_end = reader.ended
            continue
        _check(reader.name, batch.records.dtype)  # another ring may have come to have the name
        text: list[str] = [lines.lost(batch.lost)] if batch.lost else []
        for line in lines.of(batch, wanted):
            if left <= 0:
                break
            text.append(line)
            left -= 1
        if text:
            sys.stdout.write("\n".join(text) + "\n")
            sys.stdout.flush()


def _check(ring: str, dtype: np.dtype[Any]) -> None:
    """Raise `Trouble` for what there are no words for."""
    if dtype != TICK and dtype not in _NAMES:
        raise Trouble(
            f"the ring {ring} holds records of a layout of its own, neither ticks nor bars: "
            f"read it with mdfeedd.Reader({ring!r}), whose batch.records are its rows"
        )


class _Shown(Protocol):
    """Records, and what names their instruments: a batch of a ring or of a journal."""

    @property
    def records(self) -> npt.NDArray[np.void]: ...
    @property
    def instruments(self) -> Instruments: ...


def check_layout(ring: str, dtype: np.dtype[Any]) -> None:
    """The same for who shows records from elsewhere."""
    _check(ring, dtype)


def lines_of(*, as_json: bool) -> _JsonLines | _TextLines:
    """What makes lines of batches."""
    return _JsonLines() if as_json else _TextLines()


def _rows(batch: _Shown, wanted: set[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each record as a dict of its fields (kind, payload, no padding), and its symbol."""
    records, instruments = batch.records, batch.instruments
    ids = records["instrument_id"].tolist()
    for i, instrument_id in enumerate(ids):
        symbol = instruments.symbol(instrument_id)
        if not wanted or symbol in wanted:
            fields = _fields(records[i : i + 1])
            if records.dtype == DEPTH:
                fields |= {side: _levels(fields, side) for side in ("bid", "ask")}
            yield fields, symbol


def _levels(depth: dict[str, Any], side: str) -> list[dict[str, int]]:
    """The levels of a side, taken out of the fields of a book."""
    n = depth.pop(f"{side}s")
    columns = {
        name: depth.pop(f"{side}_{name}")[:n].tolist() for name in ("price", "size", "orders")
    }
    return [dict(zip(columns, level, strict=True)) for level in zip(*columns.values(), strict=True)]


def _fields(record: npt.NDArray[np.void]) -> dict[str, Any]:
    if record.dtype == TICK:
        record = record.view(PAYLOADS.get(int(record["kind"][0]), TICK))
    names = record.dtype.names
    assert names is not None
    return {
        name: value
        for name, value in zip(names, record.item(), strict=True)
        if name not in {"reserved", "payload"}
    }


class _JsonLines:
    """Records as JSON, one object a line."""

    @staticmethod
    def lost(n: int) -> str:
        return json.dumps({"kind": "LOST", "count": n})

    def of(self, batch: _Shown, wanted: set[str]) -> Iterator[str]:
        dtype = batch.records.dtype
        for fields, symbol in _rows(batch, wanted):
            head = {
                "kind": _NAMES.get(dtype) or name_of(Kind, fields.pop("kind")),
                "symbol": symbol,
            }
            flags = flags_of(BarFlag if dtype == BAR else Flag, fields.pop("flags"))
            body = {name: self._value(name, value) for name, value in fields.items()}
            if head["kind"] in {"GAP", "RECOVERED"}:
                body["reason"] = name_of(GapReason, fields["reason"])
            if dtype == ORDER:
                body["action"] = name_of(OrderAction, fields["action"])
            yield json.dumps({**head, **body, "flags": flags})

    @classmethod
    def _value(cls, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [{key: cls._value(key, one) for key, one in level.items()} for level in value]
        return json_value(name, value)


class _TextLines:
    """Records as aligned text; a line of its own when the day changes."""

    def __init__(self) -> None:
        self._date = ""
        self._width = 7

    @staticmethod
    def lost(n: int) -> str:
        return f"-- {units.count(n)} records lost: overwritten before they could be read"

    def of(self, batch: _Shown, wanted: set[str]) -> Iterator[str]:
        dtype = batch.records.dtype
        bars = dtype == BAR
        for fields, symbol in _rows(batch, wanted):
            when = fields["ts_open" if bars else "ts_event"]
            date = units.date(when)
            change = ""
            if date != self._date:
                self._date = date
                change = f"-- {date}\n"
            name_shown = units.printable(symbol)
            self._width = max(self._width, len(name_shown))
            decimals = _decimals(batch.instruments, fields["instrument_id"])
            text = _TEXTS.get(dtype, _tick_text)(fields, decimals)
            flags = flags_of(BarFlag if bars else Flag, fields["flags"])
            shown = [flag.lower() for flag in flags if flag != "EVENT_END"]
            name = _NAMES.get(dtype) or name_of(Kind, fields["kind"])
            name = f"{name} {fields['interval_s']}s" if bars else name
            line = f"{units.clock(when)}  {name:7} {name_shown:{self._width}}  {text}"
            yield change + " ".join([line.rstrip(), *(f"[{flag}]" for flag in shown)])


def _decimals(instruments: Instruments, instrument_id: int) -> int:
    found = instruments.get(instrument_id)
    return units.decimals_of(found.tick_size) if found else 0


def _bar_text(bar: dict[str, Any], decimals: int) -> str:
    prices = (f"{k[0].upper()} {units.price(bar[k], decimals)}" for k in _OHLC)
    vwap = units.price(bar["vwap"], decimals)
    return f"{' '.join(prices)}  vol {bar['volume']} vwap {vwap} n {bar['count']}"


_OHLC: Final = ("open", "high", "low", "close")


def _tick_text(tick: dict[str, Any], decimals: int) -> str:
    kind = tick["kind"]

    def price(name: str) -> str:
        return units.price(tick[name], decimals)

    if kind == Kind.QUOTE:
        bid = f"{tick['bid_size']} x {price('bid_price')}"
        return f"{bid:>20} | {price('ask_price')} x {tick['ask_size']}"
    if kind in TRADES:
        side = _side(tick["side"])
        return f"{tick['size']} at {price('price')} {'' if side == 'none' else side} #{tick['trade_id']}"
    if kind in {Kind.GAP, Kind.RECOVERED}:
        if (
            kind == Kind.RECOVERED and not tick["last_missing"]
        ):  # no gap: it was in doubt from the start
            return "right for the first time since it was joined"
        reason = name_of(GapReason, tick["reason"]).lower().replace("_", " ")
        return f"{reason}: {_bounds(tick)}"
    if kind == Kind.STATUS and tick["reason"] in _FLOWS:
        return _FLOWS[tick["reason"]]
    if kind == Kind.STATUS:
        words = {0: "?", 1: "yes", 2: "no"}
        trading, quoting = words.get(tick["is_trading"]), words.get(tick["is_quoting"])
        return f"state {tick['state']} reason {tick['reason']} trading {trading} quoting {quoting}"
    if kind == Kind.STATISTIC:
        quantity = "-" if tick["quantity"] == PRICE_UNDEF else tick["quantity"]
        return f"type {tick['type']} price {price('price')} quantity {quantity}"
    if kind == Kind.IMBALANCE:
        paired, surplus = tick["paired_size"], tick["imbalance_size"]
        return f"paired {paired} imbalance {surplus} ref {price('ref_price')}"
    if kind == Kind.DEFINITION:
        return f"tick size {price('tick_size')} expires {units.date(tick['expiration'])}"
    return ""


def _depth_text(depth: dict[str, Any], decimals: int) -> str:
    bids = (
        f"{one['size']} x {units.price(one['price'], decimals)}" for one in depth["bid"][:LEVELS]
    )
    asks = (
        f"{units.price(one['price'], decimals)} x {one['size']}" for one in depth["ask"][:LEVELS]
    )
    return f"{', '.join(reversed([*bids])) or '-'} | {', '.join(asks) or '-'}"


def _order_text(order: dict[str, Any], decimals: int) -> str:
    action = name_of(OrderAction, order["action"]).lower()
    side = _side(order["side"]) if order["side"] else ""  # a fill has none
    price = units.price(order["price"], decimals)
    return f"{action:6} {side:4} {order['size']} at {price} #{order['order_id']}"


_TEXTS: Final = {BAR: _bar_text, DEPTH: _depth_text, ORDER: _order_text}


def _side(code: int) -> str:
    return SIDES[code] if code < len(SIDES) else ""


def _bounds(gap: dict[str, Any]) -> str:
    first, last = gap["first_missing"], gap["last_missing"]
    if gap["reason"] in {GapReason.PACKET_LOSS, GapReason.RING_LAPPED}:
        return f"{first} to {last}"
    return f"{units.clock(first)} to {units.clock(last)}"
