"""Control lines from hell: whatever comes, the handshake goes on or ends the session, and nothing else is raised."""

from __future__ import annotations

import os
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdfeedd.feeds.databento.session.ending import SessionEnd, refusal
from mdfeedd.feeds.databento.session.key import Key
from mdfeedd.feeds.databento.session.lsg import (
    MAX_LINE_BYTES,
    Greeting,
    Handshake,
    Stage,
    parse_line,
)
from mdfeedd.sim.databento import KEY

SECONDS = float(os.environ.get("MDFEEDD_FUZZ_SECONDS", "3")) / 2
SEED = int(os.environ.get("MDFEEDD_FUZZ_SEED", "1"))
GREETING = Greeting("GLBX.MDP3", "fuzz")
SAMPLES = (
    b"lsg_version=0.9.4\ncram=0123456789abcdef\nsuccess=1|session_id=1760000001\nDBN\x03",
    b"lsg_version=0.9.4|cram=abc|\r\nsuccess=0|error=Authentication failed.\n",
    b"cram=abc\nmotd=hello=world|x=\nsuccess=1\n" + bytes(range(256)),
    b"success=1\nsuccess=0\ncram=\xc3\xa9\nsuccess=2\n",
)
PIECES = (
    b"|",
    b"=",
    b"\n",
    b"\r",
    b"||",
    b"\n\n",
    b"success=",
    b"cram=",
    b"\xff",
    b"\x00",
    b"0",
    b"1",
    b"\xc3",
)


def mutated(rng):
    data = bytearray(rng.choice(SAMPLES))
    for _ in range(rng.randrange(8)):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(5)
        if how == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif how == 1:
            data[at:at] = rng.choice(PIECES)
        elif how == 2:
            del data[at : at + rng.randrange(6)]
        elif how == 3:
            data[at:at] = data[at : at + rng.randrange(40)]
        else:
            data[at:at] = rng.choice(PIECES) * rng.choice((2, 70, MAX_LINE_BYTES))
    return bytes(data)


def play(data, cut):
    """Give the bytes in pieces; returns the handshake, or the end that came of it."""
    one = Handshake(GREETING, Key(KEY, "fuzz"))
    sent = b""
    at = 0
    try:
        while at < len(data):
            size = cut()
            sent += one.receive(data[at : at + size])
            at += size
    except SessionEnd as end:
        told = str(end)
    else:
        told = ""
    assert KEY not in told
    assert len(told) < 500
    assert told.isprintable()
    assert KEY.encode() not in sent
    assert sent.count(b"\n") == sent.count(b"auth=") <= 1
    assert told or one.stage is Stage.READY or len(one.surplus) <= MAX_LINE_BYTES
    return (told, b"") if told else (one.stage, sent)  # the end of a session sends nothing any more


def test_mutated_handshakes():
    end_s = time.monotonic() + SECONDS
    rounds, ready = 0, 0
    while time.monotonic() < end_s or rounds < 500:
        rng = random.Random(f"lines {SEED} {rounds}")
        data = mutated(rng)
        try:
            whole = play(data, lambda data=data: max(1, len(data)))
            most = rng.choice((1, 7, 4000)) if len(data) < 3000 else 4000
            cut = play(data, lambda rng=rng, most=most: rng.randint(1, most))
            assert cut == whole  # where it is cut means nothing
        except BaseException as error:
            error.add_note(f"MDFEEDD_FUZZ_SEED={SEED}, round {rounds}: {data[:200]!r}")
            raise
        ready += whole[0] is Stage.READY
        rounds += 1
    assert ready > rounds // 50


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes(data, size):
    assert play(data, lambda: size) == play(data, lambda: max(1, len(data)))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200).filter(lambda line: b"\n" not in line))
def test_any_line(line):
    try:
        fields = parse_line(line)
    except SessionEnd:
        return
    assert fields
    assert all(isinstance(value, str) and "|" not in value for value in fields.values())
    assert "" not in fields


@settings(deadline=None)
@given(st.text())
def test_any_refusal(text):
    told = refusal(text * 1000).text
    assert told.startswith("refused: ")
    assert told.isprintable()
    assert len(told) < 500


@pytest.mark.parametrize("whole", SAMPLES)
def test_every_prefix(whole):
    for end in range(len(whole)):
        play(whole[:end], lambda: 5)
