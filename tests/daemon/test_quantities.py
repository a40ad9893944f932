"""Numbers with units, by the end of a key's name."""

from __future__ import annotations

import pytest

from mdfeedd.daemon import config
from mdfeedd.daemon.quantities import quantity_of

P = "daemon_test_plugins"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("wait_s", "5s", 5),
        ("wait_s", "5 s", 5),
        ("wait_s", "250ms", 0.25),
        ("wait_s", "250us", 0.00025),
        ("wait_s", "1.5m", 90),
        ("wait_s", "2h", 7200),
        ("wait_s", "7d", 604_800),
        ("wait_s", "-1s", -1),
        ("max_wait_ms", "250ms", 250),
        ("max_wait_ms", "1.5ms", 1.5),
        ("max_wait_ms", "2s", 2000),
        ("busy_poll_us", "1ms", 1000),
        ("size_bytes", "512B", 512),
        ("size_bytes", "64KiB", 65_536),
        ("size_bytes", "64MiB", 67_108_864),
        ("size_bytes", "1GiB", 1_073_741_824),
        ("size_bytes", "1TiB", 1 << 40),
        ("size_bytes", "0.5KiB", 512),
        ("size_bytes", "10KB", 10_000),
        ("size_bytes", "10MB", 10_000_000),
        ("size_bytes", "1GB", 1_000_000_000),
        ("size_bytes", "1TB", 10**12),
    ],
)
def test_value_in_the_unit_of_the_key(key, text, value):
    found = quantity_of(key).read(text, whole=False)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["5", "1e3", "s", "", "5.s", "x5s", "5s5", "\u0665s", "5" * 50 + "s"]
)
def test_text_that_is_no_number_with_a_unit_is_left_to_others(text):
    assert quantity_of("wait_s").read(text, whole=False) is None


@pytest.mark.parametrize("text", ["5min", "5sec", "5M", "5 Hours", "5µs", "5S"])
def test_unknown_unit_names_those_there_are(text):
    with pytest.raises(
        ValueError, match="is no unit of a duration: write us, ms, s, m, h or d, such"
    ):
        quantity_of("wait_s").read(text, whole=False)


@pytest.mark.parametrize(("key", "text"), [("wait_s", "1500ms"), ("size_bytes", "0.1KiB")])
def test_part_of_a_whole_number_is_not_rounded(key, text):
    with pytest.raises(ValueError, match=f"must be a whole number of .*, found '{text}'"):
        quantity_of(key).read(text, whole=True)


def test_other_keys_have_no_units():
    assert [
        key for key in ("rate", "s", "bytes", "seconds", "class", "max_orders") if quantity_of(key)
    ] == []


def test_units_in_a_file():
    options = "pause_s: 250ms"
    text = f"feeds: [{{name: f, vendor: '{P}:TickingFeed', hang_s: 1m, options: {{{options}}}}}]\n"
    text += "consumers: [{name: b, type: bars, rings: [f], options: {intervals_s: [1, 1m, 1h]}}]\n"
    plan = config.parse(text)
    assert plan.feeds[0].hang_s == 60
    assert plan.feeds[0].options["pause_s"] == 0.25
    assert plan.consumers[0].options["intervals_s"] == [1, 60, 3600]


def test_number_in_quotes_is_no_number_with_a_unit():
    text = f"feeds: [{{name: f, vendor: '{P}:TickingFeed', hang_s: '5'}}]\n"
    with pytest.raises(config.ConfigError, match="must be a number, found '5'"):
        config.parse(text)
