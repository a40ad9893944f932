"""The books: what each ring published, by a witness; what each store holds; whether the two balance.

    rings ──► Witness: reads everything as it is published, and is never hurt
    stores ─► Holding: of each record its number, and of some the price and size, or all its bytes

The rule, per ring and store: each number from 1 (or where the journal was first begun) to the ring's tail is
stored once, or told lost once and not stored; nothing else is there; and what is stored is what was published.
Told lost means: it lies within a GAP record for the reason RING_LAPPED, which the journal writes where the ring lapped it, and
which takes the place of the last record that it tells of.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mdfeedd import Reader
from mdfeedd.ring import RingError
from mdfeedd.tick import BAR, GAP, PRICE_UNDEF, QUOTE, TICK, TRADE, GapReason, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Seqs = npt.NDArray[np.uint64]

LOOK_S: Final = 0.02
MOST: Final = 1 << 16
PRICED: Final = np.zeros(256, bool)
PRICED[[Kind.QUOTE, Kind.TRADE, Kind.TRADE_CANCEL, Kind.TRADE_CORRECTION]] = True


class Witness:
    """Reads rings in a thread until it is closed; a ring that it is lapped in it does not know all of."""

    def __init__(self, rings: dict[str, np.dtype[Any]], directory: str) -> None:
        self._rings = rings
        self._directory = directory
        self._parts: dict[str, list[npt.NDArray[np.void]]] = {name: [] for name in rings}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="witness")
        self._thread.start()

    def _read(self) -> None:
        readers: dict[str, Reader] = {}
        while True:
            over = self._over.is_set()  # looked at first: what was published before it is read
            for name, dtype in self._rings.items():
                if name not in readers:
                    try:
                        readers[name] = Reader(
                            name, "oldest", dtype=dtype, directory=self._directory
                        )
                    except RingError:
                        continue
                while len(batch := readers[name].read(MOST, timeout=0)):
                    self._parts[name].append(batch.records.copy())
            if over:
                break
            self._over.wait(LOOK_S)
        for reader in readers.values():
            reader.close()

    def close(self) -> None:
        """All that is in the rings now has been read when this returns."""
        self._over.set()
        self._thread.join()

    def seen(self, ring: str) -> npt.NDArray[np.void]:
        """Its records, in order."""
        return np.concatenate([np.empty(0, self._rings[ring]), *self._parts[ring]])


@dataclass(slots=True)
class Holding:
    """What a store holds of a ring, in any order.

    records: whole ones, if it keeps them; else `price` and `size` of quotes and trades, and `lapped`: the GAP
    records for RING_LAPPED, as rows of number, first and last missing. kinds: if it leaves some out.
    """

    seq: Seqs
    records: npt.NDArray[np.void] | None = None
    price: npt.NDArray[np.int64] | None = None
    size: npt.NDArray[np.int64] | None = None
    priced: npt.NDArray[np.bool_] | None = None
    lapped: list[tuple[int, int, int]] = field(default_factory=list)
    kinds: tuple[int, ...] = ()
    tells: bool = True
    """Whether the GAP records are in it."""

    @classmethod
    def of(cls, records: npt.NDArray[np.void]) -> Holding:
        """Of a store that keeps whole records."""
        found = cls(records["seq"].copy(), records)
        if records.dtype == TICK:
            gaps = records.view(GAP)
            lapped = (records["kind"] == Kind.GAP) & (gaps["reason"] == GapReason.RING_LAPPED)
            found.lapped = [
                (int(row["seq"]), int(row["first_missing"]), int(row["last_missing"]))
                for row in gaps[lapped]
            ]
        return found


@dataclass(frozen=True, slots=True)
class Balance:
    """One line of the table."""

    ring: str
    store: str
    published: int
    stored: int
    lost: int


class OutOfBalance(AssertionError):
    """One sentence per thing that is wrong."""


def told(holding: Holding) -> dict[int, tuple[int, int]]:
    """By the number of the GAP record: what it tells to be lost."""
    return {seq: (first, last) for seq, first, last in holding.lapped}


def whole_truth(
    tail: int, seen: npt.NDArray[np.void], others: list[Holding]
) -> npt.NDArray[np.void]:
    """Records 1 to `tail` at the places 0 to tail - 1: the witness's; where it was lapped, the first store's
    that has them. The number is 0 where nobody knows.
    """
    truth = np.zeros(tail, seen.dtype)
    for holding in others:
        if holding.records is None:
            continue
        own = ~np.isin(holding.seq, np.array(list(told(holding)), np.uint64))
        own &= (holding.seq >= 1) & (holding.seq <= tail)
        truth[holding.seq[own].astype(np.int64) - 1] = holding.records[own]
    truth[seen["seq"].astype(np.int64) - 1] = seen
    return truth


def _lost_of(
    lapped: dict[int, tuple[int, int]], tail: int, complain: Callable[[str], None]
) -> npt.NDArray[np.bool_]:
    """By number: whether it is told to be lost."""
    lost = np.zeros(tail + 1, np.int64)
    for seq, (first, last) in lapped.items():
        if not 1 <= first <= last <= tail or seq != last:
            complain(f"has a GAP record {seq} that tells of {first} to {last} of {tail}")
        else:
            lost[first : last + 1] += 1
    if (lost > 1).any():
        complain(f"tells twice that it lost {_some(lost > 1)}")
    return lost > 0


def _some(which: npt.NDArray[np.bool_]) -> str:
    numbers = np.flatnonzero(which)
    return f"{len(numbers)} records, from {numbers[0]} to {numbers[-1]}"


def _due(
    truth: npt.NDArray[np.void], holding: Holding, begin: int, stored: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """By number: whether the store should have it, were nothing lost."""
    due = np.ones(len(truth) + 1, bool)
    due[:begin] = False
    if holding.kinds:
        unknown = truth["seq"] == 0  # nobody knows of what kind they were: what is there was due
        due[1:] &= np.where(unknown, stored[1:] > 0, np.isin(truth["kind"], holding.kinds))
    return due


def balance(
    ring: str, store: str, truth: npt.NDArray[np.void], holding: Holding,
    lapped: dict[int, tuple[int, int]], begin: int = 1,
) -> Balance:  # fmt: skip
    """Compare. `lapped` is what all stores of a ring must tell; `begin`: the first record that the journal ever had.

    Raises `OutOfBalance`.
    """
    wrong: list[str] = []
    tail = len(truth)
    if holding.tells and told(holding) != lapped:
        wrong.append(f"tells other losses than the others: {holding.lapped}, {lapped}")
    numbers = holding.seq.astype(np.int64)
    within = (numbers >= 1) & (numbers <= tail)
    if not within.all():
        wrong.append(f"has numbers that were never published, such as {numbers[~within][0]}")
    all_counts = np.bincount(numbers[within], minlength=tail + 1)
    plain = within & ~np.isin(numbers, list(told(holding)))
    counts = np.bincount(numbers[plain], minlength=tail + 1)
    lost = _lost_of(lapped, tail, wrong.append)
    due = _due(truth, holding, begin, counts)
    for what, which in (
        ("lacks", due & ~lost & (counts == 0)),
        ("has more than once", all_counts > 1),
        ("has, though they were told lost,", lost & (counts > 0)),
        ("has, though they were not due,", ~due & ~lost & (counts > 0)),
    ):
        if which.any():
            wrong.append(f"{what} {_some(which)}")
    wrong += _changed(truth, holding, plain)
    if wrong:
        raise OutOfBalance("; ".join(f"{store} of ring {ring} {one}" for one in wrong))
    return Balance(ring, store, tail - begin + 1, int(plain.sum()), int(lost.sum()))


def _changed(
    truth: npt.NDArray[np.void], holding: Holding, which: npt.NDArray[np.bool_]
) -> list[str]:
    """Whether what is stored is what was published."""
    places = holding.seq[which].astype(np.int64) - 1
    expected = truth[places]
    known = expected["seq"] != 0
    numbers = holding.seq[which]
    if holding.records is not None:
        width = truth.dtype.itemsize
        stored = np.ascontiguousarray(holding.records[which]).view("u1").reshape(-1, width)
        differ = (stored != expected.view("u1").reshape(-1, width)).any(axis=1) & known
    elif holding.price is not None and holding.size is not None and holding.priced is not None:
        price, size = prices(expected)
        known &= holding.priced[which]
        differ = ((holding.price[which] != price) | (holding.size[which] != size)) & known
    else:
        return []
    if not differ.any():
        return []
    return [f"has with other contents {differ.sum()} records, such as {numbers[differ][0]}"]


def prices(ticks: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of quotes the bid and its size, of trades the price and the size."""
    quote = ticks["kind"] == Kind.QUOTE
    quotes, trades = ticks.view(QUOTE), ticks.view(TRADE)
    price = np.where(quote, quotes["bid_price"], trades["price"])
    return price, np.where(quote, quotes["bid_size"], trades["size"]).astype(np.int64)


__all__ = [
    "BAR", "PRICED", "PRICE_UNDEF", "Balance", "Holding", "OutOfBalance", "Witness", "balance",
    "prices", "told", "whole_truth",
]  # fmt: skip
