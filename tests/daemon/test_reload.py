"""Another configuration for a running daemon: real processes, real files, what was touched and what was not."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import urllib.request

import pytest
from reload_scenario import PATIENCE_S, counter, feed, pids, until

from mdfeedd.daemon import reload
from mdfeedd.daemon.metrics import RingCollector
from mdfeedd.daemon.plan import ChildPlan, Plan
from mdfeedd.daemon.reload import keep_indexes
from mdfeedd.daemon.supervisor import Limits, StartError, State
from mdfeedd.ring import Reader, Writer
from mdfeedd.ring.inspect import inspect


def indexes(supervisor):
    return {feed.name: feed.feed_index for feed in supervisor.plan.feeds}


# ------------------------------------------------------------------------------------------- the plan


def test_same_file_touches_nothing(file, tmp_path, told):
    file.write([feed(), feed("g")], [counter("c", tmp_path / "out")])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            before = pids(supervisor)
            children = supervisor.children
            assert await reloader.reload()
            assert pids(supervisor) == before
            assert supervisor.children == children
        assert reloader.last_ok

    asyncio.run(scenario())
    for label in ("feed f", "feed g", "consumer c"):
        assert told(label) == ["unchanged"]


def test_bad_file_is_told_whole_and_changes_nothing(file, shm_dir, told):
    file.write([feed()])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            before = pids(supervisor)
            plan = supervisor.plan
            file.path.write_text("feeds:\n  - {name: f, vendor: nobody}\nmetricz: 1\n")
            assert not await reloader.reload()
            assert pids(supervisor) == before
            assert supervisor.plan is plan
            assert reloader.last_ok is False
            file.path.unlink()
            assert not await reloader.reload()
            assert told()[-2:] == [
                f"{file.path}: error: cannot be read: No such file or directory",
                "1 problem, the old configuration goes on",
            ]
            file.path.write_text("feeds:\n  - {name: f, vendor: nobody}\nmetricz: 1\n")
            assert not await reloader.reload()
            tail = inspect("f", shm_dir).tail
            await until(lambda: inspect("f", shm_dir).tail > tail)

    asyncio.run(scenario())
    lines = told()
    assert any(line.startswith(f"{file.path}:2:23: error: feeds[0].vendor: unkn") for line in lines)
    assert any(f"{file.path}:3:1: error: unknown key 'metricz'" in line for line in lines)
    assert lines[-1] == "2 problems, the old configuration goes on"


def test_plugin_that_ends_the_interpreter_ends_no_daemon(file, tmp_path, told, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "leaving_plugin.py").write_text("raise SystemExit(3)\n")
    file.write([feed()])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            before = pids(supervisor)
            file.write([feed(), feed("g", "leaving_plugin:Feed")])
            assert not await reloader.reload()
            assert pids(supervisor) == before

    asyncio.run(scenario())
    (mistake, end) = told()[-2:]
    assert (
        "leaving_plugin:Feed cannot be imported: it ends the interpreter, with status 3" in mistake
    )
    assert end == "1 problem, the old configuration goes on"


def told_by_metrics(supervisor):
    """What metrics say of the configuration: taken or not, when, and which."""
    families = {family.name: family for family in RingCollector(supervisor).collect()}
    values = [
        families[f"mdfeedd_config_{name}"].samples[0]
        for name in ("last_reload_successful", "last_reload_success_timestamp_seconds", "info")
    ]
    return values[0].value, values[1].value, values[2].labels["sha256"]


def test_metrics_say_whether_the_last_file_was_taken_and_which_one_runs(file):
    file.write([feed()])

    async def scenario():
        begun = time.time()
        supervisor, reloader = file.daemon()
        async with supervisor:
            taken, when, first = told_by_metrics(supervisor)
            assert taken == 1
            assert begun <= when <= time.time()
            good = file.path.read_text()
            file.path.write_text("feeds: 3\n")
            assert not await reloader.reload()
            assert told_by_metrics(supervisor) == (0, when, first)
            file.path.write_text(good)
            assert await reloader.reload()
            taken, again, same = told_by_metrics(supervisor)
            assert (taken, same) == (1, first)
            assert again > when
            file.write([feed(pause_s=0.002)])
            assert await reloader.reload()
            assert told_by_metrics(supervisor)[2] not in ("", first)

    asyncio.run(scenario())


def test_part_that_comes_and_goes(file, told):
    parts = file.path.parent / "conf.d"
    parts.mkdir()
    file.write([feed()], include="conf.d/*.yaml")

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            before = pids(supervisor)
            (parts / "g.yaml").write_text(json.dumps({"feeds": [feed("g")]}))
            assert await reloader.reload()
            assert pids(supervisor).keys() == {"f", "g"}
            assert pids(supervisor)["f"] == before["f"]
            (parts / "h.yaml").write_text("feeds: [{name: g}]\n")
            assert not await reloader.reload()
            assert any(line.startswith(f"{parts}/h.yaml:1:9: error: ") for line in told())
            (parts / "h.yaml").unlink()
            (parts / "g.yaml").unlink()
            assert await reloader.reload()
            assert pids(supervisor) == before

    asyncio.run(scenario())


def test_added_removed_and_changed_children_and_nobody_else(file, tmp_path, shm_dir, told):
    out = {name: tmp_path / name for name in ("kept", "gone", "new", "changed")}
    file.write(
        [feed("first"), feed("f"), feed("other", pause_s=0.004)],
        [
            counter("kept", out["kept"], ["f"]),
            counter("gone", out["gone"], ["first"]),
            counter("changed", out["changed"], ["f"]),
        ],
    )

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            before = pids(supervisor)
            await until(lambda: inspect("first", shm_dir).consumers)
            file.write(
                [feed("f"), feed("added"), feed("other", pause_s=0.003)],
                [
                    counter("new", out["new"], ["added"]),
                    counter("kept", out["kept"], ["f"]),
                    counter("changed", out["changed"], ["f"], slow_s=0.001),
                ],
            )
            assert await reloader.reload()
            after = pids(supervisor)
            assert [c.name for c in supervisor.children] == [
                "f", "added", "other", "new", "kept", "changed",
            ]  # fmt: skip
            assert all(child.state is State.RUNNING for child in supervisor.children)
            assert (after["f"], after["kept"]) == (before["f"], before["kept"])
            assert after["other"] != before["other"]
            assert after["changed"] != before["changed"]
            assert indexes(supervisor) == {"f": 2, "other": 3, "added": 4}
            assert inspect("other", shm_dir).feed_index == 3
            assert inspect("first", shm_dir).state_text == "closed"
            assert all(child.restarts == 0 for child in supervisor.children)
            with pytest.raises(KeyError):
                supervisor.find("first")
        assert {c.last_exit for c in supervisor.children} == {"exit status 0 (done)"}

    asyncio.run(scenario())
    # the consumer of the removed feed had read all of it before it was stopped
    assert out["gone"].read_text() == f"{inspect('first', shm_dir).tail} 0"
    assert told("feed first") == told("consumer gone") == ["stopped, it is no longer in the file"]
    assert told("feed added") == told("consumer new") == ["started, it is new in the file"]
    assert told("feed other") == ["restarted, changed: options.pause_s"]
    assert told("consumer changed") == ["restarted, changed: options.slow_s"]
    assert told("feed f") == told("consumer kept") == ["unchanged"]


def test_another_shard_restarts_a_feed_whatever_it_could_take_running(file, tmp_path, told):
    name = "reload_test_plugins:LiveFeed"
    live = feed("f", name, told=str(tmp_path / "told"), symbols=["A"])
    file.write([live | {"shard": "1/2"}, feed("g")])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            before = pids(supervisor)
            file.write([live | {"shard": "2/2"}, feed("g")])
            assert await reloader.reload()
            after = pids(supervisor)
            assert after["f"] != before["f"]
            assert after["g"] == before["g"]

    asyncio.run(scenario())
    assert told("feed f") == ["restarted, changed: shard"]


def test_readers_of_an_unchanged_ring_see_no_break(file, tmp_path, shm_dir):
    file.write([feed(), feed("g")], [counter("c", tmp_path / "out", ["f"])])

    async def scenario():
        supervisor, reloader = file.daemon()
        with_reader = asyncio.Event()

        def read(stop):
            with Reader("f", "now", "outside", directory=shm_dir) as reader:
                loop.call_soon_threadsafe(with_reader.set)
                expected = None
                while not stop.is_set():
                    for seq in reader.read(timeout=0.1).records["seq"]:
                        assert expected is None or seq == expected
                        expected = seq + 1
                return reader.lost, reader.epoch, expected

        loop = asyncio.get_running_loop()
        async with supervisor:
            stop = threading.Event()
            reading = asyncio.create_task(asyncio.to_thread(read, stop))
            await with_reader.wait()
            for feeds in ([feed(), feed("h")], [feed("h", pause_s=0.003), feed()], [feed()]):
                file.write(feeds, [counter("c", tmp_path / "out", ["f"])])
                tail = inspect("f", shm_dir).tail
                assert await reloader.reload()
                await until(lambda tail=tail: inspect("f", shm_dir).tail > tail)
            stop.set()
            lost, epoch, read_to = await reading
            assert (lost, epoch) == (0, 1)
            assert read_to > tail

    asyncio.run(scenario())


def test_restarted_feed_and_its_restarted_consumer_lose_nothing(file, tmp_path, shm_dir):
    """Both change: the consumer need not wait for what the feed's new process writes."""
    limits = Limits(drain_s=3600.0, stop_s=3600.0)
    file.write([feed(wait_consumers=1)], [counter("c", tmp_path / "out")])

    async def scenario():
        supervisor, reloader = file.daemon(limits)
        async with supervisor:
            await until(lambda: inspect("f", shm_dir).tail > 500)
            file.write([feed(pause_s=0.002)], [counter("c", tmp_path / "out2")])
            assert await reloader.reload()
            await until(lambda: inspect("f", shm_dir).epoch == 2)
            await until(lambda: any(c.alive for c in inspect("f", shm_dir).consumers))

    asyncio.run(scenario())
    first, second = (
        [int(n) for n in (tmp_path / name).read_text().split()] for name in ("out", "out2")
    )
    assert first[1] == second[1] == 0
    assert first[0] > 0
    assert second[0] > 0
    assert first[0] + second[0] == inspect("f", shm_dir).tail


def test_ring_goes_from_one_writer_to_another(file, tmp_path, shm_dir):
    """The new writer of a ring starts when the old one has ended; its reader stays."""
    last = counter("last", tmp_path / "last", ["mid"])
    file.write([feed()], [counter("old", tmp_path / "old", ["f"], ring="mid"), last])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            before = pids(supervisor)
            file.write([feed()], [counter("new", tmp_path / "new", ["f"], ring="mid"), last])
            assert await reloader.reload()
            assert supervisor.find("new").state is State.RUNNING
            assert pids(supervisor)["last"] == before["last"]
            info = inspect("mid", shm_dir)
            assert (info.epoch, info.pid) == (2, supervisor.find("new").pid)
            assert supervisor.find("new").restarts == 0

    asyncio.run(scenario())


def test_name_goes_from_a_feed_to_a_consumer(file, tmp_path):
    file.write([feed(), feed("x")])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            file.write([feed()], [counter("x", tmp_path / "out")])
            assert await reloader.reload()
            assert supervisor.find("x").kind == "consumer"
            assert supervisor.find("x").state is State.RUNNING

    asyncio.run(scenario())
    assert (tmp_path / "out").exists()


def test_ring_of_somebody_else_is_refused(file, shm_dir, told):
    file.write([feed()])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            before = pids(supervisor)
            file.write([feed("taken"), feed("g")])
            with Writer("taken", 256, directory=shm_dir):
                assert not await reloader.reload()
            assert pids(supervisor) == before
            assert await reloader.reload()
            assert [child.name for child in supervisor.children] == ["taken", "g"]

    asyncio.run(scenario())
    assert told("feed f") == ["stopped, it is no longer in the file"]


def test_given_up_child_stays_so_until_its_plan_changes(file, told):
    file.write([feed(), feed("bad", exit_status=77)])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            await until(lambda: supervisor.failures)
            assert await reloader.reload()
            assert supervisor.find("bad").state is State.FAILED
            assert told("feed bad") == ["unchanged, still given up: exit status 77 (credentials)"]
            file.write([feed(), feed("bad")])
            assert await reloader.reload()
            assert supervisor.find("bad").state is State.RUNNING
            assert not supervisor.failures

    asyncio.run(scenario())


def test_child_in_its_back_off_starts_at_once_with_the_new_plan(file):
    limits = Limits(ready_s=0.1, restart_first_s=3600.0)
    file.write([feed(exit_status=69)])

    async def scenario():
        supervisor, reloader = file.daemon(limits)
        async with supervisor:
            await until(lambda: supervisor.find("f").state is State.BACKOFF)
            file.write([feed()])
            assert await reloader.reload()
            await until(lambda: supervisor.find("f").state is State.RUNNING)

    asyncio.run(scenario())


def test_feed_that_does_not_listen_is_killed_and_replaced(file, shm_dir):
    limits = Limits(feeds_stop_s=0.2)
    file.write([feed(deaf=True)])

    async def scenario():
        supervisor, reloader = file.daemon(limits)
        async with supervisor:
            await until(lambda: inspect("f", shm_dir).tail > 100)
            file.write([feed()])
            assert await reloader.reload()
            child = supervisor.find("f")
            assert child.state is State.RUNNING
            assert child.last_failure == ""
            assert inspect("f", shm_dir).epoch == 2

    asyncio.run(scenario())


def test_last_running_child_leaves_and_the_run_goes_on_with_its_successor(file):
    file.write([feed()])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            file.write([feed("g")])
            assert await reloader.reload()
            waiting = asyncio.create_task(supervisor.wait())
            await asyncio.sleep(0)
            assert not waiting.done()
            supervisor.request_stop()
            await waiting

    asyncio.run(scenario())


# ----------------------------------------------------------------------------------------------- when


def test_reload_while_the_daemon_starts(file, tmp_path):
    """The first plan's consumer waits for a ring that does not come; the second plan has neither."""
    limits = Limits(ready_s=3600.0, restart_first_s=3600.0)
    file.write([feed("late", exit_status=69)], [counter("c", tmp_path / "out", ["late"])])

    async def scenario():
        supervisor, reloader = file.daemon(limits)
        starting = asyncio.create_task(supervisor.start())
        await until(lambda: supervisor.children[0].state is State.BACKOFF)
        assert not starting.done()
        file.write([feed()], [counter("c", tmp_path / "out", ["f"])])
        assert await reloader.reload()
        await asyncio.wait_for(starting, PATIENCE_S)
        assert [child.state for child in supervisor.children] == [State.RUNNING] * 2
        await supervisor.stop()

    asyncio.run(scenario())


def test_requests_during_a_reload_are_one_more_reload(file, told):
    file.write([feed(deaf=True)])

    async def scenario():
        supervisor, reloader = file.daemon(Limits(feeds_stop_s=0.5))
        async with supervisor:
            running = asyncio.create_task(reloader.run())
            file.write([feed()])
            reloader.request()
            await until(lambda: supervisor._leaving)
            file.write([feed(), feed("g")])
            for _ in range(5):
                reloader.request()
                await asyncio.sleep(0)
            assert reloader.number == 1
            await until(lambda: len(supervisor.children) == 2)
            await until(lambda: told()[-1] == "done" and reloader.number == 2)
            assert not reloader._wanted.is_set()
            running.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("cancelled", [True, False])
def test_stop_during_a_reload_stops_old_and_new(file, shm_dir, cancelled):
    """The old feed does not listen, so the reload hangs; `stop` comes meanwhile."""
    file.write([feed(deaf=True), feed("g")])

    async def scenario():
        supervisor, reloader = file.daemon(Limits(feeds_stop_s=1.0))
        await supervisor.start()
        await until(lambda: inspect("f", shm_dir).tail > 100)
        file.write([feed(), feed("h")])
        reloading = asyncio.create_task(reloader.reload())
        await until(lambda: len(supervisor._leaving) == 2)
        leaving = [*supervisor._leaving]
        if cancelled:
            reloading.cancel()
        await supervisor.stop()
        everybody = [*leaving, *supervisor.children]
        assert len(everybody) == 4
        assert {child.state for child in everybody} == {State.STOPPED}
        assert all(child.pid == 0 for child in everybody)
        await asyncio.wait([reloading])
        assert reloading.cancelled() is cancelled
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_daemon_that_stops_takes_no_other_plan(file, told):
    file.write([feed()])

    async def scenario():
        supervisor, reloader = file.daemon()
        assert not await reloader.reload()
        async with supervisor:
            supervisor.request_stop()
            assert not await reloader.reload()
        assert not await reloader.reload()

    asyncio.run(scenario())
    assert told()[-1].endswith("not running, or stops; the old configuration goes on")


# ----------------------------------------------------------------------------------- metrics, log, shm_dir


def test_metrics_move_and_a_place_that_is_taken_moves_nothing(file, told):
    file.write([feed()], metrics={"port": 0})

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            exporter, port = supervisor.exporter, supervisor.exporter.port
            assert await reloader.reload()
            assert supervisor.exporter is exporter
            with socket.create_server(("127.0.0.1", 0)) as other:
                taken = other.getsockname()[1]
                file.write([feed()], metrics={"port": taken})
                assert await reloader.reload()
                assert supervisor.exporter is exporter
                assert any(f"port {taken}: Address already in use" in line for line in told())
            assert await reloader.reload()  # tried again
            assert supervisor.exporter.port == taken
            url = f"http://127.0.0.1:{taken}/healthz"
            body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
            assert json.loads(body)["healthy"]
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", port), timeout=10)
            file.write([feed()])
            assert await reloader.reload()
            assert supervisor.exporter is None
            assert told()[-2:] == ["metrics are served nowhere", "done"]

    asyncio.run(scenario())


def test_folder_of_the_rings_stays(file, tmp_path, shm_dir, told):
    file.write([feed()])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            before = pids(supervisor)
            file.write([feed(), feed("g")], shm_dir=str(tmp_path))
            assert await reloader.reload()
            assert pids(supervisor)["f"] == before["f"]
            assert inspect("g", shm_dir).writer_alive
            assert supervisor.plan.shm_dir == shm_dir

    asyncio.run(scenario())
    assert f"shm_dir is {shm_dir} until the daemon is restarted, not {tmp_path}" in told()


# --------------------------------------------------------------------------------------------- indexes


def planned(*names):
    return Plan(
        feeds=tuple(
            ChildPlan("feed", name, "p", "m:C", feed_index=place)
            for place, name in enumerate(names, 1)
        )
    )


def kept(known, *names):
    return reload.indexes_of(keep_indexes(planned(*names), known))


def test_index_stays_with_its_feed_and_is_not_given_again():
    known = kept({}, "a", "b", "c")
    assert known == {"a": 1, "b": 2, "c": 3}
    assert kept(known, "c", "b") == {"c": 3, "b": 2}
    assert kept(known, "x", "b", "c") == {"x": 4, "b": 2, "c": 3}
    assert kept(known, "a", "b", "c", "y") == {"a": 1, "b": 2, "c": 3, "y": 4}
    assert kept(known, "y", "a") == {"y": 4, "a": 1}


def test_indexes_run_out_and_those_of_feeds_that_are_gone_are_given_again():
    known = {f"f{index}": index for index in range(1, 256)}
    assert kept(known, "f200", "new", "newer") == {"f200": 200, "new": 2, "newer": 3}
    everybody = [f"g{index}" for index in range(255)]
    assert sorted(kept(known, *everybody).values()) == list(range(1, 256))


def test_removed_feed_comes_back_with_its_index(file, shm_dir):
    file.write([feed("a"), feed("b")])

    async def scenario():
        supervisor, reloader = file.daemon()
        async with supervisor:
            for feeds, expected in (
                ([feed("b")], {"b": 2}),
                ([feed("x"), feed("b")], {"x": 3, "b": 2}),
                ([feed("x"), feed("b"), feed("a")], {"x": 3, "b": 2, "a": 1}),
            ):
                pid = supervisor.find("b").pid
                file.write(feeds)
                assert await reloader.reload()
                assert indexes(supervisor) == expected
                assert supervisor.find("b").pid == pid
                for name, index in expected.items():
                    assert inspect(name, shm_dir).feed_index == index

    asyncio.run(scenario())


def test_plan_at_another_place_is_otherwise_equal():
    made = planned("a").at("/x")
    assert made.shm_dir == made.feeds[0].directory == "/x"
    assert made.at("/dev/shm") == planned("a")


def test_apply_itself_refuses_where_nothing_runs(file):
    file.write([feed()])

    async def scenario():
        supervisor, _ = file.daemon()
        with pytest.raises(StartError, match="not running"):
            await supervisor.apply(supervisor.plan)

    asyncio.run(scenario())
