"""Every real sample file, decoded by us and by `databento_dbn`: the same ticks, field by field."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mdfeedd.feeds.databento.codec import DbnDecoder, Symbology


def decode(tools, raw, pieces=None, **options):
    table = tools.Table()
    decoder = DbnDecoder(Symbology(table), **options)
    ticks, bars = [], []
    for piece in [raw] if pieces is None else pieces:
        out = decoder.decode(piece)
        ticks.append(out.ticks)
        bars.append(out.bars)
    decoder.finish()
    told = tools.told(np.concatenate(ticks), table)
    return told, tools.told_bars(np.concatenate(bars), table), decoder


def test_every_sample_equals_the_oracle(tools, sample):
    raw = tools.plain(sample.path)
    ticks, bars, decoder = decode(tools, raw, version=sample.version)
    oracle = tools.Oracle(sample.version).decode(raw)
    assert ticks == oracle.ticks
    assert bars == oracle.bars
    counts = decoder.counts
    assert counts["skipped"] == oracle.skipped
    assert counts["quotes"] == sum(t["kind"] == 1 for t in ticks)
    assert counts["trades"] == sum(t["kind"] == 2 for t in ticks)
    assert counts["others"] == sum(t["kind"] > 2 for t in ticks)
    assert counts["bars"] == len(bars)
    assert counts["unknown"] == counts["malformed"] == 0
    assert counts["unmapped"] == sum(t["symbol"].isdigit() for t in ticks + bars)


@pytest.mark.parametrize("seed", range(3))
def test_samples_cut_at_random_places(tools, sample, seed):
    raw = tools.plain(sample.path)
    rng = random.Random(seed)
    cuts = sorted(rng.choices(range(len(raw) + 1), k=min(40, len(raw))))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    whole = decode(tools, raw, version=sample.version)
    cut = decode(tools, raw, pieces, version=sample.version)
    assert cut[:2] == whole[:2]
    assert cut[2].counts == whole[2].counts


def test_samples_byte_by_byte(tools, sample):
    raw = tools.plain(sample.path)
    if len(raw) > 40_000:
        head, tail = raw[:-4_000], raw[-4_000:]
        pieces = [head, *(tail[i : i + 1] for i in range(len(tail)))]
    else:
        pieces = [raw[i : i + 1] for i in range(len(raw))]
    whole = decode(tools, raw, version=sample.version)
    cut = decode(tools, raw, pieces, version=sample.version)
    assert cut[:2] == whole[:2]
    assert cut[2].offset == len(raw)


def test_live_arrival_time_replaces_the_recorders(tools):
    raw = tools.plain(tools.samples / "databento__dbn/tests/data/test_data.mbp-1.dbn")
    table = tools.Table()
    ticks = DbnDecoder(Symbology(table)).decode(raw, ts_recv_ns=77).ticks
    assert set(ticks["ts_recv"]) == {77}
    assert not np.any(ticks["flags"] & 512)
