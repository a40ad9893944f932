"""All mistakes of an options class at once, also where some values could not be used."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import pytest

from mdfeedd.daemon import plugins
from mdfeedd.options import OptionsError, mistakes_of, refuse, told, values

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Box:
    width: int = 1
    height: int = 1

    def __post_init__(self) -> None:
        refuse(self._check_sides(), self._check_area(), told(self._check_colour))

    def _check_sides(self) -> Iterator[str]:
        for key, value in values(self, ("width", "height")):
            if value < 1:
                yield f"{key}: must be at least 1, not {value}"

    def _check_area(self) -> Iterator[str]:
        if self.width * self.height > 100:
            yield "width: is too much for this height"

    def _check_colour(self) -> None:
        if self.height == 13:
            raise ValueError("height: no box is 13 high")


def without(*names: str, **given: int) -> Box:
    """A box on which these fields are not set, as the configuration makes it."""
    box = object.__new__(Box)
    for field in fields(Box):
        if field.name not in names:
            object.__setattr__(box, field.name, given.get(field.name, field.default))
    return box


def test_every_check_tells_all_that_it_finds() -> None:
    with pytest.raises(OptionsError) as caught:
        Box(-1, 0)
    assert caught.value.mistakes == (
        "width: must be at least 1, not -1",
        "height: must be at least 1, not 0",
    )
    assert str(caught.value) == "; ".join(caught.value.mistakes)
    assert mistakes_of(caught.value) == caught.value.mistakes
    assert mistakes_of(ValueError("one: only")) == ("one: only",)


def test_nothing_is_refused_without_a_mistake() -> None:
    assert Box(3, 4) == Box(3, 4)


def test_function_that_raises_is_a_check_too() -> None:
    with pytest.raises(OptionsError, match=r"^height: no box is 13 high$"):
        Box(1, 13)


def test_checks_end_at_a_field_that_is_not_set_and_the_others_go_on() -> None:
    with pytest.raises(OptionsError) as caught:
        without("width", height=-5).__post_init__()
    assert caught.value.mistakes == ("height: must be at least 1, not -5",)
    with pytest.raises(AttributeError):
        without("width").__post_init__()


def test_keys_that_are_no_fields_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="wdith"):
        list(values(Box(), ("wdith",)))


# for each of our options classes: values that break one check each, all of which are to be told
SEVERAL = {
    "bloomberg": (
        {"servers": (), "interval_s": 0.01, "service": "x", "blpapi_path": "here", "queue_events": 1},
        {"servers", "interval_s", "service", "blpapi_path", "queue_events", "topics"},
    ),
    "databento": (
        {"heartbeat_s": 1, "record": "here", "renew_at": "25:00", "gateway": "a b", "key_credential": "/"},
        {"heartbeat_s", "record", "renew_at", "gateway", "key_credential", "dataset", "subscriptions"},
    ),
    "cme": (
        {"max_wait_ms": 0.0, "silence_s": 0.0, "cpu": -1, "cache_dir": "here", "interface_a": "a b"},
        {"max_wait_ms", "silence_s", "cpu", "cache_dir", "interface_a", "lines"},
    ),
    "replay": (
        {"speed": -1.0, "min_consumers": -1, "version": 9, "schema": "x"},
        {"speed", "min_consumers", "version", "schema", "paths"},
    ),
    "synthetic": (
        {"rate": 0.0, "burstiness": 2.0, "seed": -1, "wait_consumers": -1, "instruments": 0},
        {"rate", "burstiness", "seed", "wait_consumers", "instruments"},
    ),
    "bars": (
        {"intervals_s": (), "ring": "", "capacity": 0, "instruments_capacity": -1, "flat_limit": 0},
        {"intervals_s", "ring", "capacity", "instruments_capacity", "flat_limit"},
    ),
    "callbacks": (
        {"on_tick": "x", "on_bar": "y", "batch_size": 0, "wait_s": -1.0},
        {"on_tick", "on_bar", "batch_size", "wait_s"},
    ),
    "journal": (
        {"segment_bytes": 1, "keep_bytes": -1, "keep_s": -1.0, "max_delay_s": 20.0},
        {"segment_bytes", "keep_bytes", "keep_s", "max_delay_s", "path"},
    ),
    "batch": (
        {"batch_size": 0, "flush_interval_s": 0.0, "wait_s": -1.0, "durable": True},
        {"batch_size", "flush_interval_s", "wait_s", "durable", "sink_type"},
    ),
    "parquet": (
        {"roll_s": 0.0, "roll_bytes": 0, "max_open_files": 0},
        {"roll_s", "roll_bytes", "max_open_files", "path"},
    ),
    "postgres": (
        {"dsn": "password=x", "schema": "A", "port": -1, "chunk_s": 1, "timeout_s": 0.0},
        {"dsn", "schema", "port", "chunk_s", "timeout_s"},
    ),
    "redis": (
        {"port": 0, "prefix": "", "timeout_s": 0.0, "tls_key_file": "x", "username": "u"},
        {"port", "prefix", "timeout_s", "tls_key_file", "username", "modes"},
    ),
    "fanout": (
        {"max_clients": 0, "ping_interval_s": 0.0, "wait_s": -1.0, "origins": "x"},
        {"max_clients", "ping_interval_s", "wait_s", "origins"},
    ),
    "kafka": (
        {"prefix": "", "timeout_s": 0.0, "sasl_username": "u", "client": {"ssl.key.password": "x"}},
        {"prefix", "timeout_s", "sasl_mechanism", "client", "bootstrap_servers"},
    ),
}  # fmt: skip
EMPTY = {"topics": (), "dataset": "", "subscriptions": (), "paths": (), "path": "", "sink_type": "",
         "modes": (), "lines": (), "bootstrap_servers": ""}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_all_mistakes_of_a_plugin_are_told_at_once(name: str) -> None:
    group = next(group for group, names in plugins.BUILTIN.items() if name in names)
    if name == "parquet":
        pytest.importorskip("pyarrow")
    options = plugins.load(plugins.resolve(group, name)).Options
    given, keys = SEVERAL[name]
    empty = {f.name: EMPTY[f.name] for f in fields(options) if f.name in EMPTY}
    with pytest.raises(ValueError) as caught:
        options(**empty | given)
    assert {mistake.partition(":")[0] for mistake in mistakes_of(caught.value)} == keys
