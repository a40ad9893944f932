"""The venue's packets against its own books: read back by hand-written offsets and replayed independently."""

from __future__ import annotations

import itertools
import random
import struct
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from mdfeedd.sim.cme import ASK, BID_SIDE, Feed, Habits, Sent, Shape, Venue, changes
from mdfeedd.sim.cme.instruments import listings
from mdfeedd.sim.cme.schema import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

E9 = 10**9
NULL_PRICE, NULL_I32 = 2**63 - 1, 2**31 - 1
WILD = Habits(
    channel_reset=0.5,
    weekly_reset=0.3,
    delete=0.5,
    add=0.5,
    long_event=2,
    reset_book=1,
    opening=1,
    several=8,
)
RUNS = [
    (0, 13, None),
    (1, 13, None),
    (2, 99, None),
    (3, 5, None),
    (4, 6, None),
    (5, 8, None),
    (6, 9, False),
    (7, 9, True),
    (8, 10, None),
    (9, 12, None),
    (10, 7, None),
    (11, 14, None),
]


def venue_of(seed: int, version: int, old: bool | None, habits: Habits = WILD) -> Venue:
    return Venue(seed, version=version, old_templates=old, habits=habits, instruments=7)


def messages(payload: bytes) -> Iterator[tuple[int, bytes, int, list[list[bytes]]]]:
    """(template, root, version, entries by group)."""
    at = 12
    while at < len(payload):
        size, block, template, _, version = struct.unpack_from("<HHHHH", payload, at)
        end, at = at + size, at + 10
        root, at = payload[at : at + block], at + block
        groups = []
        while at < end:
            wide = bool(groups) and template in (46, 64, 48, 65, 32, 42)
            length, count = struct.unpack_from("<H5xB" if wide else "<HB", payload, at)
            at += 8 if wide else 3
            groups.append([payload[at + i * length : at + (i + 1) * length] for i in range(count)])
            at += length * count
        assert at == end
        yield template, root, version, groups


MEI_AT = {30: 26, 39: 31, 60: 20, 54: 0, 55: 0, 56: 0, 57: 0, 58: 0, 63: 0, 27: 0, 29: 0, 41: 0}
BOOKS, LONG_BOOKS = (46, 32), (64,)
RPT_SEQ_AT = {46: 16, 32: 16, 48: 16, 42: 16, 37: 8, 49: 16, 33: 16, 50: 28, 34: 28, 51: 12, 35: 12}
RPT_SEQ_AT |= {64: 20, 65: 20, 66: 12, 67: 20}


class Replay:
    """Books from the bytes of the incremental feed, written against the document, not against the venue."""

    def __init__(self, ends: int = 0) -> None:
        self.rows: dict[tuple[int, str], list[tuple]] = defaultdict(list)
        self.orders: dict[int, dict[int, tuple]] = defaultdict(dict)
        self.rpt_seq: dict[int, int] = defaultdict(int)
        self.ends = ends

    def packet(self, payload: bytes) -> None:
        for template, root, _, groups in messages(payload):
            at = MEI_AT.get(template, 8)
            self.ends += template != 12 and root[at] >> 7
            if template == 4:
                self.__init__(self.ends)  # type: ignore[misc]
            if template in RPT_SEQ_AT:
                for entry in groups[0]:
                    self.count(template, entry)
            scale = 100 if template < 46 else 1
            if template in BOOKS or template in LONG_BOOKS:
                self.book(template in LONG_BOOKS, groups, scale)
            elif template in (47, 43):
                for entry in groups[0]:
                    row = struct.unpack_from("<QQqiiBc", entry)
                    assert (row[6] == b"J") == (row[0] == 2**64 - 1)
                    self.order(row[4], row[5], row[0], row[6], row[1], row[2] * scale, row[3])

    def count(self, template: int, entry: bytes) -> None:
        at = RPT_SEQ_AT[template]
        sid, rpt_seq = struct.unpack_from("<iI", entry, at - 4)
        assert rpt_seq == self.rpt_seq[sid] + 1, "RptSeq is not contiguous"
        self.rpt_seq[sid] = rpt_seq

    def book(self, long: bool, groups: list[list[bytes]], scale: int) -> None:
        parsed = []
        for entry in groups[0]:
            px, size, sid, _, orders, level, action, kind = struct.unpack_from(
                "<qQiIiBBc" if long else "<qiiIiBBc", entry
            )
            parsed.append((sid, kind, px * scale))
            if kind == b"J":
                for key in [key for key in self.rows if key[0] == sid]:
                    del self.rows[key]
                continue
            rows = self.rows[sid, kind.decode()]
            row = (px * scale, size, None if orders == NULL_I32 else orders)
            if action == 0:
                assert level <= len(rows) + 1
                rows.insert(level - 1, row)
                del rows[2 if kind in b"EF" else 10 :]
            elif action == 1:
                assert rows[level - 1][0] == row[0], "a Change moved the price"
                rows[level - 1] = row
            else:
                assert rows.pop(level - 1) == row, "a Delete carries what was there"
        for order in groups[1] if len(groups) > 1 else ():
            order_id, priority, size, reference, action = struct.unpack_from("<QQiBB", order)
            sid, kind, px = parsed[reference - 1]
            self.order(sid, action, order_id, kind, priority, px, size)

    def order(self, sid: int, action: int, order_id: int, kind: bytes, *row: int) -> None:
        own = self.orders[sid]
        if kind == b"J":
            own.clear()
            return
        assert (order_id in own) == (action != 0)
        if action == 2:
            assert own.pop(order_id) == (kind, *row)
        else:
            own[order_id] = (kind, *row)


def compare(replay: Replay, states: dict[int, Any]) -> None:
    for sid, state in states.items():
        assert replay.rpt_seq[sid] == state.rpt_seq
        for kind, rows in zip(
            "01EF",
            (state.bids, state.asks, state.implied_bids, state.implied_asks),
            strict=True,
        ):
            assert replay.rows[sid, kind] == list(rows), (sid, kind)
        assert replay.orders[sid] == state.order_map


@pytest.mark.parametrize(("seed", "version", "old"), RUNS)
def test_replayed_bytes_give_the_true_books_after_every_packet(
    seed: int, version: int, old: bool | None
) -> None:
    venue = venue_of(seed, version, old)
    sent = [packet for packet in venue.run(500) if packet.feed == Feed.INCREMENTAL]
    replay, epoch = Replay(), 0
    for packet in sent:
        if packet.epoch != epoch:
            epoch, replay = packet.epoch, Replay(replay.ends)
        replay.packet(packet.payload)
        for sid in set(replay.rpt_seq) - set(venue.truth.at(packet.seq, packet.epoch)):
            del replay.rpt_seq[sid]  # deleted: the id may come back
            replay.orders.pop(sid, None)
            for key in [key for key in replay.rows if key[0] == sid]:
                del replay.rows[key]
        compare(replay, venue.truth.at(packet.seq, packet.epoch))
    assert replay.ends == len(venue.truth.events), "every end is told"


@pytest.mark.parametrize(("seed", "version", "old"), RUNS)
def test_told_books_equal_the_matching_engines_at_every_quiet_moment(
    seed: int, version: int, old: bool | None
) -> None:
    venue = venue_of(seed, version, old)
    for _ in range(60):
        venue.run(5)
        for sid, instrument in venue.instruments.items():
            state = venue.channel.published[sid].freeze()
            assert list(state.bids) == instrument.book.top(BID_SIDE, 10)
            assert list(state.asks) == instrument.book.top(ASK, 10)
            assert state.rpt_seq == instrument.rpt_seq
            if venue.orders and instrument.listing.orders:
                assert set(state.order_map) == set(instrument.book.orders)
                for sides in state.order_book():
                    assert all(size > 0 for *_, size in sides)


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def run(seed: int) -> list[Sent]:
        venue = venue_of(seed, 13, None)
        return venue.run(150) + venue.settle()

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_portions_of_a_run_do_not_change_it() -> None:
    whole, parts = venue_of(5, 13, None), venue_of(5, 13, None)
    sent = whole.run(100)
    pieces = [packet for _ in range(20) for packet in parts.run(5)]
    assert [p.payload for p in sent] == [p.payload for p in pieces]


def test_numbers_and_times_of_the_incremental_feed_step_by_one_and_forward() -> None:
    venue = venue_of(11, 13, None, Habits(weekly_reset=3))
    sent = venue.run(400)
    assert all(a.time_ns <= b.time_ns for a, b in itertools.pairwise(sent))
    own = [p for p in sent if p.feed == Feed.INCREMENTAL]
    for before, packet in itertools.pairwise(own):
        assert packet.seq == (before.seq + 1 if packet.epoch == before.epoch else 1)
        seq, sending_ns = struct.unpack_from("<IQ", packet.payload)
        assert (seq, sending_ns) == (packet.seq, packet.time_ns)
    assert own[-1].epoch >= 1, "the run has no weekly reset: take another seed"
    assert max(len(p.payload) for p in sent) <= 1_412


def test_loops_restart_at_one_and_show_every_active_instrument_once() -> None:
    venue = Venue(3, instruments=5)
    venue.run(200)
    for feed, template in ((Feed.DEFINITION, None), (Feed.SNAPSHOT, 52), (Feed.ORDERS, 52)):
        venue.loops.whole(feed)
        venue.take()
        venue.loops.whole(feed)
        sent = venue.take()
        assert [p.seq for p in sent] == list(range(1, len(sent) + 1))
        shown, totals = [], set()
        for packet in sent:
            for kind, root, _, _ in messages(packet.payload):
                if kind in (52, 69):
                    shown.append(struct.unpack_from("<i", root, 8)[0])
                    totals.add(struct.unpack_from("<I", root, 4)[0])
                elif template is None:
                    shown.append(struct.unpack_from("<i", root, 55)[0])
                    totals.add(struct.unpack_from("<I", root, 1)[0])
        assert sorted(shown) == sorted(venue.ids if template is None else venue.active())
        assert totals == {len(shown)}


def test_snapshots_of_one_loop_are_as_of_different_packets_and_equal_the_truth_there() -> None:
    venue = Venue(4, instruments=5, habits=Habits(cut=0))
    checked, last_seqs = 0, set()
    for packet in venue.run(400):
        if packet.feed != Feed.SNAPSHOT:
            continue
        for template, root, _, groups in messages(packet.payload):
            if template != 52:
                continue
            last_seq, _, sid, rpt_seq, transact_ns = struct.unpack_from("<IIiIQ", root)
            state = venue.truth.state(sid, last_seq)
            assert state is not None
            assert (state.rpt_seq, state.transact_ns) == (rpt_seq, transact_ns)
            rows = [struct.unpack_from("<qiib4xc", entry) for entry in groups[0]]
            for kind, levels in ((b"0", state.bids), (b"1", state.asks)):
                told = [(px, size, n) for px, size, n, _, k in rows if k == kind]
                assert told == list(levels)
                ranks = [level for *_, level, k in rows if k == kind]
                assert ranks == list(range(1, len(levels) + 1))
            checked += 1
            last_seqs.add(last_seq)
    assert checked > 20
    assert len(last_seqs) > 10


def test_cut_snapshot_claims_a_packet_that_it_does_not_contain() -> None:
    venue = Venue(4, instruments=2, habits=Habits(cut=1.0, late=0.0))
    cut = 0
    for packet in venue.run(300):
        if packet.feed != Feed.SNAPSHOT:
            continue
        for template, root, _, _ in messages(packet.payload):
            if template in (52, 69):
                claimed, _, sid, rpt_seq, transact_ns = struct.unpack_from("<IIiIQ", root)
                state = venue.truth.state(sid, claimed)
                assert state is not None
                if state.rpt_seq != rpt_seq:
                    cut += 1
                    assert state.transact_ns != transact_ns, "the client could not tell"
                    assert sid in venue.truth.changed_in(claimed)
    assert cut > 3


def test_order_snapshot_comes_in_chunks_with_the_sides_taking_turns() -> None:
    venue = Venue(4, instruments=[i for i in listings(6, 13) if i.template == 54][:1])
    (sid,) = venue.ids
    venue.fill_books(levels=4, orders=2)
    venue.quote(sid, 0, venue.instruments[sid].fair - 20 * E9, 1)
    entries, roots = [], []
    for message in venue.order_snapshot(sid, total=3, per_chunk=5):
        ((template, root, _, groups),) = messages(b"\0" * 12 + message)
        assert template == 53
        roots.append(struct.unpack_from("<IIiIIQ", root))
        entries += [struct.unpack_from("<QQqic", entry) for entry in groups[0]]
    state = venue.truth.state(sid)
    assert state is not None
    last_seq = venue.channel.last_seq
    assert roots == [(last_seq, 3, sid, 4, i, state.transact_ns) for i in (1, 2, 3, 4)]
    bids, asks = state.order_book()
    assert [e[:4] for e in entries if e[4] == b"0"] == bids
    assert [e[:4] for e in entries if e[4] == b"1"] == asks
    assert b"".join(e[4] for e in entries[:6]) == b"010101"


def test_emptied_instrument_has_a_snapshot_without_entries() -> None:
    venue = Venue(4, instruments=1)
    (sid,) = venue.ids
    order = venue.quote(sid, 0, 100 * E9, 5)
    venue.cancel(sid, order)
    ((_, root, _, groups),) = messages(b"\0" * 12 + venue.snapshot(sid))
    assert struct.unpack_from("<IIiI", root) == (venue.channel.last_seq, 1, sid, 2)
    assert groups == [[]]
    ((_, _, _, groups),) = messages(b"\0" * 12 + venue.order_snapshot(sid)[0])
    assert groups == [[]]


def test_loop_without_active_instruments_is_a_heartbeat() -> None:
    venue = Venue(4, instruments=2)
    venue.loops.whole(Feed.SNAPSHOT)
    (packet,) = venue.take()
    assert [template for template, *_ in messages(packet.payload)] == [12]


def test_quiet_minutes_have_heartbeats_every_thirty_seconds() -> None:
    venue = Venue(4, instruments=1)
    venue.quote(venue.ids[0], 0, 100 * E9, 5)
    venue.take()
    venue.pause(100 * E9)
    sent = venue.take()
    assert len(sent) == 3
    times = [packet.time_ns for packet in sent]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [30 * E9] * 2


def test_event_over_many_packets_has_one_end() -> None:
    for packets in (2, 8, 64):
        venue = Venue(4, instruments=1)
        (sid,) = venue.ids
        with venue.event(Shape(entries_per_message=1, messages_per_packet=1)) as event:
            for i in range(packets):
                event.add(sid, i % 2, (100 + (i if i % 2 else -i)) * E9, 1)
                if i >= 19:  # beyond ten levels a side: told of by order messages
                    event.implied(sid)
        sent = venue.take()
        ends = [root[8] >> 7 for p in sent for _, root, _, _ in messages(p.payload)]
        assert ends == [0] * (len(ends) - 1) + [1]
        assert len(sent) >= min(packets, 20)


def test_several_events_in_one_packet_at_one_time() -> None:
    venue = Venue(4, instruments=1)
    (sid,) = venue.ids
    now_ns = venue.now_ns
    for i in range(3):
        with venue.event(Shape(hold=i < 2), transact_ns=now_ns) as event:
            event.add(sid, 0, (100 + i) * E9, 1)
    (packet,) = venue.take()
    told = [(struct.unpack_from("<QB", root)) for _, root, _, _ in messages(packet.payload)]
    assert told == [(now_ns, 0x84)] * 3
    assert [set(event.states) for event in venue.truth.events] == [{sid}] * 3
    assert [event.states[sid].bids[0][0] for event in venue.truth.events] == [
        100 * E9,
        101 * E9,
        102 * E9,
    ]


def test_split_trade_summary_goes_on_with_order_ids_only() -> None:
    venue = Venue(4, instruments=[i for i in listings(6, 13) if i.template == 54][:1])
    (sid,) = venue.ids
    for price in (100, 101, 102):
        venue.quote(sid, 1, price * E9, 2)
    venue.take()
    assert venue.trade(sid, 1, 5, split_trades=True, messages_per_packet=1) == 5
    parts = [m for p in venue.take() for m in messages(p.payload) if m[0] == 48]
    assert [(root[8], [len(g) for g in groups]) for _, root, _, groups in parts] == [
        (0x00, [3, 3]),
        (0x01, [0, 3]),
    ]
    orders = sum(struct.unpack_from("<i", e, 20)[0] for m in parts for e in m[3][0])
    assert orders == sum(len(m[3][1]) for m in parts)
    (trade,) = {t.entry.aggressor for t in venue.truth.trades()}
    assert trade == 1


def test_opening_crosses_in_preopen_and_trades_before_continuous_trading() -> None:
    venue = Venue(4, instruments=[i for i in listings(6, 13) if i.template == 54][:1])
    (sid,) = venue.ids
    venue.open_group(venue.instruments[sid].listing.group)
    crossed = [
        (event.states[sid].status, event.states[sid].bids[0][0] >= event.states[sid].asks[0][0])
        for event in venue.truth.events
        if sid in event.states and event.states[sid].bids and event.states[sid].asks
    ]
    assert (21, True) in crossed
    assert (17, True) not in crossed
    assert [t.entry.status for t in venue.truth.told if hasattr(t.entry, "status")] == [21, 15, 17]
    assert [t.entry.aggressor for t in venue.truth.trades()] == [0]


def test_channel_reset_empties_restarts_rptseq_and_tells_all_again() -> None:
    for restart in (False, True):
        venue = Venue(8, instruments=4)
        venue.run(150)
        before = {sid: venue.truth.state(sid) for sid in venue.ids}
        settlements = {sid: s.statistics.get(b"6") for sid, s in before.items() if s}
        seq = venue.channel.next_seq
        venue.channel_reset(restart_seq=restart)
        sent = venue.take()
        assert sent[0].seq == (1 if restart else seq)
        empty = venue.truth.at(sent[0].seq)
        assert all(not s.bids and not s.order_map and not s.rpt_seq for s in empty.values())
        assert {sid: s.statistics.get(b"6") for sid, s in empty.items()} == settlements
        for sid, state in before.items():
            after = venue.truth.state(sid)
            assert state is not None
            assert after is not None
            assert (after.bids, after.asks) == (state.bids, state.asks)
            assert after.order_map == state.order_map
        meis = [m[1][8] for p in sent[1:] for m in messages(p.payload)]
        assert all(mei & 0x20 for mei in meis)


def test_weekly_reset_starts_at_one_with_definitions_and_gives_back_ids() -> None:
    venue = Venue(8, instruments=4)
    venue.run(100)
    gone = venue.ids[-1]
    symbol = venue.instruments[gone].listing.symbol
    venue.delete_instrument(gone)
    before_ns = venue.now_ns
    venue.take()
    venue.weekly_reset()
    sent = venue.take()
    assert [p.seq for p in sent] == list(range(1, len(sent) + 1))
    assert sent[0].time_ns - before_ns > 3600 * E9
    assert {p.epoch for p in sent} == {1}
    assert venue.instruments[gone].listing.symbol != symbol
    assert all(not state.bids and not state.rpt_seq for state in venue.truth.at().values())


def test_changes_between_any_two_pictures_lead_from_one_to_the_other() -> None:
    rng = random.Random(9)
    for _ in range(2000):
        side, depth = rng.randrange(2), rng.choice((2, 10))
        pictures = []
        for _ in range(2):
            prices = sorted(rng.sample(range(-8, 8), rng.randrange(depth + 1)), reverse=not side)
            pictures.append([(price, rng.randrange(1, 3), 1) for price in prices])
        rows = list(pictures[0])
        for action, level, row in changes(*pictures, side, depth):
            if action == 0:
                rows.insert(level - 1, row)
                del rows[depth:]
            elif action == 1:
                assert rows[level - 1][0] == row[0]
                rows[level - 1] = row
            else:
                assert rows.pop(level - 1) == row
        assert rows == pictures[1]


def test_level_that_comes_up_from_below_the_depth_is_new_at_the_last_level() -> None:
    before = [(100 - i, 5, 1) for i in range(10)]
    after = [(100 - i, 5, 1) for i in range(1, 11)]
    assert changes(before, after, BID_SIDE, 10) == [(2, 1, (100, 5, 1)), (0, 10, (90, 5, 1))]
    assert changes(after, before, BID_SIDE, 10) == [(0, 1, (100, 5, 1))]


def test_long_quantities_need_more_than_32_bits_and_their_own_templates() -> None:
    venue = Venue(2, instruments=[i for i in listings(9, 13) if i.long][:1])
    (sid,) = venue.ids
    sent = venue.run(300)
    seen = {m[0] for p in sent for m in messages(p.payload)}
    assert {63, 64, 65, 66, 67, 69} <= seen
    assert not {46, 48, 37, 51, 52, 53} & (seen - {46})  # empty end messages stay 46
    state = venue.truth.state(sid)
    assert state is not None
    assert max(size for _, size, _ in state.bids) > 2**32
    assert not state.order_map


def test_spread_has_negative_prices() -> None:
    venue = Venue(2, instruments=[i for i in listings(9, 13) if i.template == 56][:1])
    venue.run(100)
    state = venue.truth.state(venue.ids[0])
    assert state is not None
    assert state.bids[0][0] < 0


def test_runs_contain_every_kind_of_event_and_every_message() -> None:
    happened: Counter[str] = Counter()
    templates: set[int] = set()
    for seed, version, old in RUNS:
        venue = venue_of(seed, version, old)
        for packet in venue.run(400):
            templates |= {message[0] for message in messages(packet.payload)}
        happened.update(venue.schedule.happened)
    assert min(happened.values()) > 0, happened
    by_hand = {36}  # no venue sends it: see `Wire.old_trades`
    assert templates == set(MESSAGES) - by_hand


def test_run_without_end_keeps_only_what_is_now() -> None:
    kept = Venue(13, instruments=3, habits=Habits(cut=0, late=0))
    endless = Venue(13, instruments=3, habits=Habits(cut=0, late=0), keep_truth=False)
    assert kept.run(200) == endless.run(200)
    assert endless.truth.at() == kept.truth.at()
    assert not endless.truth.events
    assert not endless.truth.told
    assert kept.truth.events


def test_venue_at_the_end_of_the_sequence_numbers() -> None:
    venue = Venue(1, habits=Habits.none(quote=1), first_seq=2**32 - 40)
    sent = [packet for packet in venue.run(30) if packet.feed == Feed.INCREMENTAL]
    assert sent[0].seq == struct.unpack_from("<I", sent[0].payload)[0] == 2**32 - 40
    assert venue.truth.at(sent[-1].seq) == venue.truth.at()


def test_deleted_id_comes_back_with_another_symbol_and_rptseq_from_one() -> None:
    venue = Venue(4, instruments=2)
    venue.run(60)
    sid = venue.ids[0]
    old = venue.instruments[sid].listing.symbol
    venue.delete_instrument(sid)
    assert venue.truth.state(sid) is None
    venue.reuse_id(sid, "NEW")
    venue.quote(sid, 0, 100 * E9, 1)
    state = venue.truth.state(sid)
    assert state is not None
    assert (state.rpt_seq, len(state.bids)) == (1, 1)
    told = [t.entry for t in venue.truth.told if getattr(t.entry, "security_id", 0) == sid]
    definitions = [(e.action, e.symbol) for e in told if hasattr(e, "symbol")]
    assert definitions[-2:] == [(b"D", old), (b"A", "NEW")]


def test_habits_that_do_nothing() -> None:
    venue = Venue(1, habits=Habits.none())
    assert {packet.feed for packet in venue.run(20)} <= {
        Feed.DEFINITION,
        Feed.SNAPSHOT,
        Feed.ORDERS,
    }


def test_rate_that_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="rate"):
        Venue(1, rate=0)


def test_end_of_an_event_has_what_it_changed_and_no_other() -> None:
    venue = Venue(4, instruments=3)
    venue.fill_books(2)
    one, other = venue.ids[:2]
    venue.quote(one, 0, venue.instruments[one].fair, venue.instruments[one].listing.lot, hold=True)
    venue.quote(other, 0, venue.instruments[other].fair, venue.instruments[other].listing.lot)
    first, second = venue.truth.events[-2:]
    assert (set(first.states), set(second.states)) == ({one}, {other})
    assert first.seq == second.seq


def test_late_snapshot_is_never_of_the_former_life_of_an_id() -> None:
    venue = Venue(4, instruments=1, habits=Habits.none(quote=1, late=1.0))
    (sid,) = venue.ids
    venue.run(40)
    venue.delete_instrument(sid)
    venue.reuse_id(sid, "NEW")
    venue.quote(sid, 0, 100 * E9, 1)
    venue.take()
    for _ in range(5):
        venue.loops.whole(Feed.SNAPSHOT)
    for packet in venue.take():
        for template, root, _, _ in messages(packet.payload):
            assert (template, struct.unpack_from("<I", root, 12)) == (52, (1,))
