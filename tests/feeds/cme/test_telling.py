"""Sentences about a channel: at once, and then not a thousand times."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from mdfeedd.feeds.cme.lines import Line
from mdfeedd.feeds.cme.telling import EPISODE_S, OF_A_RECORDING, ROUTINE, SENTENCES, Teller

LINES = {4: Line(310, "snapshot", "224.0.31.22", 14310, "A")}


def event(code="GAP", channel=310, *, line=4, first=5, last=9, security_id=118):
    return SimpleNamespace(
        code=SimpleNamespace(name=code),
        channel=channel,
        line=line,
        first=first,
        last=last,
        security_id=security_id,
        time_ns=0,
    )


@pytest.fixture
def teller():
    def name(channel, security_id):
        return f"ESU6 ({security_id})"

    return Teller({310: "Equity Futures"}, LINES, name, logging.getLogger("test.telling"))


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "test.telling")
    return lambda: [record.getMessage() for record in caplog.records]


def test_sentence_names_channel_packets_and_consequence(teller, said, caplog):
    teller.tell(event(), 0.0)
    (sentence,) = said()
    assert sentence == (
        "channel 310 (Equity Futures): packets 5 to 9 (5) are lost on all lines; what they may have"
        " changed is flagged STALE until it is proven right"
    )
    assert caplog.records[0].levelno == logging.WARNING


def test_line_and_instrument_are_named(teller, said, caplog):
    teller.tell(event("MISPLACED", channel=7), 0.0)
    teller.tell(event("CROSSED"), 0.0)
    teller.tell(event("RECOVERED"), 0.0)
    misplaced, crossed, _ = said()
    assert misplaced.startswith("channel 7: line 310 snapshot A 224.0.31.22:14310 brings packets")
    assert "the book of ESU6 (118) is crossed" in crossed
    assert caplog.records[-1].levelno == logging.INFO


def test_thousand_losses_are_two_lines(teller, said):
    for n in range(1000):
        teller.tell(event(first=n, last=n), n / 1000)
        teller.settle(n / 1000)
    assert len(said()) == 1
    teller.settle(EPISODE_S)
    assert len(said()) == 2
    assert said()[1].startswith("channel 310 (Equity Futures): packets 999 to 999 (1) are lost")
    assert said()[1].endswith("(the last of 999 such in 10 s, of 999 packets in all)")


def test_episode_that_goes_on_is_told_every_ten_seconds(teller, said):
    for n in range(100):
        teller.tell(event(), n / 2)
        teller.settle(n / 2)
    assert len(said()) == 1 + int(99 / 2 / EPISODE_S)


def test_channels_and_kinds_have_episodes_of_their_own(teller, said):
    for channel in (310, 311):
        for code in ("GAP", "RECOVERED", "GAP"):
            teller.tell(event(code, channel), 0.0)
    assert len(said()) == 4
    teller.finish()
    assert len(said()) == 6


def test_what_is_left_at_the_end_does_not_claim_a_time(teller, said):
    for n in range(4):
        teller.tell(event(first=n), 0.0)
    teller.finish()
    assert said()[1].endswith("(the last of 3 such, of 24 packets in all)")
    teller.finish()
    assert len(said()) == 2


def test_a_recording_has_no_network_to_look_after(said):
    teller = Teller({}, LINES, str, logging.getLogger("test.telling"), OF_A_RECORDING)
    teller.tell(event("SILENT", first=36_000_000_000, security_id=0), 0.0)
    assert said() == [
        "channel 310: nothing was recorded for 36 s, no heartbeat either: what is shown may be old"
    ]
    assert set(OF_A_RECORDING) == set(SENTENCES)


def test_new_code_is_told_nevertheless(teller, said):
    teller.tell(event("SOMETHING_NEW"), 0.0)
    assert said() == ["channel 310 (Equity Futures): SOMETHING_NEW (first 5, last 9, ESU6 (118))"]


def test_every_event_of_the_codec_has_a_sentence():
    from mdfeedd.feeds.cme.codec import EventCode

    assert {code.name for code in EventCode} == set(SENTENCES)
    assert set(SENTENCES) > ROUTINE
