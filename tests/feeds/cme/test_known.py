"""What a feed knows before the venue has said anything, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import logging
import threading

import pytest

from mdfeedd.feeds.cme.cache import MAX_AGE_NS, CacheError, DefinitionsCache
from mdfeedd.feeds.cme.definitions import Definition
from mdfeedd.feeds.cme.known import RENEW_NS, KnownDefinitions
from mdfeedd.feeds.cme.lines import Line
from mdfeedd.feeds.cme.options import CmeOptions
from mdfeedd.feeds.cme.secdef import MAX_PROBLEMS


def load(feed, codec):
    found = feed.read(NOW)
    feed.give(codec, 0.0)
    return found


NOW = 1_780_000_000_000_000_000
LINE = Line(310, "incremental", "127.0.0.1", 1)
ES = Definition(310, 118, "ESU6", last_update=5)
SECDEF = "35=d\x01980=A\x01779=20260101000000\x011180=310\x0155={symbol}\x0148={id}\x01\n"


class Codec:
    """What the definitions need of a codec."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], Definition] = {}
        self.counts = {"definitions": 0}
        self.confirmed = False

    def define(self, channel_id: int, definition: Definition) -> None:
        self.known[channel_id, definition.security_id] = definition
        self.counts["definitions"] += 1

    def needs_definitions(self, _channel_id: int) -> bool:
        return not self.confirmed

    def definitions(self) -> list[Definition]:
        return list(self.known.values())


@pytest.fixture
def known(tmp_path):
    def make(**changed):
        options = CmeOptions(**({"lines": (LINE,), "cache_dir": str(tmp_path)} | changed))
        return KnownDefinitions("cme", options, {310})

    return make


@pytest.fixture
def cache(tmp_path):
    return DefinitionsCache(tmp_path, "cme")


@pytest.fixture
def warned(caplog):
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_what_was_learnt_is_there_at_the_next_start(known, cache):
    first, codec = known(), Codec()
    assert load(first, codec) == 0
    codec.define(310, ES)
    first.close(codec, NOW)
    assert cache.load(NOW, {310}) == [ES]
    codec = Codec()
    assert load(known(), codec) == 1
    assert codec.known == {(310, 118): ES}


def test_newer_of_cache_and_secdef_wins(known, cache, tmp_path):
    newer = dataclasses.replace(ES, symbol="NEW", last_update=2 * NOW)
    cache.save([newer, dataclasses.replace(ES, security_id=119, symbol="OLD")], NOW)
    path = tmp_path / "secdef.dat"
    path.write_text(SECDEF.format(symbol="A", id=118) + SECDEF.format(symbol="B", id=119))
    codec = Codec()
    assert load(known(secdef=str(path)), codec) == 2
    assert {d.symbol for d in codec.definitions()} == {"NEW", "B"}


def test_nothing_new_is_not_written(known, cache):
    cache.save([ES], NOW)
    before = cache.path.stat().st_mtime_ns, cache.path.stat().st_ino
    feed, codec = known(), Codec()
    load(feed, codec)
    feed.keep(codec, NOW, 1000.0)
    feed.close(codec, NOW)
    assert (cache.path.stat().st_mtime_ns, cache.path.stat().st_ino) == before


def test_what_the_venue_has_repeated_is_as_good_as_new(known, cache):
    cache.save([ES], NOW)
    feed, codec = known(), Codec()
    load(feed, codec)
    codec.confirmed = True
    feed.close(codec, NOW + RENEW_NS)
    assert cache.load(NOW + MAX_AGE_NS + RENEW_NS, {310}) == [ES]


def test_new_ones_are_written_now_and_then_and_at_the_end(known, cache):
    feed, codec = known(cache_interval_s=60.0), Codec()
    load(feed, codec)
    codec.define(310, ES)
    feed.keep(codec, NOW, 59.0)
    assert not cache.path.exists()
    feed.keep(codec, NOW, 60.0)
    codec.define(310, dataclasses.replace(ES, security_id=119))
    feed.keep(codec, NOW, 61.0)
    feed.close(codec, NOW)
    assert len(cache.load(NOW, {310})) == 2
    assert not [t for t in threading.enumerate() if t.name == "definitions"]


def test_damaged_cache_is_one_warning_and_mended_at_the_end(known, cache, warned):
    cache.save([ES], NOW)
    cache.path.write_bytes(cache.path.read_bytes()[:-3])
    feed, codec = known(), Codec()
    assert load(feed, codec) == 0
    (sentence,) = warned()
    assert sentence.startswith(str(cache.path))
    assert sentence.endswith("; going on without it")
    codec.define(310, ES)
    feed.close(codec, NOW)
    assert cache.load(NOW, {310}) == [ES]


def test_cache_that_cannot_be_written_is_told_once(known, cache, warned):
    cache.path.mkdir()
    feed, codec = known(), Codec()
    load(feed, codec)
    for n in range(3):
        codec.define(310, dataclasses.replace(ES, security_id=n))
        feed.keep(codec, NOW, 1000.0 * (n + 1))
    feed.close(codec, NOW)
    assert [s for s in warned() if "cannot be written" in s] == warned()[1:2]
    with pytest.raises(CacheError):
        cache.load(NOW, {310})


def test_no_cache_dir_keeps_nothing(known, tmp_path):
    feed, codec = known(cache_dir=""), Codec()
    load(feed, codec)
    codec.define(310, ES)
    feed.keep(codec, NOW, 1e9)
    feed.close(codec, NOW)
    assert list(tmp_path.iterdir()) == []


def test_secdef_is_missing_or_has_nothing_for_us(known, tmp_path, warned):
    path = tmp_path / "secdef.dat"
    assert load(known(secdef=str(path)), Codec()) == 0
    path.write_text(SECDEF.format(symbol="A", id=118).replace("1180=310", "1180=9") + "nonsense\n")
    assert load(known(secdef=str(path)), Codec()) == 0
    path.write_text("nonsense\n" * 12)
    assert load(known(secdef=str(path)), Codec()) == 0
    line = SECDEF.format(symbol="A", id=118)
    path.write_text(line + "nonsense\n" * 12)
    assert load(known(secdef=str(path)), Codec()) == 1
    missing, nonsense, nothing, foreign, *many = warned()
    assert missing == f"{path}: cannot be read: No such file or directory; going on without it"
    assert nonsense == f"{path}:2: no FIX message: it has no tag 35"
    assert nothing == f"{path}: defines nothing of channel 310"
    assert foreign == f"{path}: no line is a FIX message: this is not CME's secdef.dat"
    assert many[-1] == f"{path}: 12 lines cannot be used"
    assert len(many) == MAX_PROBLEMS + 1
