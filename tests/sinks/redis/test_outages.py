"""Servers that are down, slow, full, locked or somebody else's: the sentence, no loss, and recovery."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time

import pytest

from mdfeedd.sinks import SinkError

DEADLINE_S = 60.0
DURABLE = {"appendonly": "yes", "appendfsync": "always"}


def kill_clients(server):
    server.client().execute_command("CLIENT", "KILL", "TYPE", "normal")


def another_password(server):
    server.client().config_set("requirepass", "changed")
    kill_clients_of(server.client(password="changed"))


def kill_clients_of(client):
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def run_for_ever(server):
    """A script that ends only when it is killed."""
    client = server.client(socket_timeout=None)
    server.client().config_set("busy-reply-threshold", "1")

    def spin():
        with contextlib.suppress(Exception):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            server.client().ping()
        except Exception as error:
            if "BUSY" in str(error) or "busy" in str(error):
                return
            raise
        assert time.monotonic() < end


def away(key):
    def rename(server):
        client = server.client()
        client.rename(key, "away")
        client.set(key, "mine")

    return rename


def back(key):
    def rename(server):
        server.client().rename("away", key)

    return rename


POSITION, STREAM = "md:{cme}:position", "md:{cme}:stream"
OUTAGES = {
    "down": (
        lambda server: server.kill(),
        "cannot be reached: Connection refused",
        lambda server: server.start(),
    ),
    "frozen": (
        lambda server: server.freeze(),
        "did not answer within 0.3 s",
        lambda server: server.thaw(),
    ),
    "connections cut": (kill_clients, "cannot be reached", lambda server: None),
    "wants a password": (
        another_password,
        "wants a password",
        lambda server: server.client(password="changed").config_set("requirepass", ""),
    ),
    "read-only replica": (
        lambda server: server.client().replicaof("127.0.0.1", "1"),
        "is a read-only replica",
        lambda server: server.client().replicaof("NO", "ONE"),
    ),
    "full": (
        lambda server: server.client().config_set("maxmemory", 1),
        "is full",
        lambda server: server.client().config_set("maxmemory", 0),
    ),
    "position of another type": (away(POSITION), "of another type", back(POSITION)),
    "stream of another type": (away(STREAM), "of another type", back(STREAM)),
    "busy with a script": (
        run_for_ever,
        "is busy with a script",
        lambda server: server.client().script_kill(),
    ),
}


def refusal(call):
    """The `SinkError` of a call, or None."""
    try:
        call()
    except SinkError as error:
        return error
    return None


def write_at_last(store, batch):
    """As the consumer does: again and again, while the sink says that it may succeed later."""
    end = time.monotonic() + DEADLINE_S
    while error := refusal(lambda: store.write(batch)):
        assert error.retriable, error
        assert time.monotonic() < end, error
        time.sleep(0.05)


@pytest.mark.parametrize("name", OUTAGES)
def test_outage_is_told_and_nothing_is_lost(name, given, make_server):
    trouble, sentence, heal = OUTAGES[name]
    server = make_server(**DURABLE)
    timeout_s = 0.3 if name == "frozen" else 30.0
    store = given.sinks_into(server)("stream", "ticks", "last", timeout_s=timeout_s)
    records = given.quotes(1, 300)
    write_at_last(store, given.batch(records[:100]))
    trouble(server)
    told = []
    for _ in range(100 if name == "down" else 3):
        if error := refusal(lambda: store.write(given.batch(records[100:200]))):
            assert error.retriable, error
            told.append(str(error))
    assert any(sentence in one and str(server.port) in one for one in told), told
    heal(server)
    write_at_last(store, given.batch(records[100:200]))
    write_at_last(store, given.batch(records[200:]))
    assert given.stored(server).records.tobytes() == records.tobytes()
    assert store.progress(given.space).safe_seq == 300
    store.close()


def test_down_at_the_start(given, make_server):
    server = make_server()
    server.kill()
    store = given.sinks_into(server)()
    for _ in range(3):
        with pytest.raises(SinkError, match="cannot be reached") as caught:
            store.position("cme")
        assert caught.value.retriable
    server.start()
    assert store.position("cme") is None
    store.write(given.batch(given.quotes(1, 10)))
    assert len(given.stored(server).records) == 10
    store.close()


@pytest.mark.parametrize("mode", ["stream", "ticks"])
def test_wrong_password_is_found_when_its_file_is_mended(given, make_server, mode, tmp_path):
    server = make_server(requirepass="s3cret-right")
    file = tmp_path / "password"
    file.write_text("s3cret-wrong\n")
    store = given.sinks_into(server)(mode, password_file=str(file))
    with pytest.raises(SinkError, match="refuses the user or the password") as caught:
        store.write(given.batch(given.quotes(1, 10)))
    assert caught.value.retriable
    assert "s3cret" not in str(caught.value)
    file.unlink()
    with pytest.raises(SinkError, match="cannot be read from") as caught:
        store.write(given.batch(given.quotes(1, 10)))
    assert caught.value.retriable
    file.write_text("s3cret-right\n")
    store.write(given.batch(given.quotes(1, 10)))
    assert store.progress(given.space).safe_seq == 10
    store.close()


def test_password_changes_between_the_two_connections(given, make_server, tmp_path):
    server = make_server(requirepass="old")
    file = tmp_path / "password"
    file.write_text("old")
    store = given.sinks_into(server)("stream", "ticks", password_file=str(file))
    assert store.position("cme") is None
    server.client(password="old").config_set("requirepass", "new")
    with pytest.raises(SinkError, match="refuses the user or the password"):
        store.write(given.batch(given.quotes(1, 10)))  # stored, and then not told
    file.write_text("new")
    store.write(given.batch(given.quotes(1, 10)))
    position = server.client(password="new").hget(POSITION, "seq")
    assert int(position) == 10
    store.close()


def test_call_that_arrives_after_it_was_given_up_is_not_made_twice(given, make_server):
    """A frozen server finds the first call in its socket when it wakes, beside those that came later."""
    server = make_server()
    store = given.sinks_into(server)("stream", timeout_s=0.3)
    records = given.quotes(1, 200)
    write_at_last(store, given.batch(records[:100]))
    server.freeze()
    for _ in range(4):
        with pytest.raises(SinkError, match="did not answer"):
            store.write(given.batch(records[100:]))
    server.thaw()
    write_at_last(store, given.batch(records[100:]))
    assert given.stored(server).records.tobytes() == records.tobytes()
    store.close()


def test_ticks_of_a_batch_that_was_stored_and_not_told_are_told(given, make_server):
    """The bare connection dies after the script: the retry stores nothing and tells everything."""
    server = make_server()
    store = given.sinks_into(server)("stream", "ticks")
    store.write(given.batch(given.quotes(1, 10)))
    listener = server.client().pubsub(ignore_subscribe_messages=True)
    listener.psubscribe("md:cme:*:quote")
    listener.get_message(timeout=30)
    store._wire._socket.close()
    with pytest.raises(SinkError, match="cannot be reached"):
        store.write(given.batch(given.quotes(11, 10)))
    store.write(given.batch(given.quotes(11, 10)))
    store.write(given.batch(given.quotes(21, 10), ring_id="e" * 32))
    told = 0
    while told < 20:
        assert listener.get_message(ignore_subscribe_messages=True, timeout=30) is not None
        told += 1
    assert listener.get_message(ignore_subscribe_messages=True, timeout=0.1) is None
    assert len(given.stored(server).records) == 30
    listener.close()
    store.close()


def test_server_that_forgets_everything_is_filled_again(given, make_server):
    server = make_server()
    make = given.sinks_into(server)
    store = make("stream")
    records = given.quotes(1, 200)
    store.write(given.batch(records[:100]))
    server.kill()
    server.start()
    told = [refusal(lambda: store.write(given.batch(records[100:]))) for _ in range(2)]
    assert told[0].retriable
    assert "lost its tail of ring 'cme': it had confirmed 100 and has nothing" in str(told[1])
    assert not told[1].retriable
    store.close()
    again = make("stream")
    assert again.position("cme") is None
    again.write(given.batch(records))
    assert given.stored(server).records.tobytes() == records.tobytes()
    again.close()


def test_server_that_loses_its_tail_gets_it_again(given, make_server, tmp_path):
    """What AOF everysec may do in a power cut: the files as they were a moment ago."""
    server = make_server(**DURABLE)
    make = given.sinks_into(server)
    store = make("stream")
    records = given.quotes(1, 300)
    store.write(given.batch(records[:100]))
    kept = tmp_path / "kept"
    shutil.copytree(server.folder / "appendonlydir", kept)
    store.write(given.batch(records[100:200]))
    ids = given.stored(server).ids
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    shutil.copytree(kept, server.folder / "appendonlydir")
    server.start()
    told = []  # idle, and told all the same
    for _ in range(2):
        store._next_ping = 0.0
        told.append(refusal(store.housekeep))
    assert "cannot be reached" in str(told[0])
    assert told[0].retriable
    assert "had confirmed 200 and has 100" in str(told[1])
    assert not told[1].retriable
    store.close()
    again = make("stream")
    assert again.position("cme").seq == 100
    again.write(given.batch(records[100:]))
    found = given.stored(server)
    assert found.records.tobytes() == records.tobytes()
    assert found.ids[0] == ids[0]
    again.close()


def test_server_that_forgets_only_who_writes_goes_on(given, make_server):
    server = make_server(**DURABLE)
    store = given.sinks_into(server)("stream")
    assert store.position("cme") is None
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    server.start()
    write_at_last(store, given.batch(given.quotes(1, 10)))
    assert len(given.stored(server).records) == 10
    store.close()


def test_node_of_a_cluster_that_has_not_the_keys(given, make_server):
    """Two nodes of which the other has all slots."""
    bus = [given.free_port() for _ in range(2)]
    nodes = [make_server(cluster_enabled="yes", cluster_port=port) for port in bus]
    here, there = (node.client() for node in nodes)
    there.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
    here.execute_command("CLUSTER MEET", "127.0.0.1", nodes[1].port, bus[1])
    deadline = time.monotonic() + 60
    while {node.execute_command("CLUSTER INFO")["cluster_state"] for node in (here, there)} != {
        "ok"
    }:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    store = given.sinks_into(nodes[0])("stream", "last")
    with pytest.raises(
        SinkError, match=f"another has these keys, 127.0.0.1:{nodes[1].port}: name that"
    ) as told:
        store.write(given.batch(given.quotes(1, 10)))
    assert told.value.retriable
    store.close()
    store = given.sinks_into(nodes[1])("stream", "last", "ticks", "publish")
    store.write(given.batch(given.quotes(1, 10)))
    assert len(given.stored(nodes[1]).records) == 10
    store.close()
