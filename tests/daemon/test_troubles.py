"""Each trouble is told when it is there and only then: snapshots of real rings, one thing changed in each."""

from __future__ import annotations

import copy
import threading
import time

import numpy as np
import pytest
from line_rows import line

from mdfeedd.consumers.callbacks import CallbackConsumer, CallbackOptions
from mdfeedd.daemon.status import snapshot
from mdfeedd.daemon.troubles import troubles_of
from mdfeedd.ring import Reader, Writer
from mdfeedd.tick import TICK


def kinds(shown, before=None):
    return [(t["name"], t["trouble"]) for t in troubles_of(shown, before)]


@pytest.fixture
def rings(shm_dir):
    with (
        Writer("cme", 256, directory=shm_dir) as writer,
        Reader("cme", "oldest", "store", directory=shm_dir) as reader,
    ):
        writer.publish(np.zeros(10, TICK))
        reader.read(10)
        yield writer, reader, lambda: snapshot(shm_dir)


def test_nothing_is_wrong(rings):
    _, _, look = rings
    shown = look()
    assert kinds(shown, shown) == []
    assert shown["troubles"] == []


def test_gap_open_until_the_books_are_right_again(rings):
    writer, _, look = rings
    writer.counters.set("unproven_books", 3)
    shown = look()
    assert kinds(shown) == [("cme", "gap open")]
    assert "3 books" in shown["troubles"][0]["text"]
    writer.counters.set("unproven_books", 0)
    assert kinds(look()) == []


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([line(0.1, side="A"), line(0.1, side="B")], ""),
        (
            [line(0.1, side="A"), line(31.0, side="B")],
            "line 310 incremental B has been mute for 31 s",
        ),
        (
            [line(0.1, side="A"), line(None, 0, side="B")],
            "line 310 incremental B has brought nothing yet",
        ),
        ([line(0.1, 10, side="A"), line(None, 0, side="B")], ""),  # the feed has just begun
        ([line(40.0, side="A"), line(50.0, side="B")], ""),  # the market is closed
        ([line(0.1, side="A"), line(31.0, side="B", channel=312)], ""),
        ([line(0.1, side="A"), line(31.0, side="A", kind="snapshot")], ""),
        ([line(None, 5000, side="A"), line(None, 0, side="B")], ""),  # a recording
    ],
)
def test_line_that_is_mute_while_the_other_is_not(rings, lines, told):
    _, _, look = rings
    shown = look()
    shown["feeds"][0]["lines"] = lines
    texts = [t["text"] for t in troubles_of(shown) if t["trouble"] == "line mute"]
    assert len(texts) == bool(told)
    assert told in "".join(texts)


def test_topics_that_bring_nothing(rings):
    writer, _, look = rings
    writer.counters.set("failed_topics", 2)
    assert kinds(look()) == [("cme", "topics")]


def test_reader_behind_is_told_before_it_loses_and_its_loss_only_when_new(rings):
    writer, reader, look = rings
    for _ in range(129):
        writer.publish(np.zeros(1, TICK))
    before = look()
    assert kinds(before) == [("store", "behind")]
    for _ in range(300):
        writer.publish(np.zeros(1, TICK))
    while reader.available:
        reader.read(256)
    lapped = look()
    assert kinds(lapped, before) == [("store", "loses")]
    assert kinds(lapped, lapped) == [], "it is over"


def test_sink_refuses_while_it_refuses(rings):
    _, reader, look = rings
    before = look()
    reader.counters.set("failed_flushes", 2)
    reader.counters.set("pending_records", 1234)
    after = look()
    (told,) = troubles_of(after, before)
    assert (told["name"], told["trouble"]) == ("store", "refused")
    assert "1,234 records wait" in told["text"]
    assert kinds(after, after) == []
    assert kinds(after) == [], "of one look nobody can say when it was"


def test_sink_refuses_while_it_waits_to_be_tried_again(rings):
    """Its back-off may be longer than the time between two looks."""
    _, reader, look = rings
    reader.counters.set("failed_flushes", 2)
    reader.counters.set("pending_records", 1000)
    before = look()
    reader.counters.set("behind_records", 50)
    after = look()
    assert kinds(after, before) == [("store", "refused")]
    reader.counters.set("behind_records", 80)
    reader.counters.set("flushes", 1)
    assert kinds(look(), after) == [], "it takes something again"


def test_function_that_raises_is_no_sink_that_refuses(shm_dir):
    """As the consumer itself counts it."""

    def grumble(tick):
        raise ValueError(tick)

    with Writer("cme", 256, directory=shm_dir) as writer:
        consumer = CallbackConsumer(
            "strategy", CallbackOptions(start="oldest"), ["cme"], shm_dir, on_tick=grumble
        )
        stop = threading.Event()
        thread = threading.Thread(target=consumer.run, args=(stop,))
        thread.start()
        try:
            while not (before := snapshot(shm_dir))["consumers"]:
                time.sleep(0.01)
            writer.publish(np.zeros(3, TICK))
            while (after := snapshot(shm_dir))["consumers"][0]["counters"]["failed_flushes"] < 1:
                time.sleep(0.01)
        finally:
            stop.set()
            thread.join()
    (told,) = troubles_of(after, before)
    assert (told["name"], told["trouble"]) == ("strategy", "raises")
    assert "its function has just raised 3 times" in told["text"]


def test_sink_behind_in_the_journal(rings):
    _, reader, look = rings
    reader.counters.set("behind_records", 256)
    assert kinds(look()) == []
    reader.counters.set("behind_records", 257)
    assert kinds(look()) == [("store", "behind")]


def test_writer_died_and_rubbish_in_the_folder(shm_dir):
    Writer("cme", 256, directory=shm_dir).close()
    assert kinds(snapshot(shm_dir)) == [], "it said that it is done"
    (open(f"{shm_dir}/mdfeedd.rubbish", "wb")).close()
    assert kinds(snapshot(shm_dir)) == [("rubbish", "unreadable")]


@pytest.mark.parametrize(
    ("where", "change", "wanted"),
    [
        ("daemon", {"healthy": False}, ("", "daemon hangs")),
        ("daemon", {"config_taken": False}, ("", "configuration")),
        ("feeds", {"silent_s": 31.0}, ("cme", "silent")),
        ("consumers", {"alive": False, "managed": True}, ("store", "down")),
        ("processes", {"state": "backoff", "last_failure": "exit 70"}, ("cme", "backoff")),
        ("processes", {"state": "failed"}, ("cme", "failed")),
    ],
)
def test_what_only_a_supervisor_or_time_shows(rings, where, change, wanted):
    _, _, look = rings
    shown = copy.deepcopy(look())
    shown["daemon"] = {"healthy": True, "config_taken": True, "heartbeat_age_s": 11.0}
    assert kinds(shown) == []
    (shown[where] if where == "daemon" else shown[where][0]).update(change)
    assert kinds(shown) == [wanted]


def test_feed_that_publishes_is_not_silent(rings):
    writer, _, look = rings
    before = copy.deepcopy(look())
    writer.publish(np.zeros(1, TICK))
    after = copy.deepcopy(look())
    for shown in (before, after):
        shown["feeds"][0]["silent_s"] = 31.0
    assert kinds(after, before) == []
    assert kinds(after, after) == [("cme", "silent")]


def test_consumer_that_has_ended_as_it_should_is_not_down(rings):
    _, _, look = rings
    shown = copy.deepcopy(look())
    shown["consumers"][0].update(alive=False, managed=True)
    shown["processes"].append({**shown["processes"][0], "name": "store", "state": "finished"})
    assert kinds(shown) == []
