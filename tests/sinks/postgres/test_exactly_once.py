"""Each record once: repeated batches, lost commits, several shards, other spaces, other writers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mdfeedd.ring import Position
from mdfeedd.sinks import SinkError
from mdfeedd.sinks.postgres import sink as module

OTHER_ID = "f" * 32


@pytest.fixture(autouse=True, params=[module.TRANSACTION_RECORDS, 13])
def transaction_records(request, monkeypatch):
    """A batch is one transaction, or several over two connections in turn: nobody may tell."""
    monkeypatch.setattr(module, "TRANSACTION_RECORDS", request.param)
    return request.param


def positions(database):
    return database.execute(
        "select shard, space, replace(ring_id::text, '-', ''), seq from mdfeedd_position "
        "order by ring, shard"
    )


def unlock_by_force(connection):
    connection.rollback()
    connection.close()


def locked_shard(database, shard):
    """A connection that holds the lock of a shard's position."""
    import psycopg

    connection = psycopg.connect(database.server.dsn(database.name))
    connection.execute(
        "select 1 from mdfeedd.mdfeedd_position where shard = %s for update", (shard,)
    )
    return connection


def test_nothing_is_stored_at_first_and_the_position_follows_each_batch(database, give):
    sink = database.sink()
    assert sink.position("cme") is None
    sink.write(give.batch_of(give.quotes(1, 5)))
    assert sink.position("cme") == Position(give.ring_id, 5, 1)
    sink.close()
    again = database.sink()
    assert again.position("cme") == Position(give.ring_id, 5, 1)
    assert again.position("another") is None
    again.close()


def test_batch_that_overlaps_what_is_stored(database, give):
    database.sink().write(give.batch_of(give.quotes(1, 10)))
    sink = database.sink()
    for first, n in ((1, 5), (6, 10), (1, 15), (12, 20)):
        sink.write(give.batch_of(give.quotes(first, n)))
    assert database.seqs() == list(range(1, 32))
    told = sink.progress(give.ring_id)
    assert (told.safe_seq, told.stored_records, told.repeated_records) == (31, 50, 29)
    sink.close()


def test_empty_batch_and_one_of_foreign_records(database, give):
    import numpy as np

    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 0)))
    with pytest.raises(SinkError, match="neither ticks nor bars") as told:
        sink.write(give.batch_of(np.zeros(3, [("seq", "<u8"), ("x", "<i8")])))
    assert not told.value.retriable
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        sink.write(give.batch_of(give.quotes(1, 1)))


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("when", ["before", "after"])
def test_connection_lost_in_the_commit(database, give, proxy, when, connections):
    sink = database.sink(
        dsn="", host="127.0.0.1", port=proxy.port, user="postgres", dbname=database.name,
        connections=connections,
    )  # fmt: skip
    for first in range(1, 400, 40):
        batch = give.batch_of(give.quotes(first, 40))
        if first > 1:  # the first makes the schema
            proxy.cut = when
            with pytest.raises(SinkError) as told:
                sink.write(batch)
            assert told.value.retriable
        sink.write(batch)
        assert database.seqs() == list(range(1, first + 40))
    assert proxy.cuts == 9
    told = sink.progress(give.ring_id)
    assert told.safe_seq == told.stored_records == 400
    sink.close()


def test_commit_of_ours_is_done_after_we_asked_where_we_are(database, give):
    """A server may carry out what came over a connection that is gone, later than we look."""
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 5)))
    database.execute("update mdfeedd_position set seq = 8")
    with pytest.raises(SinkError, match="has been done after all") as told:
        sink.write(give.batch_of(give.quotes(6, 5)))
    assert told.value.retriable
    sink.write(give.batch_of(give.quotes(6, 5)))
    assert database.seqs() == [1, 2, 3, 4, 5, 9, 10]
    sink.close()


# -------------------------------------------------------------------------- several transactions


PATIENCE_S = 30


def eventually(holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "never"
        time.sleep(0.02)


def ours(database):
    """What the server's sessions of the sink are doing, by their state."""
    rows = database.execute(
        "select state, count(*) from pg_stat_activity where datname = current_database() "
        "and application_name like 'mdfeedd%' group by state"
    )
    return dict(rows)


@pytest.mark.parametrize("transaction_records", [13], indirect=True)
def test_rows_are_sent_while_the_transaction_before_commits(database, give):
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 5)))
    assert ours(database) == {"idle": 1}
    blocker = locked_shard(database, 0)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(sink.write, give.batch_of(give.quotes(6, 13 * 3)))
        eventually(lambda: ours(database) == {"active": 1, "idle in transaction": 1})
        assert database.seqs() == list(range(1, 6))
        unlock_by_force(blocker)
        writing.result()
    assert database.seqs() == list(range(1, 45))
    assert sink.position("cme").seq == 44
    assert ours(database) == {"idle": 2}
    sink.close()


@pytest.mark.parametrize("transaction_records", [13], indirect=True)
@pytest.mark.parametrize("which", [0, 1])
def test_either_connection_is_lost_between_batches(database, give, which):
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 26)))
    lane = sink._lanes[0]
    link = (lane.link, lane.spare)[which]
    ((pid,),) = link.execute("select pg_backend_pid()")
    database.execute("select pg_terminate_backend(%s)", (pid,))
    batch = give.batch_of(give.quotes(27, 52))
    with pytest.raises(SinkError) as told:
        sink.write(batch)
    assert told.value.retriable
    sink.write(batch)
    assert database.seqs() == list(range(1, 79))
    sink.close()


# ------------------------------------------------------------------------------------------- shards


def test_one_of_three_shards_fails(database, give):
    sink = database.sink(connections=3, lock_timeout_s=0.3)
    sink.write(give.batch_of(give.quotes(1, 100)))
    blocker = locked_shard(database, 1)
    with pytest.raises(SinkError, match="somebody else holds a lock"):
        sink.write(give.batch_of(give.quotes(101, 100)))
    assert sink.position("cme").seq == 100
    assert [row[3] for row in positions(database)] == [200, 100, 200]
    assert len(database.seqs()) > 100
    unlock_by_force(blocker)
    sink.write(give.batch_of(give.quotes(101, 100)))
    assert database.seqs() == list(range(1, 201))
    sink.close()


def test_writer_dies_while_one_of_three_shards_is_behind(database, give):
    first = database.sink(connections=3, lock_timeout_s=0.3)
    first.write(give.batch_of(give.quotes(1, 100)))
    blocker = locked_shard(database, 2)
    with pytest.raises(SinkError):
        first.write(give.batch_of(give.quotes(101, 100)))
    unlock_by_force(blocker)
    # the next one has other batches, and asks for one connection: it keeps three shards for now
    second = database.sink(connections=1)
    assert second.position("cme") == Position(give.ring_id, 100, 1)
    for start in range(101, 301, 30):
        second.write(give.batch_of(give.quotes(start, 30)))
    assert database.seqs() == list(range(1, 311))
    second.close()
    assert {row[3] for row in positions(database)} == {310}
    third = database.sink(connections=2)
    assert third.position("cme").seq == 310
    assert len(positions(database)) == 2
    third.write(give.batch_of(give.quotes(311, 50)))
    assert database.seqs() == list(range(1, 361))
    third.close()


def test_shards_are_in_two_spaces_when_the_writer_dies(database, give):
    first = database.sink(connections=2, lock_timeout_s=0.3)
    first.write(give.batch_of(give.quotes(1, 100), ring="cme"))
    blocker = locked_shard(database, 0)
    fresh = {"ring_id": OTHER_ID, "epoch": 2}
    with pytest.raises(SinkError):
        first.write(give.batch_of(give.quotes(1, 40), **fresh))
    unlock_by_force(blocker)
    assert [row[1:] for row in positions(database)] == [
        (1, give.ring_id, 100),
        (2, OTHER_ID, 40),
    ]
    second = database.sink(connections=2)
    assert second.position("cme") == Position(give.ring_id, 100, 1)
    second.write(give.batch_of(give.quotes(1, 60), **fresh))
    assert second.position("cme") == Position(OTHER_ID, 60, 2)
    rows = database.execute(
        "select replace(ring_id::text, '-', ''), seq from quote join source using (source_id)"
    )
    must = [(give.ring_id, seq) for seq in range(1, 101)]
    must += [(OTHER_ID, seq) for seq in range(1, 61)]
    assert sorted(rows) == sorted(must)
    second.close()


# ------------------------------------------------------------------------------ spaces, rings, names


def test_sequence_numbers_of_a_new_space_begin_again(database, give):
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 50)))
    sink.write(give.batch_of(give.quotes(51, 10), epoch=2))  # a restarted writer goes on
    sink.write(give.batch_of(give.quotes(1, 30), ring_id=OTHER_ID, epoch=3))
    assert sink.position("cme") == Position(OTHER_ID, 30, 3)
    rows = database.execute(
        "select epoch, count(*), min(seq), max(seq) from quote join source using (source_id) "
        "group by epoch order by epoch"
    )
    assert rows == [(1, 50, 1, 50), (2, 10, 51, 60), (3, 30, 1, 30)]
    sink.close()


def test_rings_of_one_sink_have_positions_of_their_own(database, give):
    sink = database.sink(connections=2)
    sink.write(give.batch_of(give.quotes(1, 5)))
    sink.write(give.batch_of(give.quotes(1, 9), ring="ice", ring_id=OTHER_ID))
    assert (sink.position("cme").seq, sink.position("ice").seq) == (5, 9)
    assert sink.progress(give.ring_id).safe_seq == 5
    assert sink.progress(OTHER_ID).safe_seq == 9
    sink.close()


def test_two_sinks_store_the_same_ring_each_for_itself(database, give):
    for name in ("a", "b"):
        sink = database.sink(name)
        sink.write(give.batch_of(give.quotes(1, 5)))
        sink.close()
    assert database.seqs() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize("connections", [1, 2])
def test_older_of_two_writers_of_one_name_stores_nothing_more(database, give, connections):
    older = database.sink(connections=connections)
    older.write(give.batch_of(give.quotes(1, 5)))
    younger = database.sink(connections=connections)
    assert younger.position("cme").seq == 5
    with pytest.raises(SinkError, match="another writer has taken over") as told:
        older.write(give.batch_of(give.quotes(6, 5)))
    assert not told.value.retriable
    younger.write(give.batch_of(give.quotes(6, 3)))
    with pytest.raises(SinkError, match="another writer has taken over"):
        older.write(give.batch_of(give.quotes(6, 5)))
    assert database.seqs() == list(range(1, 9))
    older.close()
    younger.close()


def test_position_that_somebody_has_deleted_is_told_as_what_it_is(database, give):
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 5)))
    database.execute("delete from mdfeedd_position")
    with pytest.raises(SinkError, match="somebody has deleted its row of mdfeedd_position") as told:
        sink.write(give.batch_of(give.quotes(6, 5)))
    assert not told.value.retriable
    assert database.seqs() == [1, 2, 3, 4, 5]
    sink.close()


def test_database_has_gone_back_behind_what_it_confirmed(database, give):
    """Restored from a backup, or failed over to a standby that was behind."""
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 5)))
    sink.write(give.batch_of(give.quotes(6, 5)))
    database.execute("delete from quote where seq > 5")
    database.execute("update mdfeedd_position set seq = 5")
    end_sessions(database)
    with pytest.raises(SinkError):
        sink.write(give.batch_of(give.quotes(11, 5)))
    with pytest.raises(SinkError, match="the database has gone back") as told:
        sink.write(give.batch_of(give.quotes(11, 5)))
    assert not told.value.retriable
    sink.close()
    again = database.sink()
    assert again.position("cme").seq == 5
    again.write(give.batch_of(give.quotes(6, 10)))
    assert database.seqs() == list(range(1, 16))
    again.close()


def end_sessions(database):
    database.server.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
        parameters=(database.name,),
    )


def test_commits_are_on_the_disk_whatever_the_role_is_set_to(database, give):
    database.execute(f'alter database "{database.name}" set synchronous_commit = off')
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 5)))
    assert sink._link.execute("show synchronous_commit") == [("on",)]
    sink.close()


# --------------------------------------------------------------------------------------------- kills


@pytest.mark.slow
@pytest.mark.parametrize("transaction_records", [120], indirect=True)
@pytest.mark.parametrize("connections", [1, 3])
def test_writer_and_server_are_killed_at_random_points(
    postgres_server, connections, transaction_records
):
    """MDFEEDD_KILL_ROUNDS for more; the seed is in the output and repeats what can be repeated."""
    root = Path(__file__).resolve().parents[3]
    rounds = os.environ.get("MDFEEDD_KILL_ROUNDS", "8")
    done = subprocess.run(
        [
            sys.executable, Path(__file__).with_name("killing.py"),
            "--rounds", rounds, "--connections", str(connections),
            "--transaction-records", str(transaction_records),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), *sys.path[1:]])},
        capture_output=True, text=True, timeout=int(rounds) * 10 + 60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "each once" in done.stdout
