"""A feed whose every record follows from its sequence number: what is stored can be checked alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mdfeedd.tick import QUOTE, TICK, TRADE, Kind

if TYPE_CHECKING:
    import threading

    import numpy.typing as npt

BURST_S = 0.002
EPOCH_NS = 1_790_000_000_000_000_000
SYMBOLS = ("ESZ6", "ÉTF Ω", "NQ Z6", "#4")


def price_of(seq: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The price of a trade, the bid of a quote; negative ones among them."""
    mixed = seq.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mixed.view(np.int64) >> 8


def size_of(seq: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """Its size, over all 32 bits."""
    return (seq.astype(np.uint64) * np.uint64(2_654_435_761) & np.uint64(0xFFFFFFFF)).astype("<u4")


def records(first: int, n: int, ids: list[int]) -> npt.NDArray[np.void]:
    """The records `first` to `first + n - 1`: trades have odd numbers, quotes even ones."""
    seq = np.arange(first, first + n, dtype=np.uint64)
    out = np.zeros(n, TICK)
    out["seq"] = seq
    out["ts_event"] = EPOCH_NS + seq.astype(np.int64) * 1001
    out["ts_recv"] = out["ts_event"] + 7
    out["instrument_id"] = np.array(ids, np.uint32)[(seq % np.uint64(len(ids))).astype(np.intp)]
    odd = (seq & np.uint64(1)).astype(bool)
    out["kind"] = np.where(odd, Kind.TRADE, Kind.QUOTE)
    trades, quotes = out.view(TRADE), out.view(QUOTE)
    trades["price"][odd], trades["size"][odd] = price_of(seq[odd]), size_of(seq[odd])
    quotes["bid_price"][~odd], quotes["bid_size"][~odd] = price_of(seq[~odd]), size_of(seq[~odd])
    return out


@dataclass(frozen=True, slots=True)
class TruthOptions:
    """How fast, and until when."""

    rate: int = field(default=20_000, metadata={"help": "records a second"})
    pause_file: str = field(default="", metadata={"help": "no record while this file is there"})


class TruthFeed:
    """Publishes the truth, from where the ring ended."""

    Options: ClassVar[type] = TruthOptions

    def __init__(self, name, options, ring):
        self.name, self.options, self.ring = name, options, ring

    def run(self, stop: threading.Event) -> None:
        """Publish in bursts until `stop`."""
        from pathlib import Path

        pause = Path(self.options.pause_file)
        with self.ring.writer(self.name, TICK) as writer:
            ids = [writer.instruments.add(symbol) for symbol in SYMBOLS]
            due = time.monotonic()
            while not stop.wait(BURST_S):
                writer.beat()
                now = time.monotonic()
                n = min(int((now - due) * self.options.rate), 4096)
                if n and not (self.options.pause_file and pause.exists()):
                    writer.publish(records(writer.next_seq, n, ids))
                if n:
                    due = now
