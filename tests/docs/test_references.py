"""What the references say of a few things that are known, so that a generator that says nothing is seen."""

from __future__ import annotations

import pytest

from mdfeedd.docs import api, commands, configuration, records


@pytest.fixture(scope="module")
def keys() -> str:
    pytest.importorskip("pyarrow")
    return configuration.page()


def section(page: str, heading: str) -> str:
    return page.partition(f"{heading}\n")[2].partition("\n#")[0]


def test_fields_have_offset_type_and_meaning():
    page = records.page()
    tick = section(page, "## `TICK`, 64 bytes")
    assert "| 24 | uint32 | `instrument_id` | feed index << 24 \\| index in the feed's" in tick
    assert "| 28 | uint8 | `kind` | `Kind` |" in tick
    assert "| 40 | 24 bytes | `payload` | by kind, see below |" in tick
    assert "| 48 | uint64 | `trade_id` |" in section(page, "### `TRADE`: the payload")
    assert "| 64 | 10 of int64 | `bid_price` |" in section(page, "## `DEPTH`, 384 bytes")
    assert "| 46 | uint8 | `is_trading` | 0 unknown, 1 yes, 2 no |" in page


def test_codes_have_value_and_meaning():
    page = records.page()
    assert "| 4 | `STALE` | the instrument's state is not known to be right |" in page
    assert "| 6 | `RING_LAPPED` | first and last missing are ring sequence numbers |" in page


def test_keys_have_default_and_kind(keys):
    feeds = section(keys, "## Feeds: `feeds`, a list")
    assert "| `vendor` | must be given | `bloomberg`, `cme`," in feeds
    assert "| `hang_s` | `30.0` | number from 0 or time with unit |" in feeds
    databento = section(keys, "### `vendor: databento`: its `options`")
    assert "| `subscriptions[].symbols` | must be given | list of text |" in databento
    assert "| `key` |  | reference: `credential`, `file`, `env` |" in databento
    assert "| `receive_buffer_bytes` | `8388608` | integer or size with unit |" in databento
    assert "| `path` | must be given | text |" in section(keys, "### `sink: {type: parquet}`")


def test_commands_have_usage_and_arguments():
    page = commands.page()
    replay = section(page, "## `mdfeedd replay`")
    assert "    mdfeedd replay [OPTION ...] PATH ...\n" in replay
    assert "| `--out DIR` | store everything as Parquet files there |" in replay
    assert "    mdfeedd run -c FILE\n" in section(page, "## `mdfeedd run`")
    assert "%%" not in page


def test_names_have_signature_and_text():
    page = api.page()
    reader = section(page, "### `Reader`")
    assert "    on_overrun: OnOverrun = 'oldest',\n" in reader
    assert "- `start`: " in reader
    assert "| `lag: int` | Records published and not yet read. |" in reader
    assert "open_core" not in page
    assert "def to_fixed(value: Decimal | str | float) -> int" in section(page, "### `to_fixed`")


def test_names_that_differ_in_case_alone_have_anchors_of_their_own():
    page = api.page()
    assert "[`BAR`](#bar)" in page
    assert "[`Bar`](#bar-1)" in page
