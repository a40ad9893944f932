"""Subscription strings, and the instruments behind topics."""

from __future__ import annotations

import pytest

from mdfeedd.sim.bloomberg.topics import MKTDATA, BadTopic, parse, topics


def parsed(text):
    return parse(text, MKTDATA, "/ticker/")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("IBM US Equity", "IBM US Equity"),
        ("/ticker/IBM US Equity", "IBM US Equity"),
        ("//blp/mktdata/ticker/IBM US Equity", "IBM US Equity"),
        ("//blp/mktdata/IBM US Equity", "IBM US Equity"),
        ("/isin/US0378331005@UW", "/isin/US0378331005@UW"),
    ],
)
def test_ways_to_write_a_topic(text, name):
    assert (parsed(text).service, parsed(text).name) == (MKTDATA, name)


def test_another_service_fields_and_options():
    request = parsed("//blp/mktdepth/ticker/IBM US Equity?fields=BID,ASK&interval=2.5&delayed")
    assert request.service == "//blp/mktdepth"
    assert request.fields == ("BID", "ASK")
    assert request.options == {"interval": "2.5", "delayed": None}


@pytest.mark.parametrize(
    "text", ["", "  ", "?fields=BID", "//blp", "//blp/mktdata", "A\x00 Equity", "a?=1"]
)
def test_string_that_is_no_subscription(text):
    with pytest.raises(BadTopic):
        parsed(text)


def test_kinds_of_instruments():
    names = ("ESZ6 Index", "SPX Index", "CLF7 Comdty", "IBM US Equity", "EURUSD Curncy")
    found = topics(names)
    assert [t.kind for t in found] == ["future", "index", "future", "equity", "fx"]
    weights = [t.listing.weight for t in found]
    assert weights == sorted(weights, reverse=True)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ((), "topics: must be 1 to"),
        (("ESZ6 Index", "ESZ6 Index"), "topics: one is named twice"),
        (("ESZ6",), "does not end with one of"),
        (("ESZ6 Future",), "does not end with one of"),
    ],
)
def test_topics_that_make_no_world(names, why):
    with pytest.raises(ValueError, match=why):
        topics(names)
