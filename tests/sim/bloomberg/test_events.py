"""The bounded queue: one warning, drops, DataLoss where the hole is, and an end of it."""

from __future__ import annotations

import pytest

from mdfeedd.sim.bloomberg.events import EventQueue, Item, Kind, Occurrence


class Box:
    def __init__(self, limit=10, marks=(0.7, 0.3)):
        self.dropped = []
        self.queue = EventQueue(
            limit,
            marks,
            self.dropped.append,
            lambda item, count: Item("DataLoss", {"numMessagesDropped": count}, item.cid),
        )

    def put(self, *cids, kind=Kind.SUBSCRIPTION_DATA):
        for cid in cids:
            self.queue.put(Occurrence(kind, [Item("Data", {}, cid)]))

    def take(self, n=1000):
        found = []
        while len(found) < n and (event := self.queue.take()):
            for item in event.items:
                count = item.content.get("numMessagesDropped", item.content.get("eventsDropped"))
                found.append((item.kind, item.cid, count))
        return found


DATA = "Data"


def test_below_the_mark_nothing_is_said():
    box = Box()
    box.put(*range(7))
    assert box.take() == [(DATA, i, None) for i in range(7)]
    assert not box.queue.has_any


def test_warning_is_next_and_comes_once():
    box = Box()
    box.put(*range(9))
    assert box.take(2) == [("SlowConsumerWarning", None, None), (DATA, 0, None)]
    rest = box.take()
    assert [r for r in rest if r[0] == "SlowConsumerWarning"] == []
    assert rest[-1] == ("SlowConsumerWarningCleared", None, 0)


def test_limit_drops_and_tells_each_topic_where_the_hole_is():
    box = Box()
    box.put(*[1] * 9, 1, 2, 2, 3)  # the warning takes a place, too
    assert [item.cid for item in box.dropped] == [1, 2, 2, 3]
    head = box.take(5)
    assert head[0][0] == "SlowConsumerWarning"
    box.put(4)
    rest = box.take()
    hole = [("DataLoss", 1, 1), ("DataLoss", 2, 2), ("DataLoss", 3, 1)]
    at = rest.index(hole[0])
    assert rest[:at] == [(DATA, 1, None)] * 5
    assert rest[at : at + 4] == [*hole, (DATA, 4, None)]
    assert rest[-1] == ("SlowConsumerWarningCleared", None, 4)


def test_loss_is_told_though_nothing_follows():
    box = Box()
    box.put(*[1] * 30)
    found = box.take()
    assert len(box.dropped) == 21
    assert found[-2:] == [("DataLoss", 1, 21), ("SlowConsumerWarningCleared", None, 21)]


def test_second_episode_counts_from_nothing():
    box = Box()
    box.put(*[1] * 30)
    box.take()
    box.put(*[1] * 12)
    assert box.take()[-1] == ("SlowConsumerWarningCleared", None, 3)


def test_statuses_are_never_dropped():
    box = Box()
    box.put(*[1] * 20)
    box.put(*[7] * 5, kind=Kind.SUBSCRIPTION_STATUS)
    assert len([f for f in box.take() if f[1] == 7]) == 5


def test_loss_is_told_before_a_status_that_came_after_it():
    box = Box(limit=2, marks=(1.0, 0.5))
    box.put(1, 1, 1)
    box.put(1, kind=Kind.SUBSCRIPTION_STATUS)
    assert box.take() == [
        ("SlowConsumerWarning", None, None),
        (DATA, 1, None),
        (DATA, 1, None),
        ("DataLoss", 1, 1),
        (DATA, 1, None),
        ("SlowConsumerWarningCleared", None, 1),
    ]


def test_forgotten_topic_leaves_nothing_behind():
    box = Box()
    box.put(*[1, 2] * 10)
    gone = box.queue.forget(1)
    assert {item.cid for item in gone} == {1}
    assert len(gone) == 5
    assert [f for f in box.take() if f[1] == 1] == []


def test_event_of_several_messages_is_one_place_and_many_losses():
    box = Box(limit=1, marks=(1.0, 0.5))
    box.put(1)
    box.queue.put(Occurrence(Kind.SUBSCRIPTION_DATA, [Item(DATA, {}, 5), Item(DATA, {}, 5)]))
    assert box.take() == [
        ("SlowConsumerWarning", None, None),
        (DATA, 1, None),
        ("DataLoss", 5, 2),
        ("SlowConsumerWarningCleared", None, 1),
    ]


def test_warning_without_loss_can_be_asked_for():
    box = Box()
    box.queue.warn()
    box.queue.warn()
    assert box.take() == [
        ("SlowConsumerWarning", None, None),
        ("SlowConsumerWarningCleared", None, 0),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_smallest_queues_lose_and_tell_all(limit):
    box = Box(limit=limit, marks=(0.75, 0.5))
    told = got = 0
    for n in range(200):
        box.put(1)
        if n % 7 == 0:
            found = box.take(2)
            told += sum(f[2] for f in found if f[0] == "DataLoss")
            got += sum(f[0] == DATA for f in found)
    found = box.take()
    told += sum(f[2] for f in found if f[0] == "DataLoss")
    got += sum(f[0] == DATA for f in found)
    assert told == len(box.dropped) > 0
    assert told + got == 200
