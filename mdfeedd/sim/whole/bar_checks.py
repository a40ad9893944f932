"""Bars against a computation from the ticks that were published, by the plainest means."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.tick import PRICE_UNDEF, TIME_UNDEF, TRADE, BarFlag, Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mdfeedd.sim.whole.tape import Tape

__all__ = ["check_bars"]

NS: Final = 1_000_000_000
_AHEAD_NS: Final = 600 * NS  # a time further ahead of its arrival is not believed
_MOST_CUTS: Final = 8
Bar = tuple[int, ...]  # open, high, low, close, volume, count, vwap, ts_first, ts_last


def check_bars(
    bars: Tape, ticks: Tape, intervals_s: Sequence[int], lost: Iterable[tuple[int, int]]
) -> Iterator[str]:
    """Each closed interval with trades has its bar; each bar is what its trades make.

    lost: spans of ticks that the maker of bars was told to have lost: their bars may lack them, and say GAP.
    """
    gone = {seq for first, last in lost for seq in range(first, last + 1)}
    shown: dict[tuple[int, int, int], Any] = {}
    for bar in bars.rows:
        key = (int(bar["instrument_id"]), int(bar["interval_s"]), int(bar["ts_open"]))
        before = shown.get(key)
        if before is not None and int(bar["revision"]) <= int(before["revision"]):
            yield f"bars: {_name(ticks, key)} comes again with revision {int(bar['revision'])}"
        shown[key] = bar
    trades, doubtful = _by_interval(ticks, intervals_s)
    late = _late(ticks, intervals_s)
    watermark_ns = max((int(t) for t in _clock(ticks)), default=0)
    for key, rows in trades.items():
        ends_ns = key[2] + key[1] * NS
        found = shown.get(key)
        missing = [row for row in rows if int(row["seq"]) in gone or not _is_believed(row)]
        if found is None:
            if ends_ns <= watermark_ns and not missing and key not in late:
                yield f"bars: {_name(ticks, key)} has {len(rows)} trades and no bar"
            continue
        if key in late and int(found["count"]) <= len(rows):
            continue  # what comes when a later bar has been closed, too, is counted and no more
        is_open = ends_ns > watermark_ns
        yield from _compare(found, rows, missing, _name(ticks, key), is_open=is_open)
        if key in doubtful and not int(found["flags"]) & BarFlag.GAP and not missing:
            yield f"bars: {_name(ticks, key)} has a trade in doubt, and does not say GAP"
    for key in shown.keys() - trades.keys():
        if not int(shown[key]["flags"]) & BarFlag.FLAT:
            yield f"bars: {_name(ticks, key)} is a bar of no trades"


def _clock(ticks: Tape) -> Iterator[int]:
    for row in ticks.rows:
        if row["kind"] not in (Kind.GAP, Kind.RECOVERED) and not int(row["flags"]) & Flag.BAD_TS:
            at = int(row["ts_event"])
            if 0 <= at <= int(row["ts_recv"]) + _AHEAD_NS:
                yield at


def _late(ticks: Tape, intervals_s: Sequence[int]) -> set[tuple[int, int, int]]:
    """Intervals that a trade came to when they were over, as those of replays do."""
    found = set()
    clock_ns = 0
    for row in ticks.rows:
        if row["kind"] in (Kind.GAP, Kind.RECOVERED) or int(row["flags"]) & Flag.BAD_TS:
            continue
        at_ns = int(row["ts_event"])
        if row["kind"] == Kind.TRADE:
            for seconds in intervals_s:
                begin_ns = at_ns // (seconds * NS) * seconds * NS
                if clock_ns >= begin_ns + seconds * NS:
                    found.add((int(row["instrument_id"]), seconds, begin_ns))
        if 0 <= at_ns <= int(row["ts_recv"]) + _AHEAD_NS:
            clock_ns = max(clock_ns, at_ns)
    return found


def _counts(row: Any) -> bool:
    """Whether a trade is one of a bar."""
    at, flags = int(row["ts_event"]), int(row["flags"])
    if flags & (Flag.BAD_TS | Flag.SNAPSHOT) or int(row["price"]) == PRICE_UNDEF:
        return False
    return at != TIME_UNDEF and at >= 0


def _is_believed(row: Any) -> bool:
    """A time far ahead of its arrival may be left out, and is where it would lead."""
    return int(row["ts_event"]) <= int(row["ts_recv"]) + _AHEAD_NS


def _by_interval(
    ticks: Tape, intervals_s: Sequence[int]
) -> tuple[dict[tuple[int, int, int], list[Any]], set[tuple[int, int, int]]]:
    """Trades by instrument, interval and beginning; and which of these have a trade that was flagged STALE."""
    found: dict[tuple[int, int, int], list[Any]] = defaultdict(list)
    doubtful = set()
    for row in ticks.of_kind(Kind.TRADE, TRADE):
        if not _counts(row):
            continue
        for seconds in intervals_s:
            begin = int(row["ts_event"]) // (seconds * NS) * seconds * NS
            key = (int(row["instrument_id"]), seconds, begin)
            found[key].append(row)
            if int(row["flags"]) & Flag.STALE:
                doubtful.add(key)
    return found, doubtful


def _made(rows: Sequence[Any]) -> Bar:
    prices = [int(row["price"]) for row in rows]
    sizes = [int(row["size"]) for row in rows]
    times = [int(row["ts_event"]) for row in rows]
    first = min(range(len(rows)), key=lambda i: (times[i], i))
    last = max(range(len(rows)), key=lambda i: (times[i], i))
    volume = sum(sizes)
    value = sum(price * size for price, size in zip(prices, sizes, strict=True))
    return (
        prices[first], max(prices), min(prices), prices[last], volume, len(rows),
        _half_to_even(value, volume) if volume else PRICE_UNDEF, times[first], times[last],
        min(int(row["seq"]) for row in rows), max(int(row["seq"]) for row in rows),
    )  # fmt: skip


def _half_to_even(value: int, by: int) -> int:
    quotient, rest = divmod(value, by)
    return quotient + (rest * 2 > by or (rest * 2 == by and quotient % 2 == 1))


_FIELDS: Final = (
    "open", "high", "low", "close", "volume", "count", "vwap", "ts_first", "ts_last", "first_seq", "last_seq",
)  # fmt: skip


def _compare(
    bar: Any, rows: Sequence[Any], missing: Sequence[Any], name: str, *, is_open: bool
) -> Iterator[str]:
    is_made = tuple(int(bar[one]) for one in _FIELDS)
    true = _made(rows)
    if is_made == true:
        return
    if missing:  # some of them may have been read before a kill, and be in it all the same
        admits = int(bar["flags"]) & (BarFlag.GAP | BarFlag.PARTIAL)
        if not admits and all(map(_is_believed, rows)):
            yield f"bars: {name} lacks trades that were lost, and does not say GAP"
        elif int(bar["count"]) > len(rows):
            yield f"bars: {name} has more trades than there were"
        return
    cut = int(bar["flags"]) & BarFlag.PARTIAL and is_open  # when its maker was stopped
    if cut and int(bar["count"]) <= len(rows):
        return
    differs = [
        f"{one} {shown}, not {wanted}"
        for one, shown, wanted in zip(_FIELDS, is_made, true, strict=True)
        if shown != wanted and not (one == "vwap" and _is_rounded(bar, shown - wanted))
    ]
    if differs:
        yield f"bars: {name} has {', '.join(differs)}"


def _is_rounded(bar: Any, by: int) -> bool:
    """Of a bar that went on where it was cut: once a cut, and a world has few."""
    return bool(int(bar["flags"]) & BarFlag.PARTIAL) and abs(by) <= _MOST_CUTS


def _name(ticks: Tape, key: tuple[int, int, int]) -> str:
    return f"the bar of {key[1]} s of {ticks.symbol(key[0])} at {key[2]}"
