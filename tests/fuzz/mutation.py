"""Bytes changed by chance, from one seed: what a fuzzer without coverage does."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANGES = 8
USUAL = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\n",
    b"\r\n",
    b"\xff" * 8,
    b"\x00" * 8,
    b"\xc3",
    b"\xed\xa0\x80",
)


def mutated(seed: str, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """One of `seeds` with some of its bytes changed, left out, put in, or taken from another; `words` are put in, too."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(seeds))
    tokens = (*words, *USUAL)
    for _ in range(rng.randrange(CHANGES)):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(7)
        if how == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif how == 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            data[at:at] = rng.choice(tokens)
        elif how == 3:
            del data[at : at + rng.randrange(1, 9)]
        elif how == 4:
            token = rng.choice(tokens)
            data[at : at + len(token)] = token
        elif how == 5:
            other = rng.choice(seeds)
            start = rng.randrange(len(other) + 1)
            data[at : at + rng.randrange(9)] = other[start : start + rng.randrange(64)]
        else:
            data[at:at] = data[at : at + rng.randrange(40)] * rng.choice((1, 1, 2, 50))
    return bytes(data)
