"""Records as messages: packed by partition, or one each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mdfeedd.ring import arrow
from mdfeedd.sinks.jsontext import JsonText
from mdfeedd.sinks.kafka import wire
from mdfeedd.sinks.protocol import SinkError
from mdfeedd.tick import BAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from mdfeedd.ring import Instruments
    from mdfeedd.sinks.kafka._split import Splitter
    from mdfeedd.sinks.protocol import SinkBatch

    Records = npt.NDArray[np.void]
    Encoder = Callable[["Target", SinkBatch, Records, Splitter], None]
    _Values = memoryview | npt.NDArray[np.uint8]
    _ValuesOf = Callable[[Records, Instruments, JsonText], tuple[_Values, npt.NDArray[np.int64]]]

__all__ = ["Each", "Target", "encoder_of"]


class Target(Protocol):
    """What takes the messages of a transaction."""

    @property
    def records_per_message(self) -> int: ...  # noqa: D102
    def chunk_prev(self) -> wire.Mark | None: ...  # noqa: D102
    def symbol(self, instrument_id: int) -> str: ...  # noqa: D102
    def produce(  # noqa: D102
        self, kind: str, partition: int, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None: ...
    def produce_each(self, kind: str, partition: int, each: Each) -> None: ...  # noqa: D102


def encoder_of(payload: str) -> Encoder:
    """What makes messages of this payload. Raises `SinkError` for a package that is missing."""
    if payload == "arrow":
        try:
            arrow.require_pyarrow()
        except ImportError as error:
            raise SinkError(str(error), retriable=False) from error
        return _packed("arrow", _arrow)
    if payload == "raw":
        return _packed("raw", lambda part, _: part.tobytes())
    return _OneEach(_json_values if payload == "json" else _raw_values)


def _packed(codec: str, value_of: Callable[[Records, Instruments], bytes]) -> Encoder:
    """Chunks: a message in every partition, whether or not it has records."""

    def encode(target: Target, batch: SinkBatch, records: Records, splitter: Splitter) -> None:
        kind = _kind(records)
        prev, step = target.chunk_prev(), target.records_per_message
        for start in range(0, len(records), step):
            chunk = records[start : start + step]
            head = wire.ChunkHead(
                codec=codec,
                kind=kind,
                ring=batch.ring,
                ring_id=batch.ring_id,
                epoch=batch.epoch,
                first=int(chunk["seq"][0]),
                last=int(chunk["seq"][-1]),
                prev=prev,
                n=0,
                partitions=splitter.partitions,
            )
            headers = [pair for pair in head.encode() if pair[0] != "n"]
            for partition, part in _parts(splitter, chunk):
                value = value_of(part, batch.instruments)
                target.produce(kind, partition, value, [*headers, ("n", b"%d" % len(part))])
            prev = head.end

    return encode


def _parts(splitter: Splitter, records: Records) -> Iterator[tuple[int, Records]]:
    """All partitions with their records, in ring order."""
    rows, bounds = splitter.split(np.ascontiguousarray(records))
    assert rows is not None, "the instruments of a batch are learned before it is split"
    size = records.dtype.itemsize
    edges = (bounds * size).tolist()
    for partition in range(splitter.partitions):
        yield partition, rows[edges[partition] : edges[partition + 1]].view(records.dtype)


def _kind(records: Records) -> str:
    kind = wire.kind_of(records.dtype)
    assert kind is not None
    return kind


def _arrow(part: Records, instruments: Instruments) -> bytes:
    """An Arrow IPC stream; of no records, nothing."""
    if not len(part):
        return b""
    pa = arrow.require_pyarrow()
    to_table = arrow.bars_to_arrow if part.dtype == BAR else arrow.ticks_to_arrow
    table = to_table(part, instruments)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


# ---------------------------------------------------------------------------------------- one each


@dataclass(frozen=True, slots=True)
class Each:
    """Messages of one record each, in their order.

    ends: where each value ends in `values`. keys: by instrument; places: (n,), which key a message has.
    """

    values: memoryview | npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    keys: list[bytes]
    places: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def part(self, start: int, end: int) -> Each:
        """Messages `start` to `end`."""
        first = int(self.ends[start - 1]) if start else 0
        last = int(self.ends[end - 1])
        return Each(
            self.values[first:last],
            self.ends[start:end] - first,
            self.keys,
            self.places[start:end],
        )

    def as_dicts(self) -> list[dict[str, Any]]:
        """As confluent-kafka takes them."""
        whole, start, out = bytes(self.values), 0, []
        for end, place in zip(self.ends.tolist(), self.places.tolist(), strict=True):
            out.append({"key": self.keys[place], "value": whole[start:end]})
            start = end
        return out


class _OneEach:
    """A message for each record; its key is the symbol, empty for records of the whole feed."""

    def __init__(self, values_of: _ValuesOf) -> None:
        self._values_of = values_of
        self._text = JsonText()

    def __call__(
        self, target: Target, batch: SinkBatch, records: Records, splitter: Splitter
    ) -> None:
        kind = _kind(records)
        for partition, part in _parts(splitter, records):
            if not len(part):
                continue
            values, ends = self._values_of(part, batch.instruments, self._text)
            unique, places = arrow.distinct_ids(part["instrument_id"])
            keys = [target.symbol(number).encode() for number in unique.tolist()]
            each = Each(values, ends, keys, np.ascontiguousarray(places, np.int64))
            target.produce_each(kind, partition, each)


def _json_values(
    part: Records, instruments: Instruments, text: JsonText
) -> tuple[memoryview, npt.NDArray[np.int64]]:
    lines, lengths = text.lines(part, instruments)
    return lines, np.cumsum(lengths)


def _raw_values(
    part: Records,
    instruments: Instruments,  # noqa: ARG001
    text: JsonText,  # noqa: ARG001
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    size = part.dtype.itemsize
    return part.view(np.uint8), np.arange(1, len(part) + 1, dtype=np.int64) * size
