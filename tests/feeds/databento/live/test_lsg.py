"""Control lines: whatever their order, keys and cuts, they mean the same, or end the session in one sentence."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdfeedd.feeds.databento.session.ending import Ending, SessionEnd
from mdfeedd.feeds.databento.session.key import Key
from mdfeedd.feeds.databento.session.lsg import (
    MAX_LINE_BYTES,
    MAX_LINES,
    SYMBOLS_PER_LINE,
    Greeting,
    Handshake,
    Request,
    Stage,
    parse_line,
    subscription_lines,
)

KEY = "db-0123456789abcdefghijklmnopqrs"
GREETING = Greeting("GLBX.MDP3", "test/1")
USUAL = b"lsg_version=0.9.4\ncram=abc\nsuccess=1|session_id=1760000001\n"


def handshake(greeting=GREETING):
    return Handshake(greeting, Key(KEY, "test"))


def talk(data, pieces=None):
    one = handshake()
    sent = b"".join(one.receive(piece) for piece in ([data] if pieces is None else pieces))
    return one, sent


def answer_to(challenge):
    digest = hashlib.sha256(f"{challenge}|{KEY}".encode()).hexdigest()
    return f"{digest}-{KEY[-5:]}"


def fields_of(line):
    return dict(part.split("=", 1) for part in line.decode().rstrip("\n").split("|"))


def ends(data, words, ending=Ending.MALFORMED):
    with pytest.raises(SessionEnd, match=words) as caught:
        talk(data)
    assert caught.value.ending is ending
    return str(caught.value)


def test_usual_handshake():
    one, sent = talk(USUAL)
    assert one.stage is Stage.READY
    assert (one.lsg_version, one.session_id, one.surplus) == ("0.9.4", "1760000001", b"")
    assert sent.count(b"\n") == 1
    assert sent.endswith(b"\n")
    assert fields_of(sent) == {
        "auth": answer_to("abc"),
        "dataset": "GLBX.MDP3",
        "encoding": "dbn",
        "ts_out": "0",
        "compression": "none",
        "heartbeat_interval_s": "30",
        "slow_reader_behavior": "warn",
        "client": "test/1",
    }


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"ts_out": True}, {"ts_out": "1"}),
        ({"encoding": "json"}, {"encoding": "json"}),
        ({"compression": "zstd"}, {"compression": "zstd"}),
        ({"heartbeat_s": 5}, {"heartbeat_interval_s": "5"}),
        ({"slow_reader": "skip"}, {"slow_reader_behavior": "skip"}),
        ({"dataset": "XNAS.ITCH"}, {"dataset": "XNAS.ITCH"}),
    ],
)
def test_what_we_want_is_said(changed, told):
    one = handshake(dataclasses.replace(GREETING, **changed))
    sent = fields_of(one.receive(USUAL))
    assert {key: sent[key] for key in told} == told


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="|\n\r", exclude_categories=["Cs"]), max_size=80))
def test_digest_of_any_challenge(challenge):
    one = handshake()
    sent = one.receive(f"lsg_version=1\ncram={challenge}\n".encode())
    assert fields_of(sent)["auth"] == answer_to(challenge)
    assert KEY.encode() not in sent


def lines_in_all_orders():
    answer = ["success=1", "session_id=7", "unknown=x", "empty="]
    for parts in itertools.permutations(answer):
        yield "lsg_version=0.9.4\ncram=abc\n" + "|".join(parts) + "\n"
    for parts in itertools.permutations(["cram=abc", "lsg_version=0.9.4", "k=v=w"]):
        yield "|".join(parts) + "\nsuccess=1|session_id=7\n"


@pytest.mark.parametrize("bar", ["", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_order_of_keys_unknown_keys_and_a_bar_at_the_end_mean_nothing(bar, end):
    for text in lines_in_all_orders():
        one, sent = talk(text.replace("\n", bar + end).encode())
        assert one.stage is Stage.READY, text
        assert (one.lsg_version, one.session_id) == ("0.9.4", "7")
        assert fields_of(sent)["auth"] == answer_to("abc")


def test_lines_with_nothing_for_us_are_passed_over():
    one, sent = talk(b"hello=1\nlsg_version=9\nmotd=x\ncram=abc\nwait=1\nsuccess=1\n")
    assert (one.stage, one.lsg_version, one.session_id) == (Stage.READY, "9", "")
    assert sent.count(b"\n") == 1


def test_challenge_without_a_greeting():
    one, sent = talk(b"cram=abc\nsuccess=1\n")
    assert (one.stage, one.lsg_version) == (Stage.READY, "")
    assert fields_of(sent)["auth"] == answer_to("abc")


def test_success_before_we_authenticated_is_no_success():
    one, sent = talk(b"lsg_version=1\nsuccess=1|session_id=7\n")
    assert one.stage is Stage.CHALLENGE
    assert not sent


def test_second_challenge_is_not_answered():
    one, sent = talk(b"cram=abc\ncram=def\n")
    assert one.stage is Stage.ANSWER
    assert sent.count(b"\n") == 1


def test_success_that_is_neither_0_nor_1():
    ends(b"cram=abc\nsuccess=2\n", "success='2'")


@pytest.mark.parametrize("before", [b"", b"lsg_version=1\n", b"cram=abc\n"])
def test_refusal_at_every_stage(before):
    text = ends(before + b"success=0|error=Authentication failed.\n", "refused", Ending.KEY)
    assert text == "refused: Authentication failed."
    ends(before + b"success=0\n", "refused: no reason given", Ending.REFUSED)


@settings(deadline=None)
@given(st.data())
def test_cut_anywhere_and_with_records_after_it(data):
    surplus = data.draw(st.binary(max_size=40))
    whole = USUAL + surplus
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))))
    pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]
    one, sent = talk(whole, pieces)
    assert (one.stage, one.session_id, one.surplus) == (Stage.READY, "1760000001", surplus)
    assert sent == talk(USUAL)[1]


def test_byte_by_byte():
    whole = USUAL + b"DBN\x03"
    one, sent = talk(whole, [whole[i : i + 1] for i in range(len(whole))])
    assert (one.stage, one.surplus) == (Stage.READY, b"DBN\x03")
    assert sent == talk(USUAL)[1]


def test_stream_after_ready_is_never_taken_for_lines():
    one, _ = talk(USUAL + b"x" * (2 * MAX_LINE_BYTES) + b"\nsuccess=0\n")
    assert one.stage is Stage.READY
    assert len(one.surplus) == 2 * MAX_LINE_BYTES + len(b"\nsuccess=0\n")


def test_longest_line_is_taken_and_a_longer_one_is_not():
    longest = b"k=" + b"v" * (MAX_LINE_BYTES - 2)
    one, _ = talk(longest + b"\n" + USUAL)
    assert one.stage is Stage.READY
    for tail in (b"\n", b""):  # told without waiting for an end that may never come
        ends(longest + b"v" + tail, f"a line of more than {MAX_LINE_BYTES} bytes")


def test_greeting_without_end():
    one, _ = talk(b"k=v\n" * (MAX_LINES - 3) + USUAL)
    assert one.stage is Stage.READY
    ends(b"k=v\n" * (MAX_LINES + 1), f"more than {MAX_LINES} lines of greeting")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\xff\xfe=1\n", "not UTF-8"),
        (b"lsg_version=\xc3\n", "not UTF-8"),
        (b"hello\n", "not key=value"),
        (b"a=1|b\n", "not key=value"),
        (b"=1\n", "not key=value"),
        (b"a=1||b=2\n", "not key=value"),
        (b"a=1||\n", "not key=value"),
        (b"\n", "not key=value"),
        (b"|\n", "not key=value"),
        (b"DBN\x03\x00\x00\n", "not key=value"),
    ],
)
def test_line_that_is_none(line, words):
    ends(line, words)
    ends(b"lsg_version=1\n" + line, words)


def test_error_about_a_line_is_short():
    assert len(ends(b"x" * 4000 + b"\n", "not key=value")) < 200
    assert len(ends(b"\xff" * 4000 + b"\n", "not UTF-8")) < 250


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="|=\n\r", exclude_categories=["Cs"]), min_size=1),
        st.text(st.characters(exclude_characters="|\n\r", exclude_categories=["Cs"])),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_what_is_joined_is_parsed(fields, bar):
    text = "|".join(f"{key}={value}" for key, value in fields.items()) + "|" * bar
    assert parse_line(text.encode()) == fields


# what we ask for


@settings(deadline=None)
@given(
    count=st.integers(1, 4 * SYMBOLS_PER_LINE),
    start_ns=st.none() | st.integers(0, 2**63 - 1),
    snapshot=st.booleans(),
)
def test_symbols_go_in_chunks_and_only_the_last_says_so(count, start_ns, snapshot):
    symbols = tuple(f"S{i}" for i in range(count))
    request = Request(5, "mbp-1", "raw_symbol", symbols, start_ns, snapshot)
    lines = list(subscription_lines([request]))
    told = [fields_of(line) for line in lines]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert tuple(s for one in told for s in one["symbols"].split(",")) == symbols
    assert all(one["symbols"].count(",") < SYMBOLS_PER_LINE for one in told)
    assert len(told) == -(-count // SYMBOLS_PER_LINE)
    assert [one["is_last"] for one in told] == ["0"] * (len(told) - 1) + ["1"]
    for one in told:
        wanted = {"schema": "mbp-1", "stype_in": "raw_symbol", "id": "5"}
        wanted["snapshot"] = str(int(snapshot))
        if start_ns is not None:
            wanted["start"] = str(start_ns)
        assert {k: v for k, v in one.items() if k not in ("symbols", "is_last")} == wanted


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1000, 1001])
def test_edges_of_chunks(count):
    request = Request(0, "trades", "parent", tuple(f"S{i}" for i in range(count)))
    sizes = [fields_of(line)["symbols"].count(",") + 1 for line in subscription_lines([request])]
    assert sizes == [500] * (count // 500) + [count % 500] * (count % 500 > 0)


def test_many_requests_keep_their_order_and_ids():
    requests = [Request(i, "mbo", "raw_symbol", ("A",) * 501, snapshot=True) for i in range(3)]
    told = [fields_of(line) for line in subscription_lines(requests)]
    assert [(one["id"], one["is_last"]) for one in told] == [
        (str(i), last) for i in range(3) for last in "01"
    ]
    assert "start" not in told[0]
