"""The bytes of segments: what is written comes back, and no bytes at all make the decoders raise."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdfeedd.journal import format as layout
from mdfeedd.journal.format import Block, BlockFlag, SegmentHeader
from mdfeedd.journal.segment import SegmentName, list_segments, segment_file_name
from mdfeedd.journal.table import Table
from mdfeedd.ring import Instruments
from mdfeedd.tick import BAR, DEPTH, ORDER, TICK, layout_of

from .records import entry

U64, U32 = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
HEADER = SegmentHeader(7, "es", "ab" * 16, "cme", layout_of(TICK), 64, 3, 100, 1, 5, "cd" * 16, 9)


@given(
    number=U64,
    first=U64,
    epoch=U32,
    created=st.integers(-(2**63), 2**63 - 1),
    dtype=st.sampled_from([TICK, BAR, DEPTH, ORDER]),
    before=st.sampled_from(["", "01" * 16]),
    durable=U64,
)
def test_segment_header_comes_back(number, first, epoch, created, dtype, before, durable):
    header = replace(
        HEADER,
        number=number,
        first_seq=first,
        epoch=epoch,
        created_ns=created,
        layout=layout_of(dtype),
        record_bytes=dtype.itemsize,
        before_ring_id=before,
        before_last_seq=first,
        durable_seq=durable,
    )
    page = layout.encode_header(header)
    assert len(page) == layout.HEADER_BYTES
    assert layout.decode_header(page) == header


def test_every_bit_of_a_segment_header_is_guarded():
    page = layout.encode_header(HEADER)
    for at in range(len(page)):
        bad = bytearray(page)
        bad[at] ^= 1 << at % 8
        assert layout.decode_header(bytes(bad)) is None
    assert layout.decode_header(page[:-1]) is None


@pytest.mark.parametrize(
    "change",
    [{"layout": "x" * 769}, {"feed": "x" * 33}, {"ring": "x" * 65}, {"record_bytes": 65}],
    ids=lambda change: next(iter(change)),
)
def test_header_that_does_not_fit(change):
    with pytest.raises(ValueError, match=r"too long|multiple of 64"):
        layout.encode_header(replace(HEADER, **change))


def a_block(flags, n, first):
    last = {0: first + n - 1, BlockFlag.INSTRUMENTS: first - 1, BlockFlag.LAPPED: first + 5}[flags]
    return Block(int(flags), n, 1, first, last, -5, 2**64 - 1, 17)


@pytest.mark.parametrize(
    "block",
    [
        a_block(0, 1, 1),
        a_block(0, layout.MAX_BLOCK_RECORDS, 2**63),
        a_block(BlockFlag.INSTRUMENTS, 3, 1),
        a_block(BlockFlag.LAPPED, 0, 9),
        a_block(BlockFlag.LAPPED, 1, 9),
    ],
)
def test_block_header_comes_back_and_every_bit_is_guarded(block):
    raw = bytearray(layout.BLOCK_BYTES)
    layout.encode_block(raw, 7, block)
    assert layout.decode_block(memoryview(raw), 0, 7) == block
    assert layout.decode_block(memoryview(raw), 0, 8) is None  # of another segment
    for at in range(len(raw)):
        bad = bytearray(raw)
        bad[at] ^= 1 << at % 8
        assert layout.decode_block(memoryview(bad), 0, 7) is None
        assert layout.fault_of(memoryview(bad), 0, 7)


@pytest.mark.parametrize(
    "block",
    [
        replace(a_block(0, 5, 1), last=6),
        replace(a_block(0, 5, 1), n=0, last=0),
        replace(a_block(0, 5, 1), n=layout.MAX_BLOCK_RECORDS + 1, last=layout.MAX_BLOCK_RECORDS + 1),
        replace(a_block(BlockFlag.INSTRUMENTS, 3, 1), last=1),
        replace(a_block(BlockFlag.LAPPED, 1, 9), n=2),
        replace(a_block(BlockFlag.LAPPED, 1, 9), last=8),
        replace(a_block(BlockFlag.LAPPED, 1, 9), flags=3),
        replace(a_block(0, 5, 1), flags=4),
    ],
)  # fmt: skip
def test_block_header_that_contradicts_itself_is_none(block):
    raw = bytearray(layout.BLOCK_BYTES)
    layout.encode_block(raw, 7, block)
    assert layout.decode_block(memoryview(raw), 0, 7) is None
    assert "contradicts itself" in layout.fault_of(memoryview(raw), 0, 7)


@given(st.binary(max_size=200), st.integers(0, 200), U64)
def test_no_bytes_make_a_decoder_raise(raw, at, number):
    assert layout.decode_block(memoryview(raw), at, number) is None
    assert layout.fault_of(memoryview(raw), at, number)
    assert layout.decode_header(raw) is None
    assert layout.header_version(raw) is None


def test_faults_have_words():
    raw = memoryview(bytes(64))
    assert layout.fault_of(raw, 0, 1) == "zeros where a block should begin"
    assert layout.fault_of(raw[:10], 0, 1) == "the segment ends in a block header"
    assert layout.fault_of(memoryview(b"x" * 64), 0, 1) == "no block begins here"


@given(
    numbers=st.tuples(
        U32, U64, U32, U32, *[st.integers(-(2**63), 2**63 - 1)] * 3
    ),
    texts=st.tuples(
        *[
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).filter(
                lambda text, n=n: len(text.encode()) <= n
            )
            for n in (8, 24, 31, 71, 71)
        ]
    ),
    index=U32,
)  # fmt: skip
def test_instrument_comes_back(numbers, texts, index):
    raw = layout.encode_entry(index, (*numbers, *texts))
    assert len(raw) == layout.ENTRY_BYTES
    assert layout.decode_entry(raw) == (index, (*numbers, *texts))


def test_file_names_sort_as_the_numbers_do(tmp_path):
    for number in (10, 9, 2**33, 1):
        (tmp_path / segment_file_name(number, 2, 5)).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "1-1-1.mdj").touch()
    found = list_segments(tmp_path)
    assert [name.number for name in found] == [1, 9, 10, 2**33]
    assert found[0] == SegmentName(1, 2, 5, tmp_path / "0000000001-2-5.mdj")
    assert list_segments(tmp_path / "none") == []


def test_table_shows_additions_changes_and_holes_to_instruments():
    table = Table()
    names = Instruments(table, "feed")
    assert table.put(0, entry(1, "A")) is not None
    assert table.put(0, entry(1, "A")) is None
    assert names.symbol(1) == "A"
    table.put(3, entry(4, "D"))  # whose places before could not be read
    table.put(0, entry(1, "B"))
    names.refresh()
    assert (names.symbol(1), names.symbol(4), len(names)) == ("B", "D", 2)
    table.put(1, entry(2, "C"))
    names.refresh()
    assert names.symbol(2) == "C"


def test_layout_of_the_files_is_told_as_it_is():
    """The offsets in the module's first lines are those of the structures."""
    text = Path(layout.__file__).read_text().split('"""')[1]
    block = text.split("Block header")[1]
    told = dict(re.findall(r"(\d+) [\w]+ +(\w+)", block))
    assert told["0"] == "magic"
    assert told["16"] == "first"
    assert told["24"] == "last"
    assert told["48"] == "durable_seq"
