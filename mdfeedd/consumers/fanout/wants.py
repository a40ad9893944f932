"""What a client wants: its messages, and which records fit them. Sans-IO.

    {"op": "subscribe", "symbols": ["ES*", "NQZ6"], "kinds": ["trade", "quote"], "rings": ["cme"]}
    {"op": "unsubscribe", "symbols": ["ES*"]}            what was subscribed by these words
    {"op": "ping", "id": 7}                              any message may have an id: the answer has it

In a pattern ``*`` stands for any text and ``?`` for one character. `kinds` left out are `DEFAULT`,
`rings` left out are all. What concerns the whole feed (a GAP of it) comes with its kind, whatever
the symbols are.
"""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd.ring.arrow import distinct_ids
from mdfeedd.tick import BAR, TICK, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from mdfeedd.ring import Instrument, Instruments

    Records = npt.NDArray[np.void]

__all__ = ["DEFAULT", "KINDS", "BadMessage", "Command", "Filter", "parse", "parse_query"]

MAX_PATTERN_CHARACTERS: Final = 200
MAX_WILD: Final = 200  # patterns with * or ? of a client: each is tried on each symbol, once
_BAR_BIT: Final = 1 << 0  # no Kind has the number 0
#: Word of a client: bits of the kinds.
KINDS: Final[dict[str, int]] = {
    "quote": 1 << Kind.QUOTE,
    "trade": 1 << Kind.TRADE | 1 << Kind.TRADE_CANCEL | 1 << Kind.TRADE_CORRECTION,
    "status": 1 << Kind.STATUS,
    "statistic": 1 << Kind.STATISTIC,
    "gap": 1 << Kind.GAP | 1 << Kind.RECOVERED,
    "clear": 1 << Kind.CLEAR,
    "definition": 1 << Kind.DEFINITION,
    "heartbeat": 1 << Kind.HEARTBEAT,
    "imbalance": 1 << Kind.IMBALANCE,
    "bar": _BAR_BIT,
}
ALL_KINDS: Final = sum(KINDS.values())
DEFAULT: Final = sum(KINDS[word] for word in ("quote", "trade", "status", "gap", "clear", "bar"))
_OPS: Final = ("subscribe", "unsubscribe", "ping")
_KEYS: Final = {"op", "symbols", "kinds", "rings", "id"}


class BadMessage(Exception):
    """A client's message cannot be understood. One sentence, which is its answer."""


@dataclass(frozen=True, slots=True)
class Command:
    """One message. symbols and rings are patterns; kinds are bits. `id` is the client's."""

    op: str
    symbols: tuple[str, ...] = ()
    kinds: int = DEFAULT
    rings: tuple[str, ...] = ("*",)
    id: Any = None

    @property
    def places(self) -> list[tuple[str, str]]:
        """Ring and symbol of each subscription that it is about: `number` of them."""
        return [(ring, symbol) for ring in self.rings for symbol in self.symbols]

    @property
    def number(self) -> int:
        """How many places; a message of 64 KiB may well name a hundred million, so look here first."""
        return len(self.rings) * len(self.symbols)


def parse(text: str | bytes) -> Command:
    """A client's message. Raises `BadMessage`."""
    if not isinstance(text, str):
        raise BadMessage("messages are JSON text, not binary")
    try:
        message = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise BadMessage('a message is an object, like {"op": "subscribe", "symbols": ["ES*"]}')
    op = message.get("op")
    if op not in _OPS:
        raise BadMessage(f"op must be one of {', '.join(_OPS)}, not {_shown(op)}")
    unknown = sorted(message.keys() - _KEYS)
    if unknown:
        raise BadMessage(
            f"unknown key {_shown(unknown[0])} (there are: {', '.join(sorted(_KEYS))})"
        )
    number = message.get("id")
    if isinstance(number, dict | list):
        raise BadMessage("id must be a number or a text")
    if op == "ping":
        return Command(op, id=number)
    symbols = _texts(message, "symbols")
    if not symbols:
        raise BadMessage("symbols must be a list of symbols or patterns, with at least one")
    rings = _texts(message, "rings") or ("*",)
    return Command(op, symbols, _kinds(_texts(message, "kinds")), rings, number)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def parse_query(query: Mapping[str, list[str]]) -> Command | None:
    """The subscription of a query string (symbols, kinds and rings, by commas); None without one.

    Raises `BadMessage`.
    """
    words = {
        key: tuple(word for text in query.get(key, ()) for word in text.split(",") if word)
        for key in ("symbols", "kinds", "rings")
    }
    for key in ("symbols", "rings"):
        for word in words[key]:
            _check(key, word)
    if not any(words.values()):
        return None
    kinds = _kinds(words["kinds"])
    return Command("subscribe", words["symbols"] or ("*",), kinds, words["rings"] or ("*",))


def _texts(message: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = message.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadMessage(f"{key} must be a list of texts, not {_shown(value)}")
    for one in value:
        _check(key, one)
    return tuple(value)


def _check(key: str, pattern: str) -> None:
    if not 0 < len(pattern) <= MAX_PATTERN_CHARACTERS:
        raise BadMessage(f"{key}: one has 1 to {MAX_PATTERN_CHARACTERS} characters")


def _kinds(words: Iterable[str]) -> int:
    bits = 0
    for word in words:
        if word not in KINDS:
            raise BadMessage(f"unknown kind {_shown(word)} (there are: {', '.join(KINDS)})")
        bits |= KINDS[word]
    return bits or DEFAULT


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def is_wild(pattern: str) -> bool:
    """Whether it stands for more than its own text."""
    return "*" in pattern or "?" in pattern


def _regex(patterns: Iterable[str]) -> re.Pattern[str]:
    """Of shell patterns without classes; fnmatch makes such as take linear time."""
    return re.compile("|".join(fnmatch.translate(p.replace("[", "[[]")) for p in patterns))


class _Symbols:
    """Patterns of symbols of one set of kinds. Names without * and ? are looked up, not matched."""

    def __init__(self, patterns: Iterable[str], kinds: int) -> None:
        given = set(patterns)
        wild = {p for p in given if is_wild(p)}
        self.kinds = kinds
        self.all = "*" in given
        self._exact = given - wild
        self._wild = None if self.all or not wild else _regex(sorted(wild))

    def match(self, symbol: str) -> bool:
        """Whether the symbol fits."""
        if self.all or symbol in self._exact:
            return True
        return self._wild is not None and self._wild.match(symbol) is not None


class Filter:
    """Which records fit a set of subscriptions: (ring, symbol) to kinds. Clients with the same
    subscriptions share one, and what it has picked.
    """

    def __init__(self, wanted: Mapping[tuple[str, str], int]) -> None:
        self._wanted = dict(wanted)
        self._rings: dict[str, list[_Symbols]] = {}
        self._known: dict[str, dict[int, tuple[Instrument | None, int]]] = {}

    def pick(self, ring: str, records: Records, instruments: Instruments) -> Records | None:
        """The records that fit, a copy unless all do; None if there are none."""
        symbols = self._rings.get(ring)
        if symbols is None:
            symbols = self._rings[ring] = self._of_ring(ring)
        if not symbols or not len(records):
            return None
        if all(s.all for s in symbols):
            bits = sum_of_bits(s.kinds for s in symbols)
            if bits == ALL_KINDS:
                return records
            fits = bits >> _kinds_of(records) & 1
        else:
            unique, places = distinct_ids(records["instrument_id"])
            each = [self._bits(ring, symbols, i, instruments) for i in unique.tolist()]
            fits = np.array(each, np.int64)[places] >> _kinds_of(records) & 1
        n = int(np.count_nonzero(fits))
        if n == len(records):
            return records
        if not n:
            return None
        # copied whole: numpy would copy named fields one by one
        opaque = records.view(f"V{records.dtype.itemsize}")
        return opaque[fits.astype(np.bool_)].view(records.dtype)

    def _of_ring(self, ring: str) -> list[_Symbols]:
        by_kinds: dict[int, list[str]] = {}
        for (rings, symbol), kinds in self._wanted.items():
            if _regex([rings]).match(ring):
                by_kinds.setdefault(kinds, []).append(symbol)
        return [_Symbols(patterns, kinds) for kinds, patterns in by_kinds.items()]

    def _bits(
        self, ring: str, symbols: list[_Symbols], instrument_id: int, instruments: Instruments
    ) -> int:
        """The kinds that are wanted of one instrument."""
        if not instrument_id:  # the whole feed
            return sum_of_bits(s.kinds for s in symbols)
        known = self._known.setdefault(ring, {})
        found = instruments.get(instrument_id)
        before = known.get(instrument_id)
        if before is not None and before[0] is found:
            return before[1]
        symbol = instruments.symbol(instrument_id)
        bits = sum_of_bits(s.kinds for s in symbols if s.match(symbol))
        known[instrument_id] = (found, bits)
        return bits


def sum_of_bits(values: Iterable[int]) -> int:
    """All bits of the values."""
    bits = 0
    for value in values:
        bits |= value
    return bits


def _kinds_of(records: Records) -> npt.NDArray[np.int64]:
    if records.dtype == BAR:
        return np.zeros(len(records), np.int64)
    assert records.dtype == TICK
    kinds: npt.NDArray[np.int64] = np.minimum(records["kind"], 62).astype(np.int64)
    return kinds  # codes of later versions have no bit
