"""What becomes of topics: every failure by its category, and what is asked for when."""

from __future__ import annotations

import pytest

from mdfeedd.feeds.bloomberg.failure import Answer, Failure, Flow, Pauses
from mdfeedd.feeds.bloomberg.options import Topic
from mdfeedd.feeds.bloomberg.topics import (
    ANSWER_S,
    BATCH,
    UNANSWERED,
    Stage,
)
from mdfeedd.tick import Flag, GapReason, Kind

SECOND = 1_000_000_000
DAY_S = 86_400
BID = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID"}
DATALOSS = {"MKTDATA_EVENT_TYPE": "SUMMARY", "MKTDATA_EVENT_SUBTYPE": "DATALOSS"}


# asking


def test_thousand_topics_are_asked_for_in_batches(desks):
    desk = desks([f"T{n} Equity" for n in range(1001)])
    desk.topics.open(desk.now)
    sizes = [len(one.subscribe) for one in desk.drain()]
    assert sizes == [BATCH] * 5 + [1]


def test_correlation_ids_are_integers_of_their_own(desks):
    desk = desks([f"T{n} Equity" for n in range(50)])
    assert desk.open() == list(range(1, 51))


def test_nothing_is_asked_for_before_the_service_is_open(desk):
    assert desk.ask() is None
    assert desk.entry().stage is Stage.IDLE


def test_fields_of_a_topic_are_asked_for_in_place_of_the_feeds(desk):
    desk.follow((Topic("IBM US Equity", fields=("BID",)), *desk.listings))
    desk.topics.open(desk.now)
    asked = {ask.topic: ask.fields for one in desk.drain() for ask in one.subscribe}
    assert asked == {"IBM US Equity": ("BID",), "ESZ6 Index": ("LAST_PRICE", "BID", "ASK")}


def test_topic_becomes_live_with_its_image(desk, make_image):
    (cid,) = desk.open()
    assert desk.entry().stage is Stage.ASKED
    desk.topics.started(cid, {}, desk.now)
    assert desk.entry().stage is Stage.STARTED
    desk.decode(cid, make_image(), 1)
    assert desk.entry().stage is Stage.LIVE
    desk.after(10 * DAY_S)
    assert desk.ask() is None


def test_image_before_subscription_started(desk, make_image):
    (cid,) = desk.open()
    desk.decode(cid, make_image(), 1)
    desk.topics.started(cid, {}, desk.now)
    assert desk.entry().stage is Stage.LIVE


def test_rejected_fields_are_told_once_and_the_topic_lives(desk, make_reason):
    (cid,) = desk.open()
    body = {"exceptions": [{"fieldId": "PX_BID"} | make_reason("BAD_FLD", 10)], "streamIds": ["1"]}
    desk.topics.started(cid, body, desk.now)
    desk.topics.started(cid, body, desk.now)
    assert desk.topics.rejected == 1
    assert desk.said("rejected field") == ["ESZ6 Index: no PX_BID: BAD_FLD (10): because"]
    assert desk.entry().stage is Stage.STARTED


def test_no_answer_at_all_is_asked_for_again(desk):
    (cid,) = desk.open()
    desk.after(ANSWER_S)
    assert [one.unsubscribe for one in desk.drain()] == [[cid]]
    assert desk.entry().stage is Stage.WAITING
    desk.after(6)
    assert desk.again() == [cid + 1]


def test_image_that_does_not_come_is_asked_for_later_and_later(desk):
    waits = []
    cid = desk.open()[0]
    for _ in range(12):
        desk.topics.started(cid, {}, desk.now)
        waited = 0
        while not (asks := desk.drain()):
            desk.after(30)
            waited += 30
        assert asks[0].unsubscribe == [cid]
        cid = asks[0].subscribe[0].cid
        waits.append(waited)
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600, 3600]


# failures, by category


@pytest.mark.parametrize(
    ("category", "more", "answer"),
    [
        ("BAD_SEC", {}, Answer.NEVER),
        ("BAD_TOPIC", {}, Answer.NEVER),
        ("NOT_MONITORABLE", {}, Answer.NEVER),
        ("BAD_ARGS", {}, Answer.NEVER),
        ("NOT_ENTITLED", {}, Answer.HOURLY),
        ("NOT_AUTHORIZED", {}, Answer.HOURLY),
        ("NO_AUTH", {}, Answer.HOURLY),
        ("LIMIT", {}, Answer.TOMORROW),
        ("LIMIT", {"subcategory": "DAILY_CAPACITY_REACHED"}, Answer.TOMORROW),
        ("OTHER", {"subcategory": "WORKFLOW_REVIEW_NEEDED"}, Answer.TOMORROW),
        ("OTHER", {"errorCode": -4001}, Answer.TOMORROW),
        ("IO_ERROR", {}, Answer.SOON),
        ("TIMEOUT", {}, Answer.SOON),
        ("CANCELED", {}, Answer.SOON),
        ("UNCLASSIFIED", {}, Answer.SOON),
        ("", {}, Answer.SOON),
        ("SOMETHING_NEW", {}, Answer.SLOWLY),
        ("BAD_FLD", {}, Answer.NEVER),
    ],
)
def test_failure_by_category(desks, make_reason, make_image, category, more, answer):
    desk = desks(["BAD Equity", "GOOD Equity"])
    bad, good = desk.open()
    desk.decode(good, make_image(), 1)
    desk.topics.failed(bad, make_reason(category, **more), desk.now)
    entry = desk.entry()
    assert entry.failure is not None
    assert entry.failures == 1
    hours = {Answer.HOURLY: 1.0, Answer.SLOWLY: 0.25, Answer.SOON: 5 / 3600, Answer.TOMORROW: 9.0}
    if answer is Answer.NEVER:
        assert entry.stage is Stage.REFUSED
        desk.after(100 * DAY_S)
        assert desk.again() == []
        assert desk.topics.refused == 1
    else:
        assert entry.stage is Stage.WAITING
        desk.after(hours[answer] * 3600 - 1)
        assert desk.again() == []
        desk.after(2)
        assert desk.again() == [3]
    assert desk.entry(1).stage is Stage.LIVE


def test_transient_failures_back_off_to_five_minutes(desk, make_reason):
    waits = []
    cid = desk.open()[0]
    for _ in range(10):
        desk.topics.failed(cid, make_reason("IO_ERROR"), desk.now)
        before = desk.now.monotonic_ns
        cid = 0
        while not cid:
            desk.after(1)
            cid = next(iter(desk.again()), 0)
        waits.append((desk.now.monotonic_ns - before) // SECOND)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]


def test_pauses_have_jitter():
    short, long = Pauses(lambda: 0.0), Pauses(lambda: 1.0)
    for answer in (Answer.SOON, Answer.HOURLY, Answer.SLOWLY, Answer.TOMORROW):
        assert long.pause_ns(answer, 1, 0) > short.pause_ns(answer, 1, 0)


def test_topic_that_is_never_answered_after_a_loss_has_failed(desk, make_image):
    (cid,) = desk.live()
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    asked = desk.again()
    for _ in range(UNANSWERED - 1):
        desk.after(ANSWER_S)
        asked += desk.again()
    assert len(asked) == UNANSWERED
    assert desk.topics.state().failed == 0
    desk.take()
    for _ in range(3):  # told once
        desk.after(ANSWER_S)
        desk.drain()
        assert desk.entry().stage is Stage.WAITING
        desk.after(300)
        asked += desk.again()
    assert desk.topics.state().failed == 1
    assert desk.said("failed TIMEOUT") == [f"ESZ6 Index: TIMEOUT: no answer within {ANSWER_S} s: asked for again soon"]  # fmt: skip
    assert [(row["kind"], row["reason"]) for row in desk.take()] == [(Kind.STATUS, Flow.TRANSIENT)]
    desk.decode(asked[-1], make_image(), 1)
    assert desk.kinds() == [Kind.QUOTE, Kind.RECOVERED, Kind.STATUS]
    assert desk.topics.state() == (0, 0, 0)


def test_success_begins_the_pauses_anew(desk, make_reason, make_image):
    cid = desk.open()[0]
    for _ in range(5):
        desk.topics.failed(cid, make_reason("IO_ERROR"), desk.now)
        desk.after(400)
        (cid,) = desk.again()
    desk.decode(cid, make_image(), 1)
    assert desk.entry().failures == 0
    assert desk.entry().failure is None


def test_refused_fields_are_left_out_the_next_time(desk, make_reason):
    cid = desk.open()[0]
    details = [{"fieldId": "BID"} | make_reason("BAD_FLD")]
    desk.topics.failed(cid, make_reason("BAD_FLD") | {"failureDetails": details}, desk.now)
    (asks,) = desk.drain()
    assert asks.subscribe[0].fields == ("LAST_PRICE", "ASK")


def test_topic_without_a_field_left_is_refused(desk, make_reason):
    cid = desk.open()[0]
    names = ("LAST_PRICE", "BID", "ASK")
    details = [{"fieldId": name} | make_reason("BAD_FLD") for name in names]
    desk.topics.failed(cid, make_reason("BAD_FLD") | {"failureDetails": details}, desk.now)
    assert desk.entry().stage is Stage.REFUSED


def test_limit_stops_adding_until_tomorrow_but_not_what_is_live(desks, make_reason, make_image):
    desk = desks([f"T{n} Equity" for n in range(300)])
    desk.topics.open(desk.now)
    first = desk.ask().subscribe
    desk.decode(first[0].cid, make_image(), 1)
    desk.topics.failed(first[1].cid, make_reason("LIMIT", -4001), desk.now)
    assert desk.ask() is None
    counts = desk.topics.stages()
    assert counts[Stage.WAITING] == 101
    desk.decode(first[0].cid, DATALOSS)  # what is live is repaired all the same
    (asks,) = desk.drain()
    assert (asks.unsubscribe, len(asks.subscribe)) == ([first[0].cid], 1)
    for ask in first[2:]:
        desk.decode(ask.cid, make_image(), 1)
    desk.decode(asks.subscribe[0].cid, make_image(), 1)
    desk.after(9 * 3600 - 1)
    assert desk.again() == []
    desk.after(2)
    assert len(desk.again()) == 101


def test_topic_that_is_given_up_makes_room_for_one_that_the_limit_held(
    desks, make_reason, make_image
):
    desk = desks([f"T{n} Equity" for n in range(4)])
    cids = desk.open()
    for cid in cids[:2]:
        desk.decode(cid, make_image(), 1)
    for cid in cids[2:]:
        desk.topics.failed(cid, make_reason("LIMIT", -4001), desk.now)
    desk.follow((*desk.listings[1:], Topic("NEW Equity")))
    asked = [ask.topic for one in desk.drain() for ask in one.subscribe]
    assert sorted(asked) == ["NEW Equity", "T2 Equity"]
    desk.after(3600)
    assert desk.again() == []  # one was given up: one tries


def test_topic_that_is_given_up_and_was_not_on_makes_no_room(desks, make_reason, make_image):
    desk = desks(["A Equity", "B Equity", "C Equity"])
    a, *held = desk.open()
    desk.decode(a, make_image(), 1)
    for cid in held:
        desk.topics.failed(cid, make_reason("LIMIT", -4001), desk.now)
    desk.follow(desk.listings[:2])
    desk.after(3600)
    assert desk.again() == []


def test_failure_of_a_live_topic_is_a_gap(desk, make_reason):
    (cid,) = desk.live()
    desk.after(1)
    desk.topics.failed(cid, make_reason("IO_ERROR"), desk.now)
    row, status = desk.take()
    assert (row["kind"], row["instrument_id"], row["reason"]) == (Kind.GAP, 1, GapReason.DISCONNECT)
    assert (status["kind"], status["reason"]) == (Kind.STATUS, Flow.TRANSIENT)
    assert row["last_missing"] - row["first_missing"] == SECOND


def test_failure_of_a_topic_that_never_lived_is_no_gap(desk, make_reason):
    cid = desk.open()[0]
    desk.topics.failed(cid, make_reason("BAD_SEC"), desk.now)
    assert desk.kinds() == [Kind.STATUS]


@pytest.mark.parametrize(
    ("category", "flow"),
    [
        ("BAD_SEC", Flow.UNKNOWN),
        ("NOT_ENTITLED", Flow.NOT_ENTITLED),
        ("LIMIT", Flow.LIMIT),
        ("IO_ERROR", Flow.TRANSIENT),
        ("SOMETHING_NEW", Flow.OTHER),
    ],
)
def test_ring_is_told_why_nothing_comes_of_a_topic(desk, make_reason, category, flow):
    (cid,) = desk.open()
    desk.topics.failed(cid, make_reason(category), desk.now)
    (status,) = desk.take()
    assert bytes(status.pop("reserved")) == bytes(15)
    assert status == dict.fromkeys(status, 0) | {
        "kind": Kind.STATUS, "instrument_id": 1, "reason": flow,
        "ts_event": desk.now.wall_ns, "ts_recv": desk.now.wall_ns, "flags": Flag.BAD_TS,
    }  # fmt: skip
    assert desk.topics.state() == (0, 1, 0)


def test_one_failure_after_the_other_is_told_once_until_it_is_another(
    desk, make_reason, make_image
):
    (cid,) = desk.open()
    for category in ("IO_ERROR", "IO_ERROR", "IO_ERROR", "TIMEOUT", "NOT_ENTITLED"):
        desk.topics.failed(cid, make_reason(category), desk.now)
        desk.after(4000)
        (cid,) = desk.again()
    assert [len(desk.said(f"failed {c}")) for c in ("IO_ERROR", "TIMEOUT", "NOT_ENTITLED")] == [1, 1, 1]  # fmt: skip
    assert [row["reason"] for row in desk.take()] == [Flow.TRANSIENT, Flow.NOT_ENTITLED]
    assert desk.topics.state().failed == 1
    desk.decode(cid, make_image(), 1)
    assert [row["reason"] for row in desk.take() if row["kind"] is Kind.STATUS] == [Flow.COMES]
    assert desk.said("live") == ["ESZ6 Index: live now"]
    assert desk.topics.state() == (0, 0, 0)
    desk.topics.failed(cid, make_reason("IO_ERROR"), desk.now)
    assert len(desk.said("failed IO_ERROR")) == 2
    assert [row["reason"] for row in desk.take() if row["kind"] is Kind.STATUS] == [Flow.TRANSIENT]


def test_topic_that_was_asked_for_without_some_fields_has_not_failed(desk, make_reason):
    (cid,) = desk.open()
    details = [{"fieldId": "BID"} | make_reason("BAD_FLD")]
    desk.topics.failed(cid, make_reason("BAD_FLD") | {"failureDetails": details}, desk.now)
    assert desk.topics.rejected == 1
    assert desk.topics.state().failed == 0
    assert desk.take() == []


def test_topics_that_a_limit_keeps_from_being_asked_for_have_failed(desks, make_reason, make_image):
    desk = desks([f"T{n} Equity" for n in range(BATCH + 2)])
    desk.topics.open(desk.now)
    first = desk.ask().subscribe
    for ask in first[1:]:
        desk.decode(ask.cid, make_image(), 1)
    desk.take()
    desk.topics.failed(first[0].cid, make_reason("LIMIT"), desk.now)
    assert desk.again() == []
    told = [(row["instrument_id"], row["reason"]) for row in desk.take()]
    assert told == [(n, Flow.LIMIT) for n in (1, BATCH + 1, BATCH + 2)]
    assert len(desk.said("held")) == 2
    assert desk.topics.state().failed == 3
    desk.after(DAY_S)
    cids = desk.again()
    assert len(cids) == 3
    for cid in cids:
        desk.decode(cid, make_image(), 1)
    assert desk.topics.state().failed == 0


def test_delayed_topics_are_counted_while_they_are(desks, make_image, make_reason):
    desk = desks(["A Equity", "B Equity"])
    one, other = desk.open()
    desk.decode(one, make_image(IS_DELAYED_STREAM=True), 1)
    desk.decode(other, make_image(IS_DELAYED_STREAM=True), 1)
    assert desk.topics.state().delayed == 2
    desk.decode(one, make_image(IS_DELAYED_STREAM=False), 2)
    assert desk.topics.state().delayed == 1
    desk.topics.failed(other, make_reason("NOT_ENTITLED"), desk.now)
    assert desk.topics.state() == (1, 1, 0)


def test_late_answer_to_an_unsubscribe_is_nobodys(desk, make_reason):
    (cid,) = desk.live()
    desk.decode(cid, DATALOSS)
    (asks,) = desk.drain()
    desk.topics.failed(cid, make_reason("CANCELED"), desk.now)
    desk.topics.started(cid, {}, desk.now)
    desk.topics.activated(cid, desk.now)
    desk.topics.deactivated(cid, {}, desk.now)
    assert desk.entry().cid == asks.subscribe[0].cid
    assert desk.entry().stage is Stage.ASKED


@pytest.mark.parametrize(("invalid", "stage"), [(True, Stage.REFUSED), (False, Stage.WAITING)])
def test_topic_that_the_sdk_does_not_send(desks, invalid, stage):
    desk = desks(["BAD Equity", "GOOD Equity"])
    bad, good = desk.open()
    desk.topics.preprocess_error(bad, invalid=invalid, text="bad string", now=desk.now)
    assert [entry.stage for entry in desk.topics] == [stage, Stage.ASKED]
    assert good in desk.decoder.touches


@pytest.mark.parametrize("body", [{}, {"reason": None}, {"reason": "text"}, {"reason": {}}, {"reason": {"category": 7, "errorCode": "x", "description": None}}, {"failureDetails": [None, 7, {}, {"fieldId": None}]}])  # fmt: skip
def test_failure_of_an_unexpected_shape(desk, body):
    cid = desk.open()[0]
    desk.topics.failed(cid, body, desk.now)
    assert desk.entry().stage is Stage.WAITING


def test_failure_reads_as_a_sentence():
    failure = Failure("LIMIT", "DAILY_CAPACITY_REACHED", -4001, "too many")
    assert str(failure) == "LIMIT/DAILY_CAPACITY_REACHED (-4001): too many"
    assert str(Failure("")) == "no reason"


# other topics while it runs


def test_topic_removed_while_it_runs(desks):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.follow(desk.listings[1:])
    (cleared,) = desk.take()
    assert (cleared["kind"], cleared["instrument_id"]) == (Kind.CLEAR, 1)
    assert cleared["flags"] == Flag.BAD_TS, "its time is ours: no clock of bars may follow it"
    (asks,) = desk.drain()
    assert (asks.unsubscribe, asks.subscribe) == ([cids[0]], [])
    assert len(desk.topics) == 1


def test_topic_added_while_it_runs(desk):
    (cid,) = desk.live()
    desk.follow((*desk.listings, Topic("NEW Equity")))
    assert desk.again() == [cid + 1]
    assert desk.entry().stage is Stage.LIVE


def test_topic_removed_before_it_was_asked_for(desk):
    desk.follow((Topic("NEW Equity"),))
    assert [ask.topic for one in [desk.topics.open(desk.now), *desk.drain()] if one for ask in one.subscribe] == ["NEW Equity"]  # fmt: skip
    assert desk.take() == []


def test_topic_removed_while_it_waits(desks, make_reason):
    desk = desks(["A Equity", "B Equity"])
    bad, good = desk.open()
    desk.topics.failed(bad, make_reason("IO_ERROR"), desk.now)
    desk.topics.started(good, {}, desk.now)
    desk.follow(desk.listings[1:])
    desk.after(20)
    assert desk.drain() == []


def test_topic_there_is_no_room_for(desk):
    desk.topics.follow((*desk.listings, Topic("NEW Equity")), lambda _topic: 0, desk.now)
    assert len(desk.topics) == 1
