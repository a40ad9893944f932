"""The schema and its partitions: made, migrated, made ahead, dropped, by several processes at once."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import psycopg
import pytest

from mdfeedd.sinks import SinkError
from mdfeedd.sinks.postgres import PostgresOptions, PostgresSink, schema
from mdfeedd.tick import BAR

DAY = 86_400 * 10**9


def leaves(database, table):
    rows = database.execute(
        "select inhrelid::regclass::text from pg_inherits where inhparent = %s::regclass order by 1",
        (table,),
    )
    return [row[0] for row in rows]


def days(database, *offsets):
    """Names of the partitions of quotes so many days from now, by the server's clock."""
    return [
        database.execute("select 'quote_' || to_char(now() + %s * interval '1 day', 'YYYYMMDD')", (n,))[
            0
        ][0]
        for n in offsets
    ]  # fmt: skip


def now_ns(database):
    return int(database.execute("select extract(epoch from now())::bigint")[0][0]) * 10**9


def quotes_at(give, first, *times):
    quotes = give.quotes(first, len(times))
    quotes["ts_event"] = quotes["ts_recv"] = times
    return give.batch_of(quotes)


def bars_at(first, *times):
    bars = np.zeros(len(times), BAR)
    bars["seq"] = np.arange(first, first + len(times))
    bars["instrument_id"], bars["ts_open"] = 1, times
    return bars


def test_partitions_of_the_next_days_are_made_ahead(database):
    sink = database.sink()
    sink.position("cme")
    sink.housekeep()
    assert leaves(database, "quote") == days(database, 0, 1, 2)
    assert leaves(database, "bar")[0] == "bar_" + days(database, 0)[0][6:12]


def test_batch_over_several_days_goes_to_the_partition_of_each(database, give):
    times = [give.now + i * DAY // 4 for i in range(20)] + [-DAY, 0, 2**63 - 1, 1 - 2**63]
    sink = database.sink()
    sink.write(quotes_at(give, 1, *times))
    assert database.seqs() == list(range(1, 25))
    rows = database.execute("select tableoid::regclass::text, to_char(ts, 'YYYYMMDD') from quote")
    assert all(leaf == f"quote_{day}" for leaf, day in rows)
    assert {day for _, day in rows} > {"16770921", "19691231", "19700101", "20231114", "22620411"}


def test_partition_that_another_process_has_made(database, give):
    first, second = database.sink("a"), database.sink("b")
    first.position("cme")
    second.position("cme")  # both have looked at what there is
    for sink in (first, second):
        sink.write(quotes_at(give, 1, give.now))
    assert leaves(database, "quote") == ["quote_20231114"]
    assert database.seqs() == [1, 1]


def test_making_a_partition_does_not_wait_for_readers(database, give):
    sink = database.sink(lock_timeout_s=0.5)
    sink.write(quotes_at(give, 1, give.now))
    with psycopg.connect(database.server.dsn(database.name)) as reader:
        reader.execute("select count(*) from mdfeedd.quote")
        sink.write(quotes_at(give, 2, give.now + DAY))
    assert leaves(database, "quote") == ["quote_20231114", "quote_20231115"]


def test_what_is_older_than_the_limit_is_dropped_and_the_rest_is_kept(database, give):
    now = now_ns(database)
    sink = database.sink(retain_s=3 * 86_400)
    ages = [0, 1, 2, 3, 4, 5, 400]
    sink.write(quotes_at(give, 1, *(now - age * DAY for age in ages)))
    bars = bars_at(1, now, now - 400 * DAY)
    sink.write(give.batch_of(bars, ring="bars"))
    sink.housekeep()
    assert leaves(database, "quote") == days(database, -3, -2, -1, 0, 1, 2)
    assert database.seqs() == [1, 2, 3, 4]
    assert database.execute("select count(*) from bar") == [(2,)]  # theirs is another limit
    sink.close()
    later = database.sink(retain_bars_s=100 * 86_400)
    later.position("cme")
    later.housekeep()
    assert database.execute("select count(*) from bar") == [(1,)]


def test_row_for_a_partition_that_was_dropped_makes_it_again(database, give):
    now = now_ns(database)
    sink = database.sink(retain_s=86_400)
    sink.write(quotes_at(give, 1, now - 5 * DAY))
    sink.housekeep()
    assert database.seqs() == []
    sink.write(quotes_at(give, 2, now - 5 * DAY))
    assert database.seqs() == [2]


def test_dropping_was_interrupted(database, give):
    """Detached or half detached, and not dropped; what an operator has detached is left alone."""
    now = now_ns(database)
    sink = database.sink()
    sink.write(quotes_at(give, 1, *(now - age * DAY for age in (10, 11, 12))))
    gone, pending, archived = days(database, -10, -11, -12)
    for leaf in (gone, archived):
        database.execute(f"alter table quote detach partition {leaf}")
    database.execute(f"comment on table {gone} is 'mdfeedd: to be dropped'")
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(psycopg.connect(database.server.dsn(database.name)))
        reader.execute("select count(*) from mdfeedd.quote")
        with database.server.connect(database.name) as other:
            other.execute("set lock_timeout = 200")
            other.execute(f"comment on table mdfeedd.{pending} is 'mdfeedd: to be dropped'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(
                    f"alter table mdfeedd.quote detach partition mdfeedd.{pending} concurrently"
                )
    sink.close()
    later = database.sink(retain_s=5 * 86_400)
    later.position("cme")
    later.housekeep()
    left = [
        name for (name,) in database.execute("select relname from pg_class where relkind = 'r'")
    ]
    assert archived in left
    assert not {gone, pending} & set(left)


def test_partition_cannot_be_dropped_now(database, give, caplog):
    now = now_ns(database)
    sink = database.sink(retain_s=86_400, lock_timeout_s=0.3)
    sink.write(quotes_at(give, 1, now - 5 * DAY))
    with psycopg.connect(database.server.dsn(database.name)) as reader:
        reader.execute("select count(*) from mdfeedd.quote")
        sink.housekeep()  # does not raise: what is stored goes on without it
    assert "could not look after the partitions" in caplog.text
    sink.write(quotes_at(give, 2, now))
    sink._maintain_at = 0.0
    sink.housekeep()
    assert database.seqs() == [2]


@pytest.mark.parametrize(
    ("index", "method"), [("none", None), ("time", "brin"), ("instrument", "btree")]
)
def test_index_that_was_asked_for(database, give, index, method):
    sink = database.sink(index=index)
    sink.write(give.batch_of(give.quotes(1, 5)))
    rows = database.execute(
        "select indexdef from pg_indexes where tablename in ('quote', 'quote_20231114')"
    )
    assert len(rows) == (2 if method else 0)
    assert all(f"using {method}" in row[0].lower() for row in rows)
    assert len(database.execute("select 1 from pg_indexes where tablename like 'bar%%'")) >= 1


# ------------------------------------------------------------------------------------------- schema


def test_sinks_make_the_schema_at_the_same_time(database, give):
    errors = []

    def begin(name):
        sink = database.sink(name)
        try:
            sink.write(give.batch_of(give.quotes(1, 50)))
        except SinkError as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(f"sink{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert database.execute("select count(*), count(distinct instrument_id) from quote") == [
        (300, 8)
    ]


def test_schema_of_another_name(database, give):
    sink = database.sink(schema="md_2")
    sink.write(give.batch_of(give.quotes(1, 5)))
    assert database.execute("select count(*) from md_2.quotes") == [(5,)]
    assert database.execute("select to_regnamespace('mdfeedd')") == [(None,)]


def test_older_schema_is_migrated_and_what_is_there_is_kept(database, give, monkeypatch):
    sink = database.sink()
    sink.write(give.batch_of(give.quotes(1, 5)))
    sink.close()
    steps = {
        1: "alter table $schema.instrument add column isin text",
        2: "update $schema.instrument set isin = symbol || '!'",
    }
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    for _ in range(2):
        later = database.sink()
        assert later.position("cme").seq == 5
        later.close()
    assert database.execute("select version from mdfeedd_schema") == [(3,)]
    assert ("S2!",) in database.execute("select isin from instrument")


def test_migration_fails_and_leaves_the_schema_as_it_was(database, give, monkeypatch):
    database.sink().position("cme")
    steps = {1: "alter table $schema.instrument add column isin text", 2: "select 1 / 0"}
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    with pytest.raises(SinkError, match="division by zero") as told:
        database.sink().position("cme")
    assert told.value.retriable
    assert database.execute("select version from mdfeedd_schema") == [(1,)]
    with pytest.raises(psycopg.errors.UndefinedColumn):
        database.execute("select isin from instrument")


def test_timescaledb_is_required_and_is_not_there(database):
    with pytest.raises(SinkError, match="create extension timescaledb") as told:
        database.sink(timescaledb="require").position("cme")
    assert told.value.retriable
    database.sink(timescaledb="auto").position("cme")
    with pytest.raises(SinkError, match="are no hypertables") as told:
        database.sink(timescaledb="require").position("cme")
    assert not told.value.retriable


# ------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"schema": "Upper"}, "schema: must be a lower-case name"),
        ({"schema": 'a"; drop'}, "schema: must be a lower-case name"),
        ({"schema": "pg_mine"}, "schema: names with pg_"),
        ({"connections": 0}, "connections: must be a whole number from 1 to 64"),
        ({"connections": True}, "connections: must be a whole number"),
        ({"port": 70_000}, "port: must be a whole number"),
        ({"timescaledb": "yes"}, "timescaledb: must be auto, require or off"),
        ({"index": "hash"}, "index: must be none, time or instrument"),
        ({"retain_s": -1}, "retain_s: must be a whole number"),
        ({"timeout_s": 0}, "timeout_s: must be from 0.1 to 3600"),
        ({"timeout_s": 5, "lock_timeout_s": 10.0}, "lock_timeout_s: must be at most timeout_s"),
        ({"host": 5}, "host: must be text"),
    ],
)
def test_bad_option_is_refused(given, reason):
    with pytest.raises(ValueError, match="^" + reason):
        PostgresOptions(**given)


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://me:hidden@host/db", "host=x password=hidden", "host=x PASSWORD = 'hidden'"],
)
def test_password_in_the_dsn_is_refused_and_not_shown(dsn):
    with pytest.raises(ValueError, match=r"^dsn: must not hold a password") as told:
        PostgresOptions(dsn=dsn)
    assert "hidden" not in str(told.value)


@pytest.mark.parametrize(
    "dsn", ["postgresql://h/db?password=hidden", "postgresql://a@b/c?pass%77ord=hidden"]
)
def test_password_that_only_libpq_finds_is_refused_and_not_shown(dsn):
    with pytest.raises(
        (ValueError, SinkError), match=r"must not hold a password|no connection string"
    ) as told:
        PostgresSink(PostgresOptions(dsn=dsn), "store")
    assert "hidden" not in str(told.value)


def test_dsn_that_libpq_does_not_understand():
    with pytest.raises(SinkError, match="no connection string or URI") as told:
        PostgresSink(PostgresOptions(dsn="host=x sslmode"), "store")
    assert not told.value.retriable


def test_options_go_over_the_dsn_and_sessions_say_who_they_are(database, give):
    sink = database.sink(
        dsn=database.server.dsn("elsewhere", connect_timeout=5), dbname=database.name
    )
    sink.write(give.batch_of(give.quotes(1, 5)))
    rows = database.execute(
        "select application_name, current_setting('lock_timeout') from pg_stat_activity "
        "where datname = current_database() and application_name like 'mdfeedd%%'", ()
    )  # fmt: skip
    assert [row[0] for row in rows] == ["mdfeedd store"]
