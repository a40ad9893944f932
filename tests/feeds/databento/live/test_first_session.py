"""What was captured between a subscription and the metadata of the first session is the ring's, too."""

from __future__ import annotations

import socket
import time

import databento_dbn as db
import numpy as np

from mdfeedd.feeds.databento.codec.records import record_dtype
from mdfeedd.tick import Kind

METADATA = db.Metadata(
    dataset="GLBX.MDP3", start=0, stype_in=None, stype_out=db.SType.INSTRUMENT_ID, schema=None,
    symbols=[], version=3,
).encode()  # fmt: skip


def trade(instrument_id, ts_recv):
    record = np.zeros(1, record_dtype(0x00, 3))
    record["length"], record["rtype"], record["publisher_id"] = record.itemsize // 4, 0x00, 1
    record["instrument_id"], record["ts_event"], record["ts_recv"] = instrument_id, ts_recv, ts_recv
    record["price"], record["size"], record["action"], record["side"] = 10**9, 1, b"T", b"A"
    return record.tobytes()


def completed(schema):
    return bytes(
        db.SystemMsg(time.time_ns(), f"Finished {schema} replay", db.SystemCode.REPLAY_COMPLETED)
    )


def admitted(listener):
    """The next connection, up to `start_session`, and the lines that came."""
    peer, _ = listener.accept()
    peer.settimeout(10)
    peer.sendall(b"lsg_version=1\ncram=abc\n")
    peer.recv(4096)
    peer.sendall(b"success=1|session_id=1\n")
    lines = b""
    while b"start_session" not in lines:
        lines += peer.recv(4096)
    return peer, lines


def test_lost_before_anything_of_its_instrument_came(life, fast, key_file):
    """Captured after we had asked, lost with the connection: the replay brings it, and it is taken."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        one = life(("trades",), recovery="replay")
        one.feed.options = one.options = type(one.options)(
            "GLBX.MDP3",
            one.options.subscriptions,
            gateway=f"127.0.0.1:{listener.getsockname()[1]}",
            key_file=key_file,
        )
        one.start()
        peer, _ = admitted(listener)
        asked_ns = time.time_ns()
        with peer:
            time.sleep(0.3)  # what the gateway captures meanwhile belongs to the session
            came, lost = trade(1, asked_ns + 10**8), trade(2, asked_ns + 2 * 10**8)
            peer.sendall(METADATA + came)
            one.until(lambda: one.count(Kind.TRADE) == 1, "the first trade")
        peer, lines = admitted(listener)
        with peer:
            assert b"|start=" in lines
            peer.sendall(METADATA + came + lost + completed("trades") + trade(1, time.time_ns()))
            one.until(lambda: one.count(Kind.TRADE) >= 2, "more trades")
            one.until(lambda: one.count(Kind.RECOVERED) == 1, "recovery")
            one.stop_event.set()
            one._thread.join(10)
    assert one.count(Kind.TRADE) == 3
