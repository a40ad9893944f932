"""Faults of a running session: what is said, what is lost, and how it is made good."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest

from mdfeedd.sim.bloomberg import ODDITIES, Fault, Script, VirtualClock, World
from mdfeedd.sim.bloomberg.content import Special, as_python
from mdfeedd.sim.bloomberg.events import Kind

from .conftest import ES, EUR, SPX, SPY, TOPICS, Desk, follow


def desk_with(*faults, topics=(ES, SPY), rate=1000.0, seconds=4.0, **options):
    world = World(5, TOPICS, rate=rate, script=Script(tuple(faults)), clock=VirtualClock())
    desk = Desk(world, **options).up()
    desk.subscribe(*topics)
    desk.run(seconds)
    return desk


def after(desk, name):
    at = desk.names().index(name)
    return [item for _, item in desk.events[at + 1 :]]


def test_disconnect_is_restored_by_the_sdk():
    desk = desk_with(Fault("disconnect", at_s=1.0, seconds=1.0), auto_restart=True)
    rest = after(desk, "SessionConnectionDown")
    assert [i.kind for i in rest[:2]] == ["SubscriptionStreamsDeactivated"] * 2
    assert rest[2].kind == "SessionConnectionUp"
    for cid in (0, 1):
        mine = [i for i in rest[2:] if i.cid == cid]
        assert [i.kind for i in mine[:2]] == ["SubscriptionStreamsActivated", "MarketDataEvents"]
        assert mine[1].recap == 2
        assert len(mine) > 3
    assert desk.core.account.counts["lost"] > 10
    assert all(one.clean for one in follow(desk.events).values())


def test_disconnect_without_restart_is_the_end():
    desk = desk_with(Fault("disconnect", at_s=1.0))
    assert [i.kind for i in after(desk, "SessionConnectionDown")] == ["SessionTerminated"]
    assert desk.core.state == "ended"


def test_restart_that_is_given_up():
    faults = Fault("disconnect", at_s=1.0, seconds=3.0), Fault("terminated", at_s=2.0)
    desk = desk_with(*faults, auto_restart=True)
    names = [i.kind for i in after(desk, "SessionConnectionDown")]
    assert names == ["SubscriptionStreamsDeactivated"] * 2 + ["SessionTerminated"]


def test_subscription_while_the_connection_is_down_waits():
    world = World(
        5, TOPICS, script=Script((Fault("disconnect", seconds=2.0),)), clock=VirtualClock()
    )
    desk = Desk(world, auto_restart=True)
    desk.core.start(desk.now)
    desk.run(0.1)
    assert desk.core.state == "down"
    desk.subscribe(ES)
    desk.run(1.5)
    assert desk.of("SubscriptionStarted") == []
    desk.run(1.5)
    assert desk.data()[0].recap == 1


def test_session_terminated():
    desk = desk_with(Fault("terminated", at_s=1.0))
    assert desk.names()[-2:] == ["SessionConnectionDown", "SessionTerminated"]
    assert desk.core.account.ended == "terminated"
    assert desk.run(2) == []


def test_identity_revoked():
    desk = desk_with(Fault("revoked", at_s=1.0), has_identity=True, identity_cid=4)
    assert desk.names()[-3:] == [
        "AuthorizationRevoked",
        "SessionConnectionDown",
        "SessionTerminated",
    ]
    reason = desk.of("SessionTerminated")[0].content["reason"]
    assert reason["category"] == "NOT_AUTHORIZED"
    plain = desk_with(Fault("revoked", at_s=1.0))
    assert plain.of("AuthorizationRevoked") == []
    assert plain.core.state == "ended"


def test_data_loss_says_whose_and_how_many():
    desk = desk_with(Fault("data_loss", topic=ES, at_s=1.0, count=17))
    (loss,) = desk.of("DataLoss")
    assert (loss.cid, loss.content["numMessagesDropped"]) == (0, 17)
    lost = desk.core.account.lost
    assert {sent.topic for sent in lost} == {ES}
    assert len(lost) == 17
    before = [i for i in desk.data(0) if i.sent.number < lost[0].number]
    behind = [i for i in desk.data(0) if i.sent.number > lost[-1].number]
    assert len(before) + len(behind) == len(desk.data(0))
    order = [item for _, item in desk.events]
    assert order.index(before[-1]) < order.index(loss) < order.index(behind[0])


def test_loss_told_in_the_data():
    desk = desk_with(Fault("summary_loss", topic=ES, at_s=1.0, count=9))
    told = [i for i in desk.data(0) if i.content["MKTDATA_EVENT_SUBTYPE"] == "DATALOSS"]
    assert len(told) == 1
    assert desk.core.account.counts["lost"] == 9
    assert desk.of("DataLoss") == []


@pytest.mark.parametrize("recap", [True, False])
def test_streams_deactivated_and_activated(recap):
    desk = desk_with(Fault("streams", topic=ES, at_s=1.0, seconds=1.0, recap=recap))
    rest = [i for i in after(desk, "SubscriptionStreamsDeactivated") if i.cid == 0]
    assert rest[0].kind == "SubscriptionStreamsActivated"
    assert rest[0].content["streams"][0]["endpoint"] == {"address": "127.0.0.1:8194"}
    assert rest[1].recap == (2 if recap else 0)
    assert follow(desk.events)[0].clean is recap
    assert follow(desk.events)[1].clean


def test_stream_that_is_held_twice_comes_back_once():
    streams = Fault("streams", topic=ES, at_s=1.0, seconds=2.0)
    desk = desk_with(streams, Fault("disconnect", at_s=1.5, seconds=0.5), auto_restart=True)
    assert [i.cid for i in desk.of("SubscriptionStreamsActivated")] == [0, 1, 0, 1, 0]
    up_at = desk.names().index("SessionConnectionUp", 1)
    rest = [item for _, item in desk.events[up_at:] if item.cid == 0]
    assert [i.kind for i in rest[:3]] == [
        "SubscriptionStreamsActivated",
        "SubscriptionStreamsActivated",
        "MarketDataEvents",
    ]
    assert rest[2].recap == 2
    assert follow(desk.events)[0].clean


def test_service_down_and_up():
    world = World(
        5, TOPICS, script=Script((Fault("service_down", at_s=1.0),)), clock=VirtualClock()
    )
    desk = Desk(world).up()
    desk.core.open_service("//blp/mktdata", None, desk.now)
    desk.subscribe(ES)
    desk.run(4)
    kinds = [i.kind for k, i in desk.events if k == Kind.SERVICE_STATUS]
    assert kinds == ["ServiceOpened", "ServiceDown", "ServiceUp"]
    assert follow(desk.events)[0].clean


def test_topic_ended_by_the_service():
    desk = desk_with(Fault("ended", topic=ES, at_s=1.0, category="NOT_ENTITLED"))
    (ended,) = desk.of("SubscriptionTerminated")
    assert ended.content["reason"]["category"] == "NOT_ENTITLED"
    assert [i for i in after(desk, "SubscriptionTerminated") if i.cid == 0] == []
    assert desk.subscribe(ES) == []


def test_silence_of_one_topic_loses_nothing():
    desk = desk_with(Fault("silence", topic=ES, at_s=1.0, seconds=2.0))
    times = [i.sent.due_ns for i in desk.data(0)]
    gap = max(b - a for a, b in itertools.pairwise(times))
    assert gap >= 1_900_000_000
    assert desk.core.account.counts["lost"] == 0
    assert follow(desk.events)[0].agrees(desk.world.touch(ES))


def test_slow_consumer_without_loss():
    desk = desk_with(Fault("slow_consumer", at_s=1.0))
    assert len(desk.of("SlowConsumerWarning")) == 1
    assert desk.of("SlowConsumerWarningCleared")[0].content == {"eventsDropped": 0}


def test_slow_consumer_loses_and_is_told_the_sum():
    desk = desk_with(seconds=1.0, queue_limit=200)
    desk.run(3.0, take=False)
    assert len(desk.core.queue) <= 202
    desk.drain()
    dropped = desk.core.account.dropped
    told = {i.cid: i.content["numMessagesDropped"] for i in desk.of("DataLoss")}
    assert told == {cid: sum(s.cid == cid for s in dropped) for cid in (0, 1)}
    assert min(told.values()) > 100
    assert len(desk.of("SlowConsumerWarning")) == 1
    (cleared,) = desk.of("SlowConsumerWarningCleared")
    assert 0 < cleared.content["eventsDropped"] <= len(dropped)
    assert not any(one.clean for one in follow(desk.events).values())


def test_fault_after_so_many_messages():
    desk = desk_with(Fault("ended", topic=ES, after_messages=100))
    place = [i.sent.number for _, i in desk.events if i.sent]
    first = after(desk, "SubscriptionTerminated")[0].sent.number
    assert place.index(first) in range(99, 110)


@pytest.mark.parametrize("name", sorted(ODDITIES))
def test_oddity_comes_as_described(name):
    desk = desk_with(Fault("odd", topic=ES, at_s=1.0, text=name), topics=(ES, SPX), rate=300.0)
    assert desk.core.account.faults == ["odd"]
    kinds = ("MKTDATA_EVENT_TYPE", "MKTDATA_EVENT_SUBTYPE")
    found = [i for i in desk.data(0) if EXPECTED[name](i.content)]
    if name == "recap":
        found = [i for i in found if i.recap == 2]
    assert len(found) == 1, [tuple(i.content[k] for k in kinds) for i in desk.data(0)][:20]
    assert follow(desk.events)[0].agrees(desk.world.touch(ES))


def subtype(name):
    return lambda content: content["MKTDATA_EVENT_SUBTYPE"] == name


EXPECTED = {
    "null_bid": lambda c: "BID" in c and c["BID"] is None,
    "null_ask": lambda c: "ASK" in c and c["ASK"] is None,
    "zero_bid": lambda c: c.get("BID") == 0.0 and c["BID_SIZE"] is None,
    "correct": subtype("CORRECT"),
    "cancel": subtype("CANCEL"),
    "no_price": lambda c: c["MKTDATA_EVENT_TYPE"] == "TRADE" and "LAST_PRICE" not in c,
    "unknown_type": lambda c: c["MKTDATA_EVENT_TYPE"] == "PROPHECY",
    "unknown_subtype": subtype("QUOTED_ELSEWHERE"),
    "mid": subtype("MID"),
    "paired": lambda c: c["MKTDATA_EVENT_SUBTYPE"] == "PAIRED" and {"BID", "ASK"} <= set(c),
    "decimal": lambda c: isinstance(c.get("THEO_PRICE"), Decimal),
    "null_sequence": lambda c: c.get("TRADE_DETAILS_RT") is Special.NULL_SEQUENCE,
    "no_parts": lambda c: c.get("TRADE_UPDATE_STAMP_RT") is Special.NO_PARTS,
    "time_only": lambda c: (
        c["MKTDATA_EVENT_TYPE"] == "TRADE" and "BLOOMBERG_EVENT_TIME_RT" not in c
    ),
    "negative": lambda c: (c.get("LAST_PRICE") or 0) < 0,
    "huge_size": lambda c: (c.get("SIZE_LAST_TRADE") or 0) > 2**32,
    "newday": subtype("NEWDAY"),
    "intraday": subtype("INTRADAY"),
    "recap": subtype("INITPAINT"),
}


def test_oddity_that_an_index_cannot_have_is_left_out():
    desk = desk_with(Fault("odd", topic=SPX, at_s=1.0, text="null_bid"), topics=(SPX,))
    assert not [i for i in desk.data(0) if "BID" in i.content]


def test_natural_oddities_follow_from_the_seed():
    def play():
        desk = Desk(World(5, TOPICS, oddities=0.05, clock=VirtualClock())).up()
        desk.subscribe(*TOPICS)
        desk.run(5)
        return [(i.cid, i.content) for _, i in desk.events if i.sent]

    first = play()
    assert first == play()
    assert {c["MKTDATA_EVENT_SUBTYPE"] for _, c in first} >= {"MID", "CORRECT", "NEWDAY", "PAIRED"}


def test_forms_of_to_py():
    content = {"a": Special.NULL_SEQUENCE, "b": Special.NO_PARTS, "c": [{"d": None}], "e": 1.5}
    assert as_python(content) == {"a": {}, "b": None, "c": [{"d": None}], "e": 1.5}
    with pytest.raises(Exception, match="DECIMAL") as caught:
        as_python({"a": [Decimal(1)]})
    assert type(caught.value) is Exception


def test_seed_and_not_the_steps_decide_what_is_sent():
    def play(step_ms):
        desk = Desk(World(9, TOPICS, oddities=0.01, clock=VirtualClock())).up()
        desk.subscribe(*TOPICS)
        desk.run(3, step_ms)
        return [(i.cid, i.recap, i.content, i.sent.number) for _, i in desk.events if i.sent]

    assert play(1.0) == play(7.0)


def test_two_sessions_see_one_market():
    world = World(9, TOPICS, clock=VirtualClock())
    one, two = Desk(world).up(), Desk(world).up()
    for desk in (one, two):
        desk.now = max(one.now, two.now)
        desk.subscribe(EUR)
    for _ in range(300):
        one.run(0.01, 10)
        two.run(0.01, 10)
    mine = [i.content for i in one.data() if not i.recap]
    theirs = [i.content for i in two.data() if not i.recap]
    assert len(mine) > 50
    assert mine[-50:] == theirs[-50:]
    assert [account.number for account in world.sessions] == [0, 1]
