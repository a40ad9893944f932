"""What becomes of topics: every failure by its category, every loss, and the order of calls."""

from __future__ import annotations

from typing import Any

import pytest

from mdfeedd.feeds.bloomberg.failure import Answer, Failure, Pauses
from mdfeedd.feeds.bloomberg.options import Topic
from mdfeedd.feeds.bloomberg.topics import (
    ANSWER_S,
    BATCH,
    CHECK_S,
    INACTIVE_S,
    MOST_REPAIR_S,
    SLOW_HOLD_S,
    Stage,
)
from mdfeedd.tick import Flag, GapReason, Kind

SECOND = 1_000_000_000
DAY_S = 86_400
BID = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID"}
DATALOSS = {"MKTDATA_EVENT_TYPE": "SUMMARY", "MKTDATA_EVENT_SUBTYPE": "DATALOSS"}


def drain(desk: Any) -> list[Any]:
    asks = []
    while (one := desk.ask()) is not None:
        asks.append(one)
    return asks


def again(desk: Any) -> list[int]:
    return [ask.cid for one in drain(desk) for ask in one.subscribe]


# asking


def test_thousand_topics_are_asked_for_in_batches(desks):
    desk = desks([f"T{n} Equity" for n in range(1001)])
    desk.topics.open(desk.now)
    sizes = [len(one.subscribe) for one in drain(desk)]
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
    asked = {ask.topic: ask.fields for one in drain(desk) for ask in one.subscribe}
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
    assert [one.unsubscribe for one in drain(desk)] == [[cid]]
    assert desk.entry().stage is Stage.WAITING
    desk.after(6)
    assert again(desk) == [cid + 1]


def test_image_that_does_not_come_is_asked_for_later_and_later(desk):
    waits = []
    cid = desk.open()[0]
    for _ in range(12):
        desk.topics.started(cid, {}, desk.now)
        waited = 0
        while not (asks := drain(desk)):
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
def test_failure_by_category(  # noqa: PLR0917 - fixtures and a row of the table
    desks, make_reason, make_image, category, more, answer
):
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
        assert again(desk) == []
        assert desk.topics.refused == 1
    else:
        assert entry.stage is Stage.WAITING
        desk.after(hours[answer] * 3600 - 1)
        assert again(desk) == []
        desk.after(2)
        assert again(desk) == [3]
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
            cid = next(iter(again(desk)), 0)
        waits.append((desk.now.monotonic_ns - before) // SECOND)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]


def test_pauses_have_jitter():
    short, long = Pauses(lambda: 0.0), Pauses(lambda: 1.0)
    for answer in (Answer.SOON, Answer.HOURLY, Answer.SLOWLY, Answer.TOMORROW):
        assert long.pause_ns(answer, 1, 0) > short.pause_ns(answer, 1, 0)


def test_success_begins_the_pauses_anew(desk, make_reason, make_image):
    cid = desk.open()[0]
    for _ in range(5):
        desk.topics.failed(cid, make_reason("IO_ERROR"), desk.now)
        desk.after(400)
        (cid,) = again(desk)
    desk.decode(cid, make_image(), 1)
    assert desk.entry().failures == 0
    assert desk.entry().failure is None


def test_refused_fields_are_left_out_the_next_time(desk, make_reason):
    cid = desk.open()[0]
    details = [{"fieldId": "BID"} | make_reason("BAD_FLD")]
    desk.topics.failed(cid, make_reason("BAD_FLD") | {"failureDetails": details}, desk.now)
    (asks,) = drain(desk)
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
    (asks,) = drain(desk)
    assert (asks.unsubscribe, len(asks.subscribe)) == ([first[0].cid], 1)
    for ask in first[2:]:
        desk.decode(ask.cid, make_image(), 1)
    desk.decode(asks.subscribe[0].cid, make_image(), 1)
    desk.after(9 * 3600 - 1)
    assert again(desk) == []
    desk.after(2)
    assert len(again(desk)) == 101


def test_failure_of_a_live_topic_is_a_gap(desk, make_reason):
    (cid,) = desk.live()
    desk.after(1)
    desk.topics.failed(cid, make_reason("IO_ERROR"), desk.now)
    (row,) = desk.take()
    assert (row["kind"], row["instrument_id"], row["reason"]) == (Kind.GAP, 1, GapReason.DISCONNECT)
    assert row["last_missing"] - row["first_missing"] == SECOND


def test_failure_of_a_topic_that_never_lived_is_no_gap(desk, make_reason):
    cid = desk.open()[0]
    desk.topics.failed(cid, make_reason("BAD_SEC"), desk.now)
    assert desk.take() == []


def test_late_answer_to_an_unsubscribe_is_nobodys(desk, make_reason):
    (cid,) = desk.live()
    desk.decode(cid, DATALOSS)
    (asks,) = drain(desk)
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


# losses, and how they are repaired


def test_data_loss_is_a_gap_and_a_new_image_is_asked_for(desk, make_image):
    (cid,) = desk.live()
    desk.after(3)
    desk.topics.data_loss(cid, {"id": "1", "source": "Session", "numMessagesDropped": 42}, desk.now)
    (row,) = desk.take()
    assert (row["kind"], row["reason"], row["instrument_id"]) == (Kind.GAP, GapReason.VENDOR_SKIPPED, 1)  # fmt: skip
    assert (row["first_missing"], row["last_missing"]) == (row["ts_recv"] - 3 * SECOND, row["ts_recv"])  # fmt: skip
    assert desk.topics.dropped == 42
    assert desk.topics.stale == 1
    (asks,) = drain(desk)
    assert asks.unsubscribe == [cid]
    fresh = asks.subscribe[0].cid
    assert fresh == cid + 1
    desk.decode(fresh, make_image(), 1)
    quote, recovered = desk.take()
    assert (quote["kind"], quote["flags"] & Flag.STALE) == (Kind.QUOTE, 0)
    assert recovered["kind"] is Kind.RECOVERED
    for name in ("first_missing", "last_missing", "reason", "instrument_id"):
        assert recovered[name] == row[name]
    assert desk.topics.stale == 0


def test_data_of_the_old_subscription_after_a_loss_are_nobodys(desk):
    (cid,) = desk.live()
    desk.decode(cid, DATALOSS)
    drain(desk)
    desk.take()
    desk.decode(cid, BID | {"BID": 1.0})
    assert desk.take() == []
    assert desk.decoder.unmapped == 1


def test_losses_that_follow_each_other_are_repaired_later_and_later(desk, make_image):
    (cid,) = desk.live()
    waits = []
    for _ in range(9):
        desk.topics.data_loss(cid, {"numMessagesDropped": 1}, desk.now)
        waited = 0
        while not (found := again(desk)):
            desk.after(1)
            waited += 1
        (cid,) = found
        waits.append(waited)
        desk.decode(cid, make_image(), 1)
    assert waits == [0, 1, 2, 4, 8, 16, 32, MOST_REPAIR_S, 0]


def test_two_losses_are_two_gaps_and_one_recovery(desk, make_image):
    (cid,) = desk.live()
    desk.after(1)
    desk.decode(cid, DATALOSS)
    desk.after(1)
    desk.decode(cid, DATALOSS)
    first, second = desk.take()
    desk.decode(cid, make_image(), 2)
    recovered = desk.take()[1]
    assert recovered["first_missing"] == first["first_missing"]
    assert recovered["last_missing"] == second["last_missing"]


def test_image_that_comes_by_itself_saves_the_asking(desk, make_image):
    (cid,) = desk.live()
    desk.decode(cid, DATALOSS)
    desk.decode(cid, make_image(), 2)
    assert desk.ask() is None


def test_message_that_cannot_be_read_asks_for_an_image(desk):
    from mdfeedd.feeds.bloomberg.codec import Lost

    (cid,) = desk.live()
    touch = desk.entry().touch
    desk.decoder.lost(touch, desk.now.wall_ns, GapReason.CORRUPT)
    desk.decoder.events.append(Lost(cid, GapReason.CORRUPT))
    desk.topics.handle(desk.now)
    assert len(again(desk)) == 1


def test_loss_that_names_no_topic_is_one_of_the_feed(desks):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.topics.data_loss(None, {"numMessagesDropped": 5}, desk.now)
    (row,) = desk.take()
    assert (row["kind"], row["instrument_id"]) == (Kind.GAP, 0)
    desk.after(1)
    (asks,) = drain(desk)
    assert (asks.unsubscribe, len(asks.subscribe)) == (cids, 2)


def test_loss_of_the_feed_leaves_what_failed_and_what_is_off_in_peace(desks, make_reason):
    desk = desks(["A Equity", "B Equity", "C Equity"])
    failed, off, _live = desk.live()
    desk.topics.failed(failed, make_reason("NOT_ENTITLED"), desk.now)
    desk.topics.deactivated(off, {}, desk.now)
    desk.topics.data_loss(None, {}, desk.now)
    desk.after(1)
    assert len(again(desk)) == 1
    stages = [entry.stage for entry in desk.topics]
    assert stages == [Stage.WAITING, Stage.INACTIVE, Stage.ASKED]


def test_every_loss_is_a_sentence(desk, make_reason):
    (cid,) = desk.live()
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    assert "ESZ6 Index: Bloomberg dropped 3 messages" in desk.said("data loss")[0]
    desk.decode(cid, DATALOSS)
    assert "data are lost" in desk.said("lost")[0]
    desk.topics.deactivated(cid, make_reason("IO_ERROR"), desk.now)
    assert "its streams are off: IO_ERROR" in desk.said("streams off")[0]


def test_every_failure_is_a_sentence_that_says_what_follows(desk, make_reason):
    (cid,) = desk.open()
    desk.topics.failed(cid, make_reason("NOT_ENTITLED", 5), desk.now)
    (sentence,) = desk.said("failed NOT_ENTITLED")
    assert sentence == "ESZ6 Index: NOT_ENTITLED (5): because: asked for again every hour"


def test_delayed_stream_is_told_and_its_end_too(desk, make_image):
    (cid,) = desk.open()
    desk.decode(cid, make_image(IS_DELAYED_STREAM=True), 1)
    desk.decode(cid, make_image(IS_DELAYED_STREAM=True), 2)
    desk.decode(cid, make_image(IS_DELAYED_STREAM=False), 2)
    first, last = desk.said("delayed")
    assert "delayed by Bloomberg" in first
    assert "not delayed any more" in last


def test_loss_of_a_subscription_that_is_over_only_counts(desk):
    (cid,) = desk.live()
    desk.decode(cid, DATALOSS)
    drain(desk)
    desk.take()
    desk.topics.data_loss(cid, {"numMessagesDropped": 5}, desk.now)
    assert desk.take() == []
    assert desk.topics.dropped == 5


# being slow


def test_slow_consumer_warning_loses_nothing(desk):
    desk.live()
    desk.topics.slow(desk.now)
    desk.topics.slow_over({"eventsDropped": 0}, desk.now)
    desk.after(2 * CHECK_S)
    assert desk.ask() is None
    assert desk.take() == []
    assert desk.topics.warnings == 1


def test_images_are_not_asked_for_while_we_are_behind(desk):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    desk.after(1)
    assert desk.ask() is None
    desk.topics.slow_over({"eventsDropped": 3}, desk.now)
    desk.after(0.1)
    assert len(again(desk)) == 1


def test_being_behind_for_ever_does_not_hold_images_for_ever(desk):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    assert desk.ask() is None
    desk.after(SLOW_HOLD_S + 1)
    assert len(again(desk)) == 1


def test_dropped_events_that_nobody_told_of_are_a_gap_of_the_feed(desk):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    desk.topics.slow_over({"eventsDropped": 10}, desk.now)
    again(desk)
    desk.take()
    desk.after(CHECK_S)
    desk.ask()
    assert [(row["kind"], row["instrument_id"]) for row in desk.take()] == [(Kind.GAP, 0)]


def test_dropped_events_that_are_all_told_of_are_no_gap_of_the_feed(desk):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.slow_over({"eventsDropped": 3}, desk.now)
    desk.topics.slow(desk.now)  # again, before the loss of the first time is told
    desk.topics.data_loss(cid, {"numMessagesDropped": 4}, desk.now)
    desk.take()
    desk.after(CHECK_S)
    desk.ask()
    assert desk.take() == []


@pytest.mark.parametrize("body", [{}, {"numMessagesDropped": None}, {"numMessagesDropped": "x"}, {"numMessagesDropped": -1}])  # fmt: skip
def test_loss_of_an_unexpected_shape_is_a_loss(desk, body):
    (cid,) = desk.live()
    desk.topics.data_loss(cid, body, desk.now)
    assert desk.kinds() == [Kind.GAP]
    assert desk.topics.dropped == 0


# streams and connections


def test_streams_deactivated_and_activated_with_an_image(desk, make_reason, make_image):
    (cid,) = desk.live()
    desk.topics.deactivated(cid, {"streams": [{"id": "1"}]} | make_reason("IO_ERROR"), desk.now)
    assert desk.kinds() == [Kind.GAP]
    assert desk.entry().stage is Stage.INACTIVE
    desk.after(100)
    assert desk.ask() is None
    desk.topics.activated(cid, desk.now)
    desk.decode(cid, make_image(), 2)
    assert desk.kinds() == [Kind.QUOTE, Kind.RECOVERED]
    desk.after(1000)
    assert desk.ask() is None


def test_streams_activated_without_an_image(desk):
    (cid,) = desk.live()
    desk.topics.deactivated(cid, {}, desk.now)
    desk.topics.activated(cid, desk.now)
    desk.after(29)
    assert desk.ask() is None
    desk.after(1)
    assert again(desk) == [cid + 1]


def test_streams_that_stay_off_are_asked_for_again(desk):
    (cid,) = desk.live()
    desk.topics.deactivated(cid, {}, desk.now)
    desk.after(INACTIVE_S)
    assert again(desk) == [cid + 1]


def test_streams_activated_after_subscribing_are_no_news(desk):
    (cid,) = desk.open()
    desk.topics.started(cid, {}, desk.now)
    desk.topics.activated(cid, desk.now)
    assert desk.entry().stage is Stage.STARTED


def test_connection_down_is_one_gap_of_the_feed_and_nothing_is_asked_for(desks, make_image):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.topics.down(desk.now)
    for cid in cids:
        desk.topics.deactivated(cid, {}, desk.now)
    (row,) = desk.take()
    assert (row["kind"], row["instrument_id"], row["reason"]) == (Kind.GAP, 0, GapReason.DISCONNECT)
    assert desk.topics.stale == 2
    desk.after(DAY_S)
    assert desk.ask() is None
    desk.topics.up(desk.now)
    for cid in cids:
        desk.topics.activated(cid, desk.now)
    desk.decode(cids[0], make_image(), 2)
    assert desk.kinds() == [Kind.QUOTE, Kind.RECOVERED]
    desk.decode(cids[1], make_image(), 2)
    told = [(row["kind"], row["instrument_id"]) for row in desk.take()]
    assert told == [(Kind.QUOTE, 2), (Kind.RECOVERED, 2), (Kind.RECOVERED, 0)]
    desk.after(1000)
    assert desk.ask() is None


def test_image_that_does_not_come_after_a_reconnect_is_asked_for(desk):
    (cid,) = desk.live()
    desk.topics.down(desk.now)
    desk.topics.up(desk.now)
    desk.after(29)
    assert desk.ask() is None
    desk.after(1)
    assert again(desk) == [cid + 1]


def test_recovery_of_the_feed_does_not_wait_for_what_failed(desks, make_image, make_reason):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.topics.down(desk.now)
    desk.topics.up(desk.now)
    desk.decode(cids[0], make_image(), 2)
    desk.take()
    desk.topics.failed(cids[1], make_reason("NOT_ENTITLED"), desk.now)
    assert [(row["kind"], row["instrument_id"]) for row in desk.take()] == [(Kind.RECOVERED, 0)]


def test_feed_of_which_all_fails_recovers_with_the_first_that_comes_back(
    desk, make_image, make_reason
):
    (cid,) = desk.live()
    desk.topics.down(desk.now)
    desk.topics.up(desk.now)
    desk.take()
    desk.topics.failed(cid, make_reason("IO_ERROR"), desk.now)
    assert desk.take() == []
    desk.after(10)
    (cid,) = again(desk)
    desk.decode(cid, make_image(), 1)
    told = [(row["kind"], row["instrument_id"]) for row in desk.take()]
    assert told == [(Kind.QUOTE, 1), (Kind.RECOVERED, 1), (Kind.RECOVERED, 0)]


def test_topic_that_waits_is_torn_with_the_feed(desks, make_image, make_reason):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.topics.failed(cids[0], make_reason("IO_ERROR"), desk.now)
    desk.after(1)
    desk.topics.down(desk.now)
    feed = desk.take()[-1]
    desk.topics.up(desk.now)
    desk.after(10)
    (cid,) = again(desk)
    desk.decode(cid, make_image(), 1)
    recovered = desk.take()[1]
    assert (recovered["instrument_id"], recovered["last_missing"]) == (1, feed["last_missing"])


def test_second_connection_down_is_no_second_gap(desk):
    desk.live()
    desk.topics.down(desk.now)
    desk.topics.down(desk.now)
    assert desk.kinds() == [Kind.GAP]


def test_end_of_the_session_is_a_gap_and_everything_is_asked_for_in_the_next(desks):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.topics.close(desk.now)
    assert desk.kinds() == [Kind.GAP]
    assert desk.ask() is None
    assert desk.decoder.touches == {}
    assert desk.open() == [cid + 2 for cid in cids]


def test_end_of_the_session_while_it_is_down_is_no_second_gap(desk):
    desk.live()
    desk.topics.down(desk.now)
    desk.topics.close(desk.now)
    assert desk.kinds() == [Kind.GAP]


def test_end_of_a_session_that_never_delivered_is_no_gap(desk):
    desk.topics.close(desk.now)
    assert desk.take() == []


def test_topic_refused_for_good_stays_refused_in_the_next_session(desk, make_reason):
    (cid,) = desk.open()
    desk.topics.failed(cid, make_reason("BAD_SEC"), desk.now)
    desk.topics.close(desk.now)
    assert desk.open() == []


# other topics while it runs


def test_topic_removed_while_it_runs(desks):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.follow(desk.listings[1:])
    assert [(row["kind"], row["instrument_id"]) for row in desk.take()] == [(Kind.CLEAR, 1)]
    (asks,) = drain(desk)
    assert (asks.unsubscribe, asks.subscribe) == ([cids[0]], [])
    assert len(desk.topics) == 1


def test_topic_added_while_it_runs(desk):
    (cid,) = desk.live()
    desk.follow((*desk.listings, Topic("NEW Equity")))
    assert again(desk) == [cid + 1]
    assert desk.entry().stage is Stage.LIVE


def test_topic_removed_before_it_was_asked_for(desk):
    desk.follow((Topic("NEW Equity"),))
    assert [ask.topic for one in [desk.topics.open(desk.now), *drain(desk)] if one for ask in one.subscribe] == ["NEW Equity"]  # fmt: skip
    assert desk.take() == []


def test_topic_removed_while_it_waits(desks, make_reason):
    desk = desks(["A Equity", "B Equity"])
    bad, good = desk.open()
    desk.topics.failed(bad, make_reason("IO_ERROR"), desk.now)
    desk.topics.started(good, {}, desk.now)
    desk.follow(desk.listings[1:])
    desk.after(20)
    assert drain(desk) == []


def test_topic_there_is_no_room_for(desk):
    desk.topics.follow((*desk.listings, Topic("NEW Equity")), lambda _topic: 0, desk.now)
    assert len(desk.topics) == 1
