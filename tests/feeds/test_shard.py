"""Parts of a feed: fixed for ever, written as 2/4, each symbol in exactly one."""

from __future__ import annotations

import zlib

import pytest

from mdfeedd.feeds.shard import MAX_SHARDS, Shard
from mdfeedd.sinks.kafka import wire

SYMBOLS = ["ESZ6", "NQZ6", "IBM US Equity", "ΑΒΓ", "株式", "🂡", "", "12345", "ES.c.0"]
ROOTS = ["ES", "NQ", "YM", "RTY", "CL", "NG", "GC", "SI", "HG", "ZB", "ZN", "ZF", "ZT", "ZC"]
ROOTS += ["ZS", "ZW", "6E", "6J"]


@pytest.mark.parametrize(
    ("symbol", "crc"),
    [
        ("123456789", 0xCBF43926),  # the check value of CRC-32
        ("", 0),
        ("ESZ6", 0x6C9AC7BD),
        ("株式", 0xB9705285),
    ],
)
def test_the_function_is_a_range_of_the_crc32_of_utf8(symbol, crc):
    for of in (1, 2, 3, 4, 7, MAX_SHARDS):
        assert Shard(crc * of // 2**32 + 1, of).has(symbol)


@pytest.mark.parametrize(("of", "partitions"), [(2, 4), (4, 4), (3, 6), (4, 6)])
def test_a_shard_fills_all_partitions_of_kafka_alike(of, partitions):
    """Whatever the two numbers have in common."""
    symbols = [
        f"{root}{month}{year}" for root in ROOTS for month in "FGHJKMNQUVXZ" for year in "6789"
    ]
    for index in range(1, of + 1):
        filled = [0] * partitions
        for symbol in symbols:
            if Shard(index, of).has(symbol):
                filled[wire.partition_of(symbol, partitions)] += 1
        fair = len(symbols) / of / partitions
        assert all(0.6 * fair < n < 1.4 * fair for n in filled), filled


@pytest.mark.parametrize("of", [1, 2, 3, 5, 64])
def test_each_symbol_is_in_exactly_one_part(of):
    for symbol in SYMBOLS:
        inside = [i for i in range(1, of + 1) if Shard(i, of).has(symbol)]
        assert inside == [zlib.crc32(symbol.encode()) * of // 2**32 + 1]


@pytest.mark.parametrize("text", ["1/1", "2/4", "4/4", "4096/4096"])
def test_what_is_written_is_read(text):
    assert str(Shard.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be like 2/4, the second of four parts, not ''"),
        ("2", "must be like 2/4"),
        ("2 of 4", "must be like 2/4"),
        ("2/4\n", "must be like 2/4"),
        (" 2/4", "must be like 2/4"),
        ("-1/4", "must be like 2/4"),
        ("٢/4", "must be like 2/4"),
        ("1/10000000000", "must be like 2/4"),
        ("0/4", "must be part 1 to 4 of 4, not 0"),
        ("5/4", "must be part 1 to 4 of 4, not 5"),
        ("0/0", "must be of 1 to 4096 parts, not of 0"),
        ("1/4097", "must be of 1 to 4096 parts, not of 4097"),
    ],
)
def test_everything_else_is_refused_with_a_sentence(text, words):
    with pytest.raises(ValueError, match="must be") as refused:
        Shard.parse(text)
    assert words in str(refused.value)
