"""`LastValues`: what `reader.last` is, a `Book` for each symbol, as of the batches read so far."""

from __future__ import annotations

import contextlib
import operator
from typing import TYPE_CHECKING, Any, Final, SupportsIndex, TypeVar, overload

from mdfeedd.options import nearest
from mdfeedd.ring import RingMissing
from mdfeedd.ring._ring import START_OLDEST, ReaderCore
from mdfeedd.ring.look import Look
from mdfeedd.strategy._last import LastTable
from mdfeedd.strategy.book import Book, consolidated, from_row
from mdfeedd.strategy.merged import MergedInstruments, distinct_symbols
from mdfeedd.tick import TICK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from mdfeedd.ring import Instrument, Reader

    Default = TypeVar("Default")

__all__ = ["LOOK_BACK_RECORDS", "LastValues", "UnknownSymbol", "Watcher", "look_back"]

LOOK_BACK_RECORDS: Final = 1 << 20
"""Of a ring's records from before the first look at `last`, at most so many are taken over."""
_LOOK_RECORDS: Final = 4096
_FEED: Final = 6  # place of the feed in a row
_IDS: Final = range(1 << 32)


class UnknownSymbol(KeyError):
    """No instrument of the rings has that symbol, or not yet. Its sentence is made when somebody wants to read it.

    For it looks at every symbol, and a condition may meet the error with each batch.
    """

    def __init__(self, key: str | int, sentence: Callable[[], str]) -> None:
        super().__init__(key)
        self._sentence = sentence

    def __str__(self) -> str:
        return self._sentence()

    def __reduce__(self) -> tuple[type[KeyError], tuple[str]]:
        return KeyError, (str(self),)


class LastValues:
    """The last values of each instrument: ``last["ESZ4"]`` is a `Book`.

    A symbol that several feeds or venues have is one `Book` with the best bid and ask over them, and so is a
    symbol of the map that the reader was given. An int, of Python or numpy, is the instrument_id of a single one.
    Values are those of the batches that the reader has given out; nothing is read here.
    """

    def __init__(
        self,
        instruments: MergedInstruments,
        feeds: Sequence[str],
        symbols: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.table: LastTable = LastTable()
        self._instruments = instruments
        self._feeds = tuple(feeds)
        self._symbols = dict(symbols or {})
        self._stamp: object = None
        self._ids: dict[str, tuple[tuple[int, Instrument | None], ...]] = {}

    @property
    def records(self) -> npt.NDArray[np.void]:
        """All rows as one array of dtype `mdfeedd.LAST`, shape (n,), in order of first appearance: a copy.

        Prices in units of 1e-9, times in UNIX ns; `columns` makes floats of them, numba takes it as it is.
        """
        rows = self.table.records()
        known: npt.NDArray[np.void] = rows[
            rows["seq"] != 0
        ]  # the others are of rings that are no more
        return known

    def __getitem__(self, key: str | SupportsIndex) -> Book:
        if not isinstance(key, str):
            instrument_id = operator.index(key)
            return self._book(instrument_id, self._instruments.get(instrument_id))
        ids = self._resolved(key)
        if not ids:
            raise UnknownSymbol(key, lambda: self._why_unknown(key))
        return consolidated(key, [self._book(one, entry) for one, entry in ids])

    def _why_unknown(self, symbol: str) -> str:
        where = ", ".join(self._feeds)
        named = self._symbols.get(symbol)
        if named is None:
            known = [*self._symbols, *(entry.symbol for entry in self._instruments)]
            return f"no instrument '{symbol}' in {where}{nearest(symbol, known)}"
        here = [(member, feed) for member, feed in enumerate(self._feeds) if feed in named]
        if not here:
            return f"'{symbol}' is of {', '.join(named)} by symbols=, and read are {where}"
        missing = []
        for member, feed in here:
            known = [entry.symbol for entry in self._instruments.of_member(member)]
            missing.append(f"no instrument '{named[feed]}' in {feed}{nearest(named[feed], known)}")
        return f"'{symbol}' of symbols=: {', '.join(missing)}"

    def _book(self, instrument_id: int, instrument: Instrument | None) -> Book:
        row = self.table.row(instrument_id) if instrument_id in _IDS else None
        if instrument is None and row is None:
            where = ", ".join(self._feeds)
            raise UnknownSymbol(instrument_id, lambda: f"no instrument {instrument_id} in {where}")
        symbol = f"#{instrument_id}" if instrument is None else instrument.symbol
        return from_row(row, symbol, "" if row is None else self._feeds[row[_FEED]], instrument)

    def _resolved(self, symbol: str) -> tuple[tuple[int, Instrument | None], ...]:
        """The ids of a symbol and their entries, looked for again when an instruments table has changed."""
        stamp = self._instruments.stamp()
        if stamp != self._stamp:
            self._ids.clear()
            self._stamp = stamp
        found = self._ids.get(symbol)
        if found is None:
            found = tuple((one, self._instruments.get(one)) for one in self._look_up(symbol))
            self._ids[symbol] = found
        return found

    def _look_up(self, symbol: str) -> Iterator[int]:
        named = self._symbols.get(symbol)
        if named is None:
            yield from self._instruments.ids(symbol)
            return
        for member, feed in enumerate(self._feeds):
            if feed in named:
                yield from self._instruments.ids_of(member, named[feed])

    @overload
    def get(self, key: str | SupportsIndex) -> Book | None: ...
    @overload
    def get(self, key: str | SupportsIndex, default: Default) -> Book | Default: ...
    def get(self, key: str | SupportsIndex, default: Any = None) -> Any:
        """As ``last[key]``, and `default` in place of a `KeyError`."""
        try:
            return self[key]
        except UnknownSymbol:
            return default

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | SupportsIndex) and self.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        """The symbols of which something is known: those of the map, then the others by first appearance."""
        ids = self.records["instrument_id"].tolist()
        mapped = {one: name for name in self._symbols for one, _ in self._resolved(name)}
        yield from dict.fromkeys(mapped[one] for one in ids if one in mapped)
        rest = [one for one in ids if one not in mapped]
        yield from (s for s in distinct_symbols(self._instruments, rest) if s not in self._symbols)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<LastValues of {len(self.table)} instruments in {', '.join(self._feeds)}>"


class Watcher:
    """Keeps a table up to date with what one reader reads: the observer of `ReaderCore.observe`.

    It knows no reader, so that one which nobody holds any more is closed at once.
    """

    def __init__(self, table: LastTable, reader: Reader) -> None:
        self._table = table
        self._lost = reader.lost
        self._ring_id = reader.ring_id

    def __call__(self, reader: ReaderCore, records: npt.NDArray[np.void]) -> None:
        """Take over records; after a loss, or of another ring, what is known is not known to be right."""
        if reader.ring_id != self._ring_id:
            self._ring_id = reader.ring_id
            self._table.forget(0)
        if reader.lost != self._lost:
            self._lost = reader.lost
            self._table.lapped(0)
        self._table.take(records)


def look_back(
    table: LastTable, reader: Reader, member: int, before: int, instruments: MergedInstruments
) -> None:
    """Take over what the ring of `reader` still holds with sequence numbers below `before`."""
    far = reader.capacity > LOOK_BACK_RECORDS and before > LOOK_BACK_RECORDS
    start = before - LOOK_BACK_RECORDS if far else START_OLDEST
    # a ring that was removed is missing: its readers keep it, and nobody else gets it
    with contextlib.suppress(RingMissing), Look(reader.path) as look:
        look.begin(TICK, start)
        if look.ring_id != reader.ring_id:
            return
        for batch in look.until(before, _LOOK_RECORDS):
            if batch.lost:  # the writer was faster: what came before is not known to be right
                table.lapped(member)
            if not len(batch) or look.next_seq > before:
                break
            instruments.make_unique(member, batch.records)
            table.take(batch.records, feed=member)
