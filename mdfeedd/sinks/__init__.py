"""Sinks: where batches of ticks and bars go to stay.

    batch consumer                 sink (one object, one thread)              store
    ──────────────                 ─────────────────────────────              ─────
    write(SinkBatch) ────────────► takes it whole or not at all ────────────► Parquet files, ...
    housekeep() ─────────────────► does what is due by time     ────────────►
    flush() ─────────────────────► makes all that was taken safe ───────────►
    progress(ring_id) ◄─────────── safe_seq, stored, skipped, pending

`protocol` says what a sink must do; a store is one file that does it, registered under the
entry-point group ``mdfeedd.sinks``, and `load_sink` finds it by its name. A sink knows nothing of
rings but what a `SinkBatch` says. One whose store can keeps how far each ring is beside the records
(`position`); for the others (Parquet) the consumer notes `safe_seq` and, after a crash, reads on from
there.

Ways to fail: `SinkError`, retriable (a full disk) or not (no permission, a failed fsync); the first
leaves the sink as it was, the second ends its process, which the supervisor restarts.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from mdfeedd.options import OptionsError, mistakes_of
from mdfeedd.sinks.protocol import Sink, SinkBatch, SinkError, SinkProgress

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Sink", "SinkBatch", "SinkError", "SinkProgress", "load_sink", "sink_options"]

ENTRY_POINTS: Final = "mdfeedd.sinks"
#: Our own, for a tree that runs without being installed.
BUILT_IN: Final = {
    "kafka": "mdfeedd.sinks.kafka:KafkaSink",
    "parquet": "mdfeedd.sinks.parquet:ParquetSink",
    "postgres": "mdfeedd.sinks.postgres:PostgresSink",
    "redis": "mdfeedd.sinks.redis:RedisSink",
}


def load_sink(sink_type: str) -> type[Sink]:
    """The class of a sink, by the name it is registered under, or ``package.module:Class``. Raises `ValueError`."""
    target = sink_type if ":" in sink_type else _registered().get(sink_type)
    if target is None:
        known = ", ".join(sorted(_registered()))
        raise ValueError(f"sink_type: no sink {sink_type!r} (there are: {known})")
    module, _, name = target.partition(":")
    return _sink_class(getattr(import_module(module), name, None))


@cache
def _registered() -> dict[str, str]:
    """``module:Class`` by name."""
    from importlib import metadata  # noqa: PLC0415 - slow, and a feed, which stores nothing, does without

    found = {entry.name: entry.value for entry in metadata.entry_points(group=ENTRY_POINTS)}
    return BUILT_IN | found


def _sink_class(loaded: Any) -> type[Sink]:
    if not isinstance(loaded, type):
        raise TypeError(f"an entry point of {ENTRY_POINTS} must name a class, not {loaded!r}")
    return loaded


def sink_options(sink_class: type[Sink], given: Mapping[str, Any]) -> Any:
    """The sink's options from a mapping. Raises `ValueError` ("sink.key: reason")."""
    fields = {field.name: field for field in dataclasses.fields(sink_class.Options)}
    for key in given:
        if key not in fields:
            raise ValueError(f"sink.{key}: unknown (there are: {', '.join(fields)})")
    for key, field in fields.items():
        required = field.default is dataclasses.MISSING is field.default_factory
        if required and key not in given:
            raise ValueError(f"sink.{key}: missing")
    try:
        return sink_class.Options(**given)
    except ValueError as error:
        raise OptionsError(f"sink.{mistake}" for mistake in mistakes_of(error)) from error
