"""Losses, of one topic and of the feed: how they are told, and how they are repaired."""

from __future__ import annotations

import datetime as dt

import pytest

from mdfeedd.feeds.bloomberg.topics import (
    CHECK_S,
    INACTIVE_S,
    MOST_CHECK_S,
    MOST_REPAIR_S,
    SLOW_HOLD_S,
    Stage,
)
from mdfeedd.tick import Flag, GapReason, Kind

SECOND = 1_000_000_000
DAY_S = 86_400
BID = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID"}
DATALOSS = {"MKTDATA_EVENT_TYPE": "SUMMARY", "MKTDATA_EVENT_SUBTYPE": "DATALOSS"}


# losses, and how they are repaired


def test_data_loss_is_a_gap_and_a_new_image_is_asked_for(desk, make_image):
    (cid,) = desk.live()
    desk.after(3)
    desk.topics.data_loss(cid, {"id": "1", "source": "Session", "numMessagesDropped": 42}, desk.now)
    (row,) = desk.take()
    assert (row["kind"], row["reason"], row["instrument_id"]) == (Kind.GAP, GapReason.VENDOR_SKIPPED, 1)  # fmt: skip
    assert (row["first_missing"], row["last_missing"]) == (row["ts_recv"] - 3 * SECOND, row["ts_recv"])  # fmt: skip
    assert desk.topics.dropped == 42
    assert desk.topics.state().stale == 1
    (asks,) = desk.drain()
    assert asks.unsubscribe == [cid]
    fresh = asks.subscribe[0].cid
    assert fresh == cid + 1
    desk.decode(fresh, make_image(), 1)
    quote, recovered = desk.take()
    assert (quote["kind"], quote["flags"] & Flag.STALE) == (Kind.QUOTE, 0)
    assert recovered["kind"] is Kind.RECOVERED
    for name in ("first_missing", "last_missing", "reason", "instrument_id"):
        assert recovered[name] == row[name]
    assert desk.topics.state().stale == 0


def stamped(desk, ns, **fields):
    at = dt.datetime.fromtimestamp(ns // 1000 / 1e6, dt.UTC)
    return BID | {"BID_UPDATE_STAMP_RT": at} | fields


def bounds(row):
    return row["first_missing"], row["last_missing"]


def test_gap_begins_at_the_last_stamp_and_not_at_its_arrival(desk):
    (cid,) = desk.live()
    sent_ns = desk.now.wall_ns + SECOND
    desk.after(60)  # so long it lay in the queue, behind which others were dropped
    desk.decode(cid, stamped(desk, sent_ns, BID=100.25))
    desk.after(1)
    desk.topics.data_loss(cid, {"numMessagesDropped": 9}, desk.now)
    gap = desk.take()[1]
    assert bounds(gap) == (sent_ns, desk.now.wall_ns)


def test_recovered_reaches_to_the_image(desk, make_image):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)  # so that the asking is put off
    desk.topics.data_loss(cid, {"numMessagesDropped": 9}, desk.now)
    (gap,) = desk.take()
    desk.after(SLOW_HOLD_S)
    (cid,) = desk.again()
    desk.after(2)
    desk.decode(cid, make_image(), 1)
    recovered = desk.take()[1]
    assert bounds(recovered) == (gap["first_missing"], desk.now.wall_ns)
    assert desk.now.wall_ns == gap["last_missing"] + (SLOW_HOLD_S + 2) * SECOND


def test_gap_after_an_image_does_not_reach_to_what_the_image_holds(desk, make_image):
    (cid,) = desk.live()
    desk.after(100)
    desk.decode(cid, DATALOSS)
    (cid,) = desk.again()
    asked_ns = desk.now.wall_ns
    desk.decode(cid, make_image(BID_UPDATE_STAMP_RT=dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)), 1)
    desk.take()
    desk.after(1)
    desk.decode(cid, DATALOSS)
    (gap,) = desk.take()
    assert gap["first_missing"] == asked_ns


def test_recovery_of_the_feed_tells_the_hole_of_all_its_instruments(desks, make_image):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    begin_ns = desk.now.wall_ns
    desk.after(5)
    desk.decode(cids[1], stamped(desk, desk.now.wall_ns, BID=100.25))
    desk.topics.down(desk.now)
    gap = desk.take()[1]
    assert bounds(gap) == (desk.now.wall_ns,) * 2
    desk.topics.up(desk.now)
    for cid in cids:
        desk.after(3)
        desk.decode(cid, make_image(), 2)
    rows = [row for row in desk.take() if row["kind"] is Kind.RECOVERED]
    a_ns, b_ns = gap["ts_recv"] + 3 * SECOND, gap["ts_recv"] + 6 * SECOND
    assert [(row["instrument_id"], *bounds(row)) for row in rows] == [
        (1, begin_ns, a_ns), (2, gap["ts_recv"], b_ns), (0, begin_ns, b_ns),
    ]  # fmt: skip


def test_gap_of_events_that_nobody_told_of_begins_before_the_warning(desk):
    (cid,) = desk.live()
    begin_ns = desk.now.wall_ns
    desk.topics.slow(desk.now)
    for _ in range(4):  # what was dropped lies somewhere between these
        desk.after(1)
        desk.decode(cid, stamped(desk, desk.now.wall_ns, BID=desk.now.monotonic_ns / SECOND))
    desk.topics.slow_over({"eventsDropped": 10}, desk.now)
    desk.after(CHECK_S)
    desk.drain()
    gap = desk.take()[-1]
    assert (gap["kind"], gap["instrument_id"], *bounds(gap)) == (Kind.GAP, 0, begin_ns, desk.now.wall_ns)  # fmt: skip
    assert desk.entry().touch.hole_first_ns == begin_ns


def test_stale_gap_and_recovered_counts_add_up_for_what_was_torn_before_its_first_image(
    desk, make_image
):
    desk.decoder.tear_all(desk.topics.touches(), 5, 6, GapReason.RESTART)
    (cid,) = desk.open()
    desk.decode(cid, make_image(), 1)
    assert (desk.decoder.torn, desk.decoder.recovered) == (1, 1)


def test_data_of_the_old_subscription_after_a_loss_are_nobodys(desk):
    (cid,) = desk.live()
    desk.decode(cid, DATALOSS)
    desk.drain()
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
        while not (found := desk.again()):
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
    assert len(desk.again()) == 1


def test_loss_that_names_no_topic_is_one_of_the_feed(desks):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.topics.data_loss(None, {"numMessagesDropped": 5}, desk.now)
    (row,) = desk.take()
    assert (row["kind"], row["instrument_id"]) == (Kind.GAP, 0)
    desk.after(1)
    (asks,) = desk.drain()
    assert (asks.unsubscribe, len(asks.subscribe)) == (cids, 2)


def test_loss_of_the_feed_leaves_what_failed_and_what_is_off_in_peace(desks, make_reason):
    desk = desks(["A Equity", "B Equity", "C Equity"])
    failed, off, _live = desk.live()
    desk.topics.failed(failed, make_reason("NOT_ENTITLED"), desk.now)
    desk.topics.deactivated(off, {}, desk.now)
    desk.topics.data_loss(None, {}, desk.now)
    desk.after(1)
    assert len(desk.again()) == 1
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
    desk.drain()
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
    assert len(desk.again()) == 1


def test_being_behind_for_ever_does_not_hold_images_for_ever(desk):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    assert desk.ask() is None
    desk.after(SLOW_HOLD_S + 1)
    assert len(desk.again()) == 1


def test_dropped_events_that_nobody_told_of_are_a_gap_of_the_feed(desk):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    desk.topics.slow_over({"eventsDropped": 10}, desk.now)
    desk.again()
    desk.take()
    desk.after(CHECK_S)
    desk.ask()
    assert [(row["kind"], row["instrument_id"]) for row in desk.take()] == [(Kind.GAP, 0)]
    assert (desk.topics.dropped, desk.topics.untold) == (3, 7)


def test_events_that_nobody_told_of_do_not_hide_others(desk):
    desk.live()
    desk.topics.slow(desk.now)
    desk.topics.slow_over({"eventsDropped": 7}, desk.now)
    desk.after(CHECK_S - 1)
    desk.topics.slow(desk.now)
    desk.after(1)
    desk.drain()
    desk.topics.slow_over({"eventsDropped": 7}, desk.now)
    desk.after(CHECK_S)
    desk.drain()
    assert desk.kinds() == [Kind.GAP, Kind.GAP]
    assert desk.topics.untold == 14


def test_second_warning_soon_after_does_not_make_the_drops_of_the_first_forgotten(desk):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.slow_over({"eventsDropped": 10}, desk.now)  # nobody says whose
    desk.after(1)
    desk.topics.slow(desk.now)
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    desk.topics.slow_over({"eventsDropped": 3}, desk.now)
    desk.after(CHECK_S)
    desk.drain()
    assert (desk.topics.dropped, desk.topics.untold) == (3, 10)


def test_warnings_without_end_do_not_put_the_check_off_for_ever(desk):
    desk.live()
    waited = 0
    while not desk.topics.untold:
        desk.topics.slow(desk.now)
        desk.topics.slow_over({"eventsDropped": 1}, desk.now)
        desk.after(1)
        desk.drain()
        waited += 1
    assert (waited, desk.topics.untold) == (MOST_CHECK_S, MOST_CHECK_S)


def test_topic_that_is_removed_while_its_image_is_held_back(desks):
    desk = desks(["A Equity", "B Equity"])
    a, _ = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.data_loss(a, {"numMessagesDropped": 3}, desk.now)
    assert desk.ask() is None
    desk.follow(desk.listings[1:])
    assert [one.unsubscribe for one in desk.drain()] == [[a]]
    desk.topics.slow_over({"eventsDropped": 3}, desk.now)
    desk.after(CHECK_S)
    assert desk.drain() == []
    assert [entry.stage for entry in desk.topics] == [Stage.LIVE]


def test_slowness_ends_with_its_session(desk, make_image):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    desk.drain()
    desk.topics.slow_over({"eventsDropped": 10}, desk.now)  # seven of them untold
    desk.topics.slow(desk.now)
    desk.topics.close(desk.now)
    (cid,) = desk.open()
    desk.decode(cid, make_image(), 1)
    desk.decode(cid, DATALOSS)
    desk.after(1)
    assert len(desk.again()) == 1  # it is not held back by the warning of before
    desk.after(CHECK_S)
    desk.drain()
    assert desk.topics.untold == 0  # the gap of the session's end has told it


def test_what_was_held_back_in_one_session_is_not_asked_for_twice_in_the_next(desk, make_image):
    (cid,) = desk.live()
    desk.topics.slow(desk.now)
    desk.topics.data_loss(cid, {"numMessagesDropped": 3}, desk.now)
    assert desk.ask() is None
    desk.topics.close(desk.now)
    (cid,) = desk.open()
    desk.topics.started(cid, {}, desk.now)
    desk.topics.slow(desk.now)
    desk.topics.slow_over({"eventsDropped": 0}, desk.now)
    assert desk.again() == []  # its image is under way


def test_pieces_of_an_image_end_with_their_subscription(desk, make_image):
    (cid,) = desk.live()
    desk.decode(cid, make_image(BID=50.0), 1, 1)
    desk.topics.close(desk.now)
    (cid,) = desk.open()
    desk.take()
    desk.decode(
        cid, make_image(ASK=51.0), 1, 3
    )  # the end of an image, whose beginning was another's
    assert desk.take() == []
    assert desk.entry().touch.stale


def test_pieces_of_an_image_end_where_the_image_is_asked_for_anew(desk, make_image):
    (cid,) = desk.live()
    desk.decode(cid, DATALOSS)
    (cid,) = desk.again()
    desk.topics.started(cid, {}, desk.now)
    desk.decode(cid, make_image(BID=50.0), 1, 1)
    desk.after(60)
    (cid,) = desk.again()
    desk.take()
    desk.decode(cid, make_image(ASK=51.0), 1, 3)
    assert desk.take() == []
    assert desk.entry().touch.stale


def test_live_topic_of_a_lost_connection_is_not_live(desk):
    desk.live()
    desk.topics.down(desk.now)
    assert desk.entry().stage is Stage.STARTED
    assert desk.topics.stages()[Stage.LIVE] == 0


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
    assert desk.again() == [cid + 1]


def test_streams_that_stay_off_are_asked_for_again(desk):
    (cid,) = desk.live()
    desk.topics.deactivated(cid, {}, desk.now)
    desk.after(INACTIVE_S)
    assert desk.again() == [cid + 1]


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
    assert desk.topics.state().stale == 2
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
    assert desk.again() == [cid + 1]


def test_recovery_of_the_feed_does_not_wait_for_what_failed(desks, make_image, make_reason):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.topics.down(desk.now)
    desk.topics.up(desk.now)
    desk.decode(cids[0], make_image(), 2)
    desk.take()
    desk.topics.failed(cids[1], make_reason("NOT_ENTITLED"), desk.now)
    told = [(row["kind"], row["instrument_id"]) for row in desk.take()]
    assert told == [(Kind.RECOVERED, 0), (Kind.STATUS, 2)]


def test_feed_of_which_all_fails_recovers_with_the_first_that_comes_back(
    desk, make_image, make_reason
):
    (cid,) = desk.live()
    desk.topics.down(desk.now)
    desk.topics.up(desk.now)
    desk.take()
    desk.topics.failed(cid, make_reason("IO_ERROR"), desk.now)
    assert desk.kinds() == [Kind.STATUS]
    desk.after(10)
    (cid,) = desk.again()
    desk.decode(cid, make_image(), 1)
    told = [(row["kind"], row["instrument_id"]) for row in desk.take()]
    assert told == [(Kind.QUOTE, 1), (Kind.RECOVERED, 1), (Kind.RECOVERED, 0), (Kind.STATUS, 1)]


def test_topic_that_waits_is_torn_with_the_feed(desks, make_image, make_reason):
    desk = desks(["A Equity", "B Equity"])
    cids = desk.live()
    desk.topics.failed(cids[0], make_reason("IO_ERROR"), desk.now)
    desk.after(1)
    desk.topics.down(desk.now)
    feed = desk.take()[-1]
    desk.topics.up(desk.now)
    desk.after(10)
    (cid,) = desk.again()
    desk.decode(cid, make_image(), 1)
    recovered = desk.take()[1]
    assert (recovered["instrument_id"], recovered["last_missing"]) == (1, recovered["ts_recv"])
    assert recovered["first_missing"] == feed["first_missing"]


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
    assert not desk.decoder.touches
    assert [entry.stage for entry in desk.topics] == [Stage.IDLE] * 2
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


def test_what_another_process_has_shown_is_void_when_its_topic_is_not_followed(desk):
    touches = desk.topics.touches()
    desk.decoder.tear_all(touches, desk.now.wall_ns, desk.now.wall_ns, GapReason.RESTART)
    desk.follow(())
    assert desk.kinds() == [Kind.CLEAR]
