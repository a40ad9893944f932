"""A session's far side: the order of events, what is refused, and what becomes of subscriptions."""

from __future__ import annotations

import itertools

import pytest

from mdfeedd.sim.bloomberg import CATEGORIES, Fault, Misuse, Script, VirtualClock, World
from mdfeedd.sim.bloomberg.events import Kind

from .conftest import ES, EUR, SECOND, SPX, SPY, TOPICS, Desk


def world(*faults, **options):
    clock = VirtualClock()
    return World(3, TOPICS, script=Script(tuple(faults)), clock=clock, **options)


def test_start_is_two_events(desk):
    assert desk.names() == ["SessionConnectionUp", "SessionStarted"]
    assert desk.events[0][1].content["server"] == "127.0.0.1:8194"
    assert desk.events[1][1].content == {"initialEndpoints": [{"address": "127.0.0.1:8194"}]}


def test_start_with_an_identity():
    desk = Desk(has_identity=True, identity_cid=77).up()
    assert desk.names() == [
        "SessionConnectionUp",
        "TokenGenerationSuccess",
        "AuthorizationSuccess",
        "SessionStarted",
    ]
    assert desk.of("AuthorizationSuccess")[0].cid == 77


def test_identity_refused():
    desk = Desk(world(Fault("auth_refused")), has_identity=True)
    desk.core.start(desk.now)
    desk.run(1)
    assert desk.names()[-2:] == ["AuthorizationFailure", "SessionStartupFailure"]
    assert desk.core.state == "ended"
    assert Desk(world(Fault("auth_refused"))).up()


@pytest.mark.parametrize(("kind", "code"), [("refused", 9), ("closed", 3)])
def test_start_refused_or_closed_is_one_event(kind, code):
    desk = Desk(world(Fault(kind)))
    desk.core.start(desk.now)
    desk.run(10)
    assert desk.names() == ["SessionStartupFailure"]
    reason = desk.events[0][1].content["reason"]
    assert (reason["category"], reason["errorCode"]) == ("IO_ERROR", code)
    assert desk.core.state == "ended"


def test_attempts_to_start_are_three_seconds_apart():
    desk = Desk(world(Fault("refused")), start_attempts=3)
    desk.core.start(desk.now)
    desk.run(5.9)
    assert desk.names() == []
    desk.run(0.2)
    assert desk.names() == ["SessionStartupFailure"]


def test_later_session_starts():
    played = world(Fault("refused", 0))
    Desk(played).core.start(0)
    assert Desk(played).up().core.number == 1


def test_endpoints_are_tried_in_order():
    endpoints = (("a", 8194), ("b", 80), ("c", 8196), ("d", 8194))
    desk = Desk(world(hosts_down=("a",)), endpoints=endpoints).up()
    assert desk.core.server == "c:8196"
    assert len(desk.of("SessionStarted")[0].content["initialEndpoints"]) == 4


def test_session_starts_once(desk):
    with pytest.raises(Misuse, match="started already"):
        desk.core.start(desk.now)


def test_water_marks_are_compared_at_the_start():
    with pytest.raises(Misuse, match="low water mark") as caught:
        Desk(marks=(0.5, 0.5)).core.start(0)
    assert caught.value.code == 0x0002_0002


@pytest.mark.parametrize("call", ["subscribe", "unsubscribe", "resubscribe"])
def test_calls_before_the_start(call):
    core = Desk().core
    calls = {
        "subscribe": lambda: core.subscribe([], 0, individual=True),
        "unsubscribe": lambda: core.unsubscribe([1], 0),
        "resubscribe": lambda: core.resubscribe([], 0, 0, individual=True),
    }
    with pytest.raises(Misuse, match="not started") as caught:
        calls[call]()
    assert caught.value.code == 0x0001_0009


def test_stop_says_good_bye_and_no_more(desk):
    desk.subscribe(*TOPICS)
    desk.run(0.5, take=False)
    waiting = len(desk.core.queue)
    desk.core.stop()
    desk.events.clear()
    desk.run(5)
    assert desk.names() == ["SessionConnectionDown", "SessionTerminated"]
    assert desk.core.account.counts["discarded"] >= waiting - 12 > 0
    desk.core.stop()
    assert desk.run(1) == []


def test_stop_before_anything_is_silent():
    desk = Desk()
    desk.core.stop()
    assert desk.run(1) == []
    starting = Desk()
    starting.core.start(starting.now)
    starting.core.stop()
    assert starting.run(1) == []


def test_services(desk):
    desk.core.open_service("//blp/mktdata", 5, desk.now)
    desk.core.open_service("//blp/nothing", 6, desk.now)
    desk.run()
    assert [(i.kind, i.cid) for k, i in desk.events if k == Kind.SERVICE_STATUS] == [
        ("ServiceOpened", 5),
        ("ServiceOpenFailure", 6),
    ]
    assert desk.core.services == {"//blp/mktdata"}


def test_service_refused():
    desk = Desk(world(Fault("service_refused"))).up()
    desk.core.open_service("//blp/mktdata", 5, desk.now)
    desk.run()
    assert desk.names()[-1] == "ServiceOpenFailure"


# ----------------------------------------------------------------------------------------------- subscribing


def test_subscription_begins_with_two_statuses_and_an_image(desk):
    assert desk.subscribe(*TOPICS) == []
    desk.run(0.3)
    for cid, topic in enumerate(TOPICS):
        mine = [item for _, item in desk.events if item.cid == cid]
        assert [i.kind for i in mine[:3]] == [
            "SubscriptionStarted",
            "SubscriptionStreamsActivated",
            "MarketDataEvents",
        ]
        image = mine[2]
        assert (image.recap, image.fragment, image.topic) == (1, 0, topic)
        assert image.content["MKTDATA_EVENT_SUBTYPE"] == "INITPAINT"
        assert 80 <= len(image.content) <= 120
        assert all(i.recap == 0 for i in mine[3:])
        assert len(mine) > 4


def test_one_bad_topic_of_a_batch_fails_alone(desk):
    desk.subscribe(ES, "NOPE US Equity", SPY)
    desk.run(0.2)
    (failed,) = desk.of("SubscriptionFailure")
    assert failed.cid == 1
    assert failed.content["reason"]["category"] == "BAD_SEC"
    assert desk.data(0)
    assert desk.data(2)


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_refusal_by_category(category):
    desk = Desk(world(Fault("refuse", topic=SPY, category=category, count=2))).up()
    desk.subscribe(ES, SPY)
    desk.run()
    (failed,) = desk.of("SubscriptionFailure")
    reason = failed.content["reason"]
    assert (reason["category"], reason["errorCode"]) == (category, CATEGORIES[category])
    desk.subscribe(SPY, first=1)
    desk.run()
    assert len(desk.of("SubscriptionFailure")) == 2
    desk.subscribe(SPY, first=1)
    desk.run()
    assert len(desk.of("SubscriptionFailure")) == 2
    assert desk.data(1)


def test_rejected_fields_are_told_and_the_rest_lives():
    desk = Desk(world(Fault("reject_field", text="VOLUME"))).up()
    desk.subscribe(ES, query="?fields=BID,PX_BID,VOLUME,LAST_PRICE")
    desk.run()
    rejected = desk.of("SubscriptionStarted")[0].content["exceptions"]
    assert [e["fieldId"] for e in rejected] == ["PX_BID", "VOLUME"]
    assert rejected[0]["reason"]["category"] == "BAD_FLD"
    assert desk.data()


def test_bad_string_fails_the_batch_or_itself():
    desk = Desk(world(Fault("bad_topic", topic=SPY))).up()
    with pytest.raises(Misuse) as caught:
        desk.subscribe(ES, SPY, individual=False)
    assert (caught.value.kind, caught.value.code) == ("InvalidArgument", 0x0002_0002)
    assert not desk.core.subscriptions
    (bad,) = desk.subscribe(ES, SPY)
    assert (bad.cid, bad.text, bad.is_string) == (1, SPY, True)
    desk.run()
    assert desk.data(0)


def test_correlation_id_in_use(desk):
    desk.subscribe(ES)
    with pytest.raises(Misuse) as caught:
        desk.subscribe(SPY, individual=False)
    assert caught.value.code == 0x0002_0005
    (bad,) = desk.subscribe(SPY, EUR)
    assert (bad.cid, bad.is_string) == (0, False)
    desk.run()
    assert desk.data(1)[0].topic == EUR


def test_correlation_id_twice_in_one_list(desk):
    bad = desk.core.subscribe([(ES, 1, 1), (SPY, 1, 1)], desk.now, individual=True)
    assert [(b.cid, b.text) for b in bad] == [(1, SPY)]


def test_unsubscribe_drops_what_is_on_its_way(desk):
    desk.subscribe(ES, SPY)
    desk.run(0.5)
    desk.run(0.5, take=False)
    desk.core.unsubscribe([0, 99], desk.now)
    desk.events.clear()
    desk.run(0.5)
    assert desk.data(0) == []
    assert desk.data(1)
    assert [i.kind for _, i in desk.events if i.cid == 0] == ["SubscriptionTerminated"]
    account = desk.core.account
    assert {s.cid for s in account.discarded} == {0}


def test_cancel_before_the_stream_starts_is_a_failure(desk):
    desk.subscribe(ES)
    desk.core.unsubscribe([0], desk.now)
    desk.run()
    assert desk.names()[2:] == ["SubscriptionFailure"]


def test_correlation_id_is_free_after_its_end(desk):
    desk.subscribe(ES)
    desk.run()
    desk.core.unsubscribe([0], desk.now)
    assert [b.is_string for b in desk.subscribe(SPY)] == [False]
    desk.run()
    assert desk.subscribe(SPY) == []
    desk.run()
    assert desk.data()[-1].topic == SPY


@pytest.mark.parametrize("repaints", [False, True])
def test_resubscribe_changes_fields_after_its_status(repaints):
    desk = Desk(world(repaints=repaints)).up()
    desk.subscribe(ES, query="?fields=BID,ASK")
    desk.run(0.5)
    assert {i.content["MKTDATA_EVENT_TYPE"] for i in desk.data()} == {"SUMMARY", "QUOTE"}
    wanted = [(ES + "?fields=LAST_PRICE", 0, 0), (SPY, 9, 9)]
    bad = desk.core.resubscribe(wanted, 42, desk.now, individual=True)
    assert [b.cid for b in bad] == [9]
    desk.events.clear()
    desk.run(2)
    at = desk.names().index("SubscriptionStarted")
    assert desk.events[at][1].content["resubscriptionId"] == 42
    after = [i.content["MKTDATA_EVENT_TYPE"] for _, i in desk.events[at + 1 :]]
    assert set(after) == ({"TRADE", "SUMMARY"} if repaints else {"TRADE"})


def test_resubscribe_of_nothing_fails_all_by_default(desk):
    with pytest.raises(Misuse, match="no subscription has correlation id 9"):
        desk.core.resubscribe([(ES, 9, 9)], 1, desk.now, individual=False)


# ----------------------------------------------------------------------------------------------- content


def test_fields_decide_which_events_come(desk):
    desk.subscribe(ES, ES, ES, query="")
    desk.core.subscribe(
        [(ES + "?fields=BID", 7, 7), (ES + "?fields=LAST_PRICE", 8, 8)], desk.now, individual=True
    )
    desk.run(1)
    kinds = {cid: {i.content["MKTDATA_EVENT_TYPE"] for i in desk.data(cid)} for cid in (0, 7, 8)}
    assert kinds == {
        0: {"SUMMARY", "QUOTE", "TRADE"},
        7: {"SUMMARY", "QUOTE"},
        8: {"SUMMARY", "TRADE"},
    }


def test_interval_thins_out_and_ends_with_the_latest(desk):
    desk.core.subscribe([(ES, 0, 0), (ES + "?interval=0.5", 1, 1)], desk.now, individual=True)
    desk.run(5)
    every, some = desk.data(0), desk.data(1)
    assert 9 <= len(some) <= 11 < len(every)
    gaps = [b.sent.due_ns - a.sent.due_ns for a, b in itertools.pairwise(some[1:])]
    assert min(gaps) >= SECOND // 2


def test_times_of_day_are_the_terminals_unless_asked_otherwise():
    desk = Desk(world(zone_s=-5 * 3600)).up()
    desk.core.subscribe([(EUR, 0, 0), (EUR + "?useGMT", 1, 1)], desk.now, individual=True)
    desk.run(1)
    local, utc = desk.data(0)[1].content, desk.data(1)[1].content
    assert local["BLOOMBERG_EVENT_TIME_RT"] == utc["BLOOMBERG_EVENT_TIME_RT"]
    assert (utc["TIME"].hour - local["TIME"].hour) % 24 == 5
    assert utc["TIME"].hour == utc["BLOOMBERG_EVENT_TIME_RT"].hour


def test_delayed_by_fault_and_by_option():
    desk = Desk(world(Fault("delayed", None, ES))).up()
    desk.core.subscribe(
        [(ES, 0, 0), (SPY, 1, 1), (SPY + "?delayed", 2, 2)], desk.now, individual=True
    )
    desk.run(1)
    told = [{i.content["IS_DELAYED_STREAM"] for i in desk.data(cid)} for cid in range(3)]
    assert told == [{True}, {False}, {True}]


def test_image_in_pieces():
    desk = Desk(world(Fault("fragmented", topic=ES, count=4))).up()
    desk.subscribe(ES, SPY)
    desk.run(0.2)
    parts = desk.data(0)[:4]
    assert [(p.recap, p.fragment) for p in parts] == [(1, 1), (1, 2), (1, 2), (1, 3)]
    whole = {}
    for part in parts:
        whole |= part.content
    assert set(whole) >= set(desk.data(1)[0].content) - {
        "TRADE_UPDATE_STAMP_RT",
        "LAST_TRADE_PRICE_TIME_TODAY_RT",
    }
    assert desk.data(1)[0].fragment == 0


def test_image_without_times_and_stream_without_image():
    desk = Desk(world(Fault("no_stamps", topic=ES), Fault("no_image", topic=SPY))).up()
    desk.subscribe(ES, SPY)
    desk.run(1)
    assert not [name for name in desk.data(0)[0].content if "STAMP" in name or "SEND_TIME" in name]
    assert {i.recap for i in desk.data(1)} == {0}


def test_currencies_have_no_sizes_and_indices_no_touch(desk):
    desk.subscribe(EUR, SPX)
    desk.run(3)
    for item in desk.data(0):
        assert item.content.get("BID_SIZE") is None
        assert item.content.get("SIZE_LAST_TRADE") is None
    for item in desk.data(1):
        assert not {"BID", "ASK"} & set(item.content)
    assert any(i.content["MKTDATA_EVENT_TYPE"] == "TRADE" for i in desk.data(1))


def test_sides_that_move_together_do_not_cross_between_their_messages(desk):
    desk.subscribe(EUR)
    desk.run(20)
    touch, moves = {}, 0
    for item in desk.data(0):
        before = dict(touch)
        touch |= {side: item.content[side] for side in ("BID", "ASK") if side in item.content}
        assert touch["BID"] < touch["ASK"]
        moves += touch != before
    assert moves > 20


def test_receive_times_only_when_recorded():
    plain, recorded = Desk().up(), Desk(records_times=True).up()
    for one in (plain, recorded):
        one.subscribe(ES)
        one.run()
    assert {i.received_ns is None for i in plain.data()} == {True}
    assert {i.received_ns is None for i in recorded.data()} == {False}
