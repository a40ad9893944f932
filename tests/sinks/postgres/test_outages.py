"""Whatever a server does: one clear sentence, nothing lost, and it goes on by itself when that is over."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

import psycopg
import pytest

from mdfeedd.sinks import SinkError

PATIENCE_S = 60


def refused(sink, batch, *, retriable=True):
    """The sentence of a sink that does not take a batch."""
    with pytest.raises(SinkError) as told:
        sink.write(batch)
    assert told.value.retriable == retriable
    sentence = str(told.value)
    assert "\n" not in sentence
    return sentence


def stored_in_the_end(sink, batch):
    """What the batch consumer does: the same batch again until it is taken."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            sink.write(batch)
        except SinkError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def locking(database, table):
    """The table is locked by somebody."""
    with psycopg.connect(database.server.dsn(database.name)) as connection:
        connection.execute(f"lock table mdfeedd.{table} in access exclusive mode")
        yield


def end_sessions(database):
    database.server.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
        parameters=(database.name,),
    )


def test_server_is_down_at_start(own_database, give):
    own_database.server.stop()
    sink = own_database.sink()
    with pytest.raises(SinkError, match="cannot connect to PostgreSQL at ") as told:
        sink.position("cme")
    assert told.value.retriable
    assert "cannot connect" in refused(sink, give.batch_of(give.quotes(1, 5)))
    own_database.server.start()
    stored_in_the_end(sink, give.batch_of(give.quotes(1, 5)))
    assert own_database.seqs() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_server_goes_down_and_stays_down_for_many_attempts(own_database, give, how):
    sink = own_database.sink(connections=2)
    sink.write(give.batch_of(give.quotes(1, 50)))
    getattr(own_database.server, how)()
    batch = give.batch_of(give.quotes(51, 50))
    for _ in range(10):
        refused(sink, batch)
    sink.housekeep()
    assert sink.progress(give.ring_id).safe_seq == 50
    own_database.server.start()
    stored_in_the_end(sink, batch)
    assert own_database.seqs() == list(range(1, 101))
    assert sink.progress(give.ring_id).safe_seq == 100


def test_server_stands_still(own_database, give):
    """It is there, its kernel takes our bytes, and it says nothing: only a deadline tells."""
    sink = own_database.sink(timeout_s=0.5, lock_timeout_s=0.5)
    sink.write(give.batch_of(give.quotes(1, 5)))
    own_database.server.freeze()
    try:
        sentence = refused(sink, give.batch_of(give.quotes(6, 5)))
    finally:
        own_database.server.thaw()
    assert sentence.endswith("does not answer: nothing for 0.5 s")
    stored_in_the_end(sink, give.batch_of(give.quotes(6, 5)))
    assert own_database.seqs() == list(range(1, 11))


def test_server_is_slower_than_the_timeout_but_gets_on(database, proxy, give):
    """Each message is delayed, and all of them together take longer than timeout_s."""
    sink = database.sink(
        dsn="", host="127.0.0.1", port=proxy.port, user="postgres", dbname=database.name,
        timeout_s=2.0, lock_timeout_s=1.0,
    )  # fmt: skip
    sink.write(give.batch_of(give.quotes(1, 5)))
    # what lies in the buffers of three sockets takes less than timeout_s, too
    proxy.bytes_per_s = 6_000_000
    stored_in_the_end(sink, give.batch_of(give.quotes(6, 120_000)))
    assert database.execute("select count(*), max(seq) from quote") == [(120_005, 120_005)]


def test_database_is_read_only(database, give):
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 5)))
    database.execute(f"alter database {database.quoted} set default_transaction_read_only = on")
    end_sessions(database)
    batch = give.batch_of(give.quotes(6, 5))
    refused(sink, batch)  # the session that was ended
    assert "the database is read-only (a standby," in refused(sink, batch)
    database.server.execute(
        f"alter database {database.quoted} set default_transaction_read_only = off"
    )
    stored_in_the_end(sink, batch)
    assert database.seqs() == list(range(1, 11))


def test_database_is_read_only_at_start(database, give):
    database.execute(f"alter database {database.quoted} set default_transaction_read_only = on")
    sink = database.sink()
    assert "the database is read-only" in refused(sink, give.batch_of(give.quotes(1, 5)))


@pytest.fixture
def small_disk(postgres_server):
    """A tablespace of a few MiB, and how to make it larger."""
    folder = tempfile.mkdtemp(prefix="mdfeedd-disk-")
    owner = os.stat(postgres_server.data).st_uid
    options = f"size=8m,mode=700,uid={owner}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        os.rmdir(folder)
        pytest.skip("a small file system needs root and mount")
    name = os.path.basename(folder).replace("-", "_").lower()

    def grow():
        subprocess.run(["mount", "-o", "remount,size=512m", folder], check=True)

    try:
        postgres_server.execute(f"create tablespace {name} location '{folder}'")
        yield name, grow
        postgres_server.execute(f"drop tablespace {name}")
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def test_disk_is_full(database, small_disk, give):
    tablespace, grow = small_disk
    database.execute(f"alter database {database.quoted} set default_tablespace = {tablespace}")
    sink = database.sink()
    last = 0

    def fill():
        nonlocal last
        for _ in range(100):
            sink.write(give.batch_of(give.quotes(last + 1, 5000)))
            last += 5000

    with pytest.raises(SinkError) as told:
        fill()
    assert told.value.retriable
    assert "the server's disk is full: " in str(told.value)
    assert last > 0
    assert sink.progress(give.ring_id).safe_seq == last
    batch = give.batch_of(give.quotes(last + 1, 5000))
    assert "the server's disk is full: " in refused(sink, batch)
    grow()
    stored_in_the_end(sink, batch)
    assert database.execute("select count(*), count(distinct seq), max(seq) from quote") == [
        (last + 5000,) * 3
    ]
    sink.close()
    database.execute("drop schema mdfeedd cascade")


@pytest.fixture
def role_with_password(postgres_server, database):
    """The access rules ask role "locked" for a password."""
    with contextlib.suppress(psycopg.errors.DuplicateObject):
        postgres_server.execute("create role locked login")
    postgres_server.execute("alter role locked password 'right-word'")
    database.execute(f'grant create on database "{database.name}" to locked')
    return "locked"


def test_password_is_wrong_and_is_put_right(role_with_password, database, give, monkeypatch):
    monkeypatch.setenv("STORE_WORD", "wrong-word-19")
    sink = database.sink(user=role_with_password, password_env="STORE_WORD")
    batch = give.batch_of(give.quotes(1, 5))
    sentence = refused(sink, batch)
    assert 'password authentication failed for user "locked"' in sentence
    assert "wrong-word-19" not in sentence
    monkeypatch.setenv("STORE_WORD", "right-word")
    sink.write(batch)
    assert database.seqs() == [1, 2, 3, 4, 5]
    assert "right-word" not in repr(vars(sink))
    sink.close()
    database.execute("drop owned by locked cascade")


def test_password_comes_from_a_file_and_there_is_none_yet(
    role_with_password, database, give, tmp_path
):
    path = tmp_path / "word"
    sink = database.sink(user=role_with_password, password_file=str(path))
    batch = give.batch_of(give.quotes(1, 5))
    assert "cannot be read from" in refused(sink, batch)
    path.write_text("right-word\n")
    sink.write(batch)
    sink.close()
    database.execute("drop owned by locked cascade")


def test_role_may_not_make_the_schema(role_with_password, database, give, monkeypatch):
    database.execute(f'revoke create on database "{database.name}" from locked')
    monkeypatch.setenv("STORE_WORD", "right-word")
    sink = database.sink(user=role_with_password, password_env="STORE_WORD")
    batch = give.batch_of(give.quotes(1, 5))
    assert "the role may not do what it must: permission denied" in refused(sink, batch)
    database.execute("create schema mdfeedd authorization locked")  # no right to create is needed
    sink.write(batch)
    sink.close()
    database.execute("drop owned by locked cascade")


def test_database_does_not_exist(postgres_server, give):
    from mdfeedd.sinks.postgres import PostgresOptions, PostgresSink

    sink = PostgresSink(PostgresOptions(dsn=postgres_server.dsn("nowhere")), "store")
    assert 'database "nowhere" does not exist' in refused(sink, give.batch_of(give.quotes(1, 5)))
    sink.close()


def test_schema_is_newer(database, give):
    sink = database.sink()
    sink.position("cme")
    database.execute("update mdfeedd_schema set version = version + 1")
    later = database.sink()
    sentence = refused(later, give.batch_of(give.quotes(1, 5)), retriable=False)
    assert "the schema mdfeedd has version 2, made by a newer mdfeedd" in sentence


@pytest.mark.parametrize("table", ["quote", "mdfeedd_position"])
def test_table_is_locked(database, give, table):
    sink = database.sink(lock_timeout_s=0.3)
    sink.write(give.batch_of(give.quotes(1, 5)))
    batch = give.batch_of(give.quotes(6, 5))
    with locking(database, table):
        assert "somebody else holds a lock on what we need" in refused(sink, batch)
        assert "somebody else holds a lock on what we need" in refused(sink, batch)
    stored_in_the_end(sink, batch)
    assert database.seqs() == list(range(1, 11))


def test_session_is_ended_by_an_operator(database, give):
    sink = database.sink(connections=3)
    for first in range(1, 200, 20):
        batch = give.batch_of(give.quotes(first, 20))
        end_sessions(database)
        stored_in_the_end(sink, batch)
    assert database.seqs() == list(range(1, 201))


def test_partition_is_dropped_by_an_operator(database, give):
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 5)))
    database.execute("drop table quote_20231114")
    batch = give.batch_of(give.quotes(6, 5))
    assert "a table is missing" in refused(sink, batch)
    stored_in_the_end(sink, batch)
    assert database.seqs() == [6, 7, 8, 9, 10]


def test_server_has_no_connection_left(own_database, give):
    sink = own_database.sink()
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            try:
                stack.enter_context(own_database.server.connect())
            except psycopg.OperationalError:
                break
        sentence = refused(sink, give.batch_of(give.quotes(1, 5)))
        assert "sorry, too many clients" in sentence
    stored_in_the_end(sink, give.batch_of(give.quotes(1, 5)))


def test_client_library_is_missing():
    """The module that needs it is not there; the options can still be checked."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from mdfeedd.sinks import load_sink, SinkError, sink_options\n"
        "kind = load_sink('postgres')\n"
        "try: kind(sink_options(kind, {}), 'x')\n"
        "except SinkError as error: print(error.retriable, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        "False the postgres sink needs psycopg: pip install 'mdfeedd[postgres]'"
    )
