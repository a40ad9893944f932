"""The cache of definitions: whole or refused, and never believed for longer than a week."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest

from mdfeedd.feeds.cme.cache import MAX_AGE_NS, CacheError, DefinitionsCache
from mdfeedd.feeds.cme.definitions import Definition

NOW = 1_780_000_000_000_000_000
SECOND = 1_000_000_000
ES = Definition(
    channel=310,
    security_id=118,
    symbol="ESU6",
    group="ES",
    asset="ES",
    exchange="XCME",
    currency="USD",
    security_type="FUT",
    cfi="FFIXSX",
    tick_size=25_000_000_000,
    display_factor=10_000_000,
    multiplier=50_000_000_000,
    low_limit=-5,
    expiration=NOW + 3600 * SECOND,
    depth=10,
    implied_depth=2,
    trading_status=17,
    user_defined=True,
    last_update=NOW - SECOND,
)
OTHER = dataclasses.replace(ES, channel=382, security_id=5, symbol='CL "Z" \n')


@pytest.fixture
def cache(tmp_path):
    return DefinitionsCache(tmp_path / "state" / "cme", "cme-fut")


def test_what_is_saved_comes_back(cache):
    assert cache.load(NOW, {310}) == []
    assert cache.save([ES, OTHER], NOW) == 2
    assert cache.load(NOW + SECOND, {310, 382}) == [ES, OTHER]
    assert cache.load(NOW + SECOND, {310}) == [ES]
    assert cache.path.name == "cme-fut.definitions"


def test_nothing_known_is_a_file_as_well(cache):
    assert cache.save([], NOW) == 0
    assert cache.load(NOW, {310}) == []


def test_expired_instrument_gave_its_number_back(cache):
    cache.save([ES, OTHER], NOW)
    assert cache.load(ES.expiration + 1, {310}) == []


def test_file_of_last_week_and_of_next_year(cache):
    cache.save([ES], NOW)
    with pytest.raises(CacheError, match=r"is 7\.0 days old; its instruments may be others by now"):
        cache.load(NOW + MAX_AGE_NS + SECOND, {310})
    with pytest.raises(CacheError, match=r"is -365\.0 days old"):
        cache.load(NOW - 365 * 24 * 3600 * SECOND, {310})
    assert cache.load(NOW - SECOND, {310}) == [ES]


def test_every_flipped_byte_and_every_cut_is_noticed(cache):
    cache.save([ES], NOW)
    whole = cache.path.read_bytes()
    for at in range(len(whole)):
        cache.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CacheError):
            cache.load(NOW, {310})
        cache.path.write_bytes(whole[:at])
        with pytest.raises(CacheError):
            cache.load(NOW, {310})


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is no file of definitions"),
        (b"\xff" * 100, "is no file of definitions"),
        (b"[" * 100_000, "is no file of definitions"),
        (b'{"format": "other"}\n', "is no file of definitions"),
    ],
)
def test_file_is_something_else(cache, data, sentence):
    cache.path.parent.mkdir(parents=True)
    cache.path.write_bytes(data)
    with pytest.raises(CacheError, match=sentence):
        cache.load(NOW, {310})


def test_file_of_another_version(cache):
    cache.save([ES], NOW)
    head, body = cache.path.read_bytes().split(b"\n", 1)
    for change in ({"version": 2}, {"fields": ["channel"]}):
        header = json.dumps(json.loads(head) | change).encode()
        cache.path.write_bytes(header + b"\n" + body)
        with pytest.raises(CacheError, match="was written by another version"):
            cache.load(NOW, {310})


@pytest.mark.parametrize("line", ["{}", "[1]", "nonsense", "[" * 5000, '[310, "118"]'])
def test_whole_file_with_a_wrong_line(cache, monkeypatch, line):
    monkeypatch.setattr(
        json,
        "dumps",
        lambda value, dumps=json.dumps: line if isinstance(value, tuple) else dumps(value),
    )
    cache.save([ES], NOW)
    with pytest.raises(CacheError, match=":2: is no definition"):
        cache.load(NOW, {310})


def test_directory_that_cannot_be(cache, tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(CacheError, match="cannot be written: "):
        cache.save([ES], NOW)
    with pytest.raises(CacheError, match="cannot be read: "):
        cache.load(NOW, {310})


def test_disk_full_leaves_the_old_file(cache, monkeypatch):
    cache.save([ES], NOW)

    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="cannot be written: No space left"):
        cache.save([OTHER], NOW)
    monkeypatch.undo()
    assert cache.load(NOW, {310}) == [ES]
    assert [path.name for path in cache.path.parent.iterdir()] == [cache.path.name]
