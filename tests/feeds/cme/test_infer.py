"""Lines told from what they carry: CME's plan, other plans, and what is no line at all."""

from __future__ import annotations

import itertools
import random
import struct

import pytest

from mdfeedd.feeds.cme.infer import Seen, infer, line_of

SENDING = 1_700_000_000_000_000_000
INCREMENTAL, DEFINITION, SNAPSHOT, ORDERS = "incremental", "definition", "snapshot", "orders"
NO_TOTAL = 0xFFFFFFFF


def message(template, root=b"", schema=1):
    return struct.pack("<HHHHH", 10 + len(root), len(root), template, schema, 9) + root


def packet(seq, *messages, sending=None):
    return struct.pack("<IQ", seq, SENDING + seq if sending is None else sending) + b"".join(
        messages
    )


def definition(total=15):
    return message(54, struct.pack("<BIc", 0, total, b"A") + bytes(200))


def book():
    return message(46, bytes(11))


def stream(*messages, n=20, first=1, sending=SENDING):
    """Packets of one message each, the kinds taking turns."""
    kinds = itertools.cycle(messages)
    return [packet(first + i, next(kinds), sending=sending + first + i) for i in range(n)]


KINDS = {
    INCREMENTAL: [book(), message(12), message(30, bytes(30))],
    DEFINITION: [definition(), message(12)],
    SNAPSHOT: [message(52, bytes(59)), message(12)],
    ORDERS: [message(53, bytes(28)), message(52, bytes(59))],
}


def seen(address, port, payloads, packets=None):
    return Seen(address, port, len(payloads) if packets is None else packets, payloads)


def told(*places):
    found = infer(places)
    lines = [(one.channel, one.feed, one.side, one.address, one.port) for one in found.lines]
    return lines, [one.why for one in found.left_out]


@pytest.mark.parametrize("seed", range(5))
def test_two_channels_by_the_plan(seed):
    expected, places = [], []
    for channel, block in ((310, 0), (382, 60)):
        for k, feed in enumerate((INCREMENTAL, DEFINITION, SNAPSHOT, ORDERS)):
            for side, octet in (("A", 31), ("B", 32)):
                thousand = {"A": 14, "B": 15}[side] if feed != ORDERS else {"A": 23, "B": 22}[side]
                line = (
                    channel,
                    feed,
                    side,
                    f"224.0.{octet}.{block + 20 * k + 1}",
                    thousand * 1000 + channel,
                )
                expected.append(line)
                places.append(seen(line[3], line[4], stream(*KINDS[feed])))
    random.Random(seed).shuffle(places)
    assert told(*places) == (expected, [])


@pytest.mark.parametrize(
    ("templates", "feed"),
    [
        ((32,), INCREMENTAL), ((42, 37, 35), INCREMENTAL), ((47,), INCREMENTAL), ((43,), INCREMENTAL),
        ((4,), INCREMENTAL), ((64, 65, 66, 67), INCREMENTAL), ((999,), INCREMENTAL), ((30,), INCREMENTAL),
        ((30, 12), INCREMENTAL), ((38,), SNAPSHOT), ((52, 12), SNAPSHOT), ((69,), SNAPSHOT),
        ((53,), ORDERS), ((44, 38), ORDERS), ((53, 52, 52, 52), ORDERS),
    ],
)  # fmt: skip
def test_templates_of_every_schema(templates, feed):
    payloads = stream(*(message(t, bytes(60)) for t in templates))
    lines, left = told(seen("224.0.31.1", 14310, payloads))
    assert [line[1] for line in lines] == [feed]
    assert not left


@pytest.mark.parametrize("template", [27, 29, 41, 54, 55, 56, 57, 58, 63])
def test_definitions_on_the_incremental_line_do_not_tell_their_number(template):
    for total, feed in ((15, DEFINITION), (NO_TOTAL, INCREMENTAL)):
        root = struct.pack("<BIc", 0, total, b"A") + bytes(180)
        lines, _ = told(seen("224.0.31.1", 14310, stream(message(template, root))))
        assert [line[1] for line in lines] == [feed]


def test_sunday_start_up_with_definitions_limits_and_statuses_on_the_incremental_line():
    incremental = stream(definition(NO_TOTAL), message(50, bytes(11)), message(30, bytes(30)))
    lines, left = told(
        seen("224.0.31.1", 14310, incremental), seen("224.0.31.43", 14310, stream(definition()))
    )
    assert [(line[1], line[3]) for line in lines] == [
        (INCREMENTAL, "224.0.31.1"),
        (DEFINITION, "224.0.31.43"),
    ]
    assert not left


def test_heartbeats_alone_are_the_incremental_line_only_if_there_is_no_other():
    quiet = stream(message(12))
    assert told(seen("224.0.31.1", 14310, quiet))[0][0][1] == INCREMENTAL
    lines, left = told(seen("224.0.31.22", 14310, quiet), seen("224.0.31.1", 14310, stream(book())))
    assert [line[3] for line in lines] == ["224.0.31.1"]
    assert left == ["nothing but heartbeats"]


def test_what_is_no_mdp3_is_left_out():
    junk = [bytes(range(100)), b"", b"x" * 11]
    wrong_schema = stream(message(46, bytes(11), schema=7))
    trailing = [p + b"\0" for p in stream(book())]
    places = [seen("239.0.0.1", 1234, junk), seen("239.0.0.2", 1234, wrong_schema)]
    places += [seen("239.0.0.3", 1234, trailing), seen("", 14310, stream(book()))]
    lines, left = told(*places, seen("224.0.31.1", 14310, [*stream(book()), b"damaged"]))
    assert [line[3] for line in lines] == ["224.0.31.1"]
    assert left == ["not CME's MDP 3.0"] * 4


@pytest.mark.parametrize("size", [0, 9, 11, 65535])
def test_message_of_a_size_that_cannot_be(size):
    bad = struct.pack("<HHHHH", size, 11, 46, 1, 9) + bytes(11)
    assert told(seen("224.0.31.1", 14310, [packet(1, bad)])) == ([], ["not CME's MDP 3.0"])


def test_second_destination_of_a_line_that_is_there_already():
    lines, left = told(
        seen("224.0.31.9", 14310, stream(book()), packets=10),
        seen("224.0.31.1", 14310, stream(book()), packets=1000),
    )
    assert [line[3] for line in lines] == ["224.0.31.1"]
    assert left == ["channel 310 has incremental lines already"]


# ------------------------------------------------------------------------------------- not by the plan


def test_channels_that_share_a_port_of_the_plan_are_not_mixed():
    """A line of a third channel besides is told as ever."""
    shared = [
        seen(f"224.0.31.{group}", 14310, stream(*KINDS[kind], first=1000 * group))
        for group, kind in enumerate((INCREMENTAL, INCREMENTAL, DEFINITION, SNAPSHOT), 1)
    ]
    lines, left_out = told(*shared, seen("224.0.31.9", 14318, stream(*KINDS[INCREMENTAL])))
    assert lines == [(318, INCREMENTAL, "A", "224.0.31.9", 14318)]
    assert left_out == ["several channels have port 14310: say the lines"] * 4


def test_stray_packets_of_another_group_do_not_share_a_port():
    lines, left_out = told(
        seen("224.0.31.1", 14310, stream(*KINDS[INCREMENTAL]), 1000),
        seen("224.0.31.2", 14310, stream(*KINDS[INCREMENTAL], first=5000), 20),
    )
    assert lines == [(310, INCREMENTAL, "A", "224.0.31.1", 14310)]
    assert left_out == ["channel 310 has incremental lines already"]


@pytest.mark.parametrize("seed", range(5))
def test_two_channels_on_other_ports_are_told_by_their_copies(seed):
    places = []
    for k, (a, b) in enumerate((("239.1.31.1", "239.1.32.1"), ("239.1.31.9", "239.1.32.9"))):
        payloads = stream(book(), first=1 + 1000 * k)
        places += [seen(a, 5000 + k, payloads), seen(b, 6000 + k, payloads[3:])]
        n = stream(definition(), first=1, sending=SENDING + 10**6 * k)
        places += [seen(a[:-1] + "7", 5000 + k, n), seen(b[:-1] + "7", 6000 + k, n)]
    order = list(range(8))
    random.Random(seed).shuffle(order)
    lines, left = told(*(places[i] for i in order))
    assert not left
    assert {(c, feed, side) for c, feed, side, *_ in lines} == {
        (c, feed, side) for c in (1, 2) for feed in (INCREMENTAL, DEFINITION) for side in "AB"
    }
    together = {frozenset(x[4] for x in lines if x[0] == c) for c in (1, 2)}
    assert together == {frozenset({5000, 6000}), frozenset({5001, 6001})}
    assert all((side == "A") == (port < 6000) for *_, side, _, port in lines)


def test_unicast_copies_are_sides_in_the_order_of_their_ports():
    payloads = stream(book())
    lines, left = told(
        seen("127.0.0.1", 9001, payloads),
        seen("127.0.0.1", 9002, payloads),
        seen("127.0.0.1", 9003, stream(message(52, bytes(59)))),
        seen("127.0.0.1", 9004, payloads),
    )
    assert lines == [
        (1, INCREMENTAL, "A", "127.0.0.1", 9001),
        (1, INCREMENTAL, "B", "127.0.0.1", 9002),
        (1, SNAPSHOT, "A", "127.0.0.1", 9003),
    ]
    assert left == ["channel 1 has incremental lines already"]


def test_snapshots_of_nobody_knows_which_of_two_channels():
    lines, left = told(
        seen("239.1.1.1", 5000, stream(book(), first=1)),
        seen("239.1.2.1", 5001, stream(book(), first=500)),
        seen("239.1.3.1", 5002, stream(message(52, bytes(59)))),
    )
    assert [line[0] for line in lines] == [1, 2]
    assert left == ["its channel cannot be told"]


def test_nothing_at_all():
    assert told() == ([], [])


@pytest.mark.parametrize("seed", range(30))
def test_hostile_payloads(seed):
    rng = random.Random(seed)
    places = []
    for k in range(20):
        payloads = [bytearray(p) for p in stream(book(), definition(), message(53, bytes(28)))]
        for p in payloads:
            for _ in range(rng.randrange(4)):
                p[rng.randrange(len(p))] = rng.randrange(256)
            del p[rng.randrange(len(p) + 1) or len(p) :]
        port = rng.choice([14310, 15310, 23310, 22310, 5000, rng.randrange(65536)])
        places.append(
            seen(f"224.0.{rng.choice([31, 32, 9])}.{k}", port or 1, [bytes(p) for p in payloads])
        )
    found = infer(places)
    assert len(found.lines) + len(found.left_out) == len(places)
    keys = [(line.channel, line.feed, line.side) for line in found.lines]
    assert len(set(keys)) == len(keys)


# ---------------------------------------------------------------------------------------------- by hand


def test_line_by_hand():
    line = line_of("310:SMBO:B=224.0.32.2:22310")
    assert (line.channel, line.feed, line.side, line.address, line.port) == (
        310, ORDERS, "B", "224.0.32.2", 22310,
    )  # fmt: skip
    assert line_of("1:i:A=127.0.0.1:1").feed == INCREMENTAL


@pytest.mark.parametrize(
    "text",
    ["", "310", "310:I:C=224.0.31.1:1", "310:X:A=224.0.31.1:1", "310:I:A=224.0.31.1", "x:I:A=224.0.31.1:1",
     "310:I:A=999.0.31.1:1", "310:I:A=224.0.31.1:0", "310:I:A=224.0.31.1:65536", "0:I:A=224.0.31.1:1"],
)  # fmt: skip
def test_line_by_hand_that_cannot_be(text):
    with pytest.raises(ValueError, match=r"CHANNEL:FEED:SIDE=GROUP:PORT|address|port|channel"):
        line_of(text)
