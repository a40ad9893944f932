"""The vendor's own client and our feed, from the same gateway script: the same records."""

from __future__ import annotations

import threading
import time

import databento
import databento_dbn as db
import pytest

from mdfeedd.feeds.databento.options import Subscription
from mdfeedd.ring.inspect import inspect
from mdfeedd.sim.databento import KEY, Fault, Habits, Market, Script

SECOND = 1_000_000_000
CONTROL = (db.Metadata, db.SystemMsg, db.ErrorMsg, db.SymbolMappingMsg)
TOTAL = 400
LIMIT_S = 30.0


def official(one, schemas, start_ns, **options):
    """What `databento.Live` gives its callback, up to the gateway's end: records as the market had them."""
    found, done = [], threading.Event()

    def take(record):
        if isinstance(record, CONTROL):
            return
        raw = bytes(record)
        found.append(bytes([raw[0] - 2]) + raw[1:-8] if options.get("ts_out") else raw)
        if len(found) >= TOTAL:
            done.set()

    client = databento.Live(key=KEY, gateway="127.0.0.1", port=one.gateway.port, **options)
    for schema in schemas:
        client.subscribe(
            dataset="GLBX.MDP3",
            schema=schema,
            stype_in="raw_symbol",
            symbols="ALL_SYMBOLS",
            start=start_ns,
        )
    client.add_callback(take)
    client.start()
    assert done.wait(LIMIT_S)
    client.terminate()
    client.block_for_close(LIMIT_S)
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("faults", "options"),
    [
        ((), {}),
        ((), {"ts_out": True}),
        (("one_byte_writes",), {}),
        (("separate_writes", "cut_anywhere:size=7"), {}),
        (("heartbeat:after_records=50", "slow_warning:after_records=60"), {}),
        (("error:code=4,after_records=40", "end_of_interval:after_records=70"), {}),
        (("remap:after_records=100", "system:code=77,after_records=80"), {}),
        (("data_before_mapping:count=20",), {}),
        (("long_record:after_records=30,size=16",), {}),
    ],
)
@pytest.mark.parametrize(("schemas", "rate"), [(("mbp-1",), 60.0), (("trades", "status"), 600.0)])
def test_both_receive_the_same(life, truth, schemas, rate, faults, options):
    start_ns = time.time_ns() - 30 * SECOND
    lives = []
    for _ in range(2):
        market = Market(3, schemas=schemas, rate=rate, start_ns=start_ns, publishers=2)
        asked = tuple(Subscription(s, ("ALL_SYMBOLS",), start=str(start_ns)) for s in schemas)
        script = Script(tuple(Fault.parse(text) for text in faults))
        habits = Habits(heartbeat_s=0.3, limit_records=TOTAL)
        lives.append(
            life(
                schemas, market=market, script=script, habits=habits, subscriptions=asked, **options
            )
        )
    ours, theirs = lives
    ours.start()
    found = official(theirs, schemas, start_ns, **options)
    ours.until(lambda: sum(len(s.sent) for s in ours.core.sessions) == TOTAL, "our records")
    ours.until(lambda: received(ours) == TOTAL, "our decoder's count")
    ours.end()
    theirs.end()
    sent = [[record.raw for record in one.core.sessions[0].sent] for one in lives]
    longer = [i for i, (a, b) in enumerate(zip(found, sent[1], strict=True)) if len(a) != len(b)]
    assert len(longer) == sum("long_record" in fault for fault in faults)
    assert [
        a if i not in longer else b for i, (a, b) in enumerate(zip(found, sent[1], strict=True))
    ] == sent[1]
    assert by_schema(ours) == by_schema(theirs)
    assert len(ours.core.sessions) == len(theirs.core.sessions) == 1
    held = truth(ours)
    held.check()
    assert not held.holes


def received(one):
    counters = inspect(one.plan.name, one.plan.directory).counters
    controls = sum(1 for control in one.core.sessions[0].controls)
    return counters["received_records"] - controls


def by_schema(one):
    """What its gateway sent; the order between schemas depends on when each request came."""
    sent = one.core.sessions[0].sent
    told = {schema: [r.raw for r in sent if r.schema == schema] for schema in one.market.schemas}
    least = {"mbp-1": TOTAL, "trades": 100, "status": 0}
    return {schema: raws[: least[schema]] for schema, raws in told.items()}
