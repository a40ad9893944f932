"""The stand-in's session: blocking, waking, handlers, threads, and what messages look like through it."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest

from mdfeedd.sim.bloomberg import Fault, Script, SystemClock, VirtualClock, World, path

from .conftest import ES, EUR, SPY, TOPICS


def world(*faults, clock=None, **options):
    return World(3, TOPICS, script=Script(tuple(faults)), clock=clock or VirtualClock(), **options)


def started(blpapi, **setters):
    options = blpapi.SessionOptions()
    options.setAutoRestartOnDisconnection(True)
    for name, value in setters.items():
        getattr(options, name)(value)
    session = blpapi.Session(options)
    assert session.start()
    assert session.openService("//blp/mktdata")
    return session


def listed(blpapi, *topics, fields=None, options=None, first=0):
    found = blpapi.SubscriptionList()
    for cid, topic in enumerate(topics, first):
        found.add(topic, fields, options, blpapi.CorrelationId(cid))
    return found


def take(blpapi, session, until, limit=20_000):
    """Messages, with the kind of their event, up to one for which `until` is true."""
    found = []
    while len(found) < limit:
        event = session.nextEvent(250)
        for message in event:
            found.append((event.eventType(), message))
            if until(message):
                return found
    raise AssertionError(f"not within {limit} messages")


def is_data(message):
    return message.messageType() == "MarketDataEvents"


def test_messages_through_the_published_interface(blpapi, play):
    play(world())
    session = started(blpapi, setRecordSubscriptionDataReceiveTimes=True)
    individual = blpapi.SubscriptionPreprocessMode.RETURN_INDIVIDUAL_ERRORS
    bad = session.subscribe(listed(blpapi, ES, "  ", fields=["BID"]), mode=individual)
    assert [(b.correlationId.value(), b.subscriptionString) for b in bad] == [(1, "  ?fields=BID")]
    assert bad[0].errorCode.value == 1
    found = take(blpapi, session, lambda m: is_data(m) and not m.recapType())
    names = [str(m.messageType()) for _, m in found]
    assert names[:5] == [
        "SessionConnectionUp",
        "SessionStarted",
        "ServiceOpened",
        "SubscriptionStarted",
        "SubscriptionStreamsActivated",
    ]
    (kind, image), (_, delta) = found[5], found[-1]
    assert kind == blpapi.Event.SUBSCRIPTION_DATA
    assert image.recapType() == blpapi.Message.RECAPTYPE_SOLICITED
    assert image.correlationId() == blpapi.CorrelationId(0)
    assert image.correlationIds() == [image.correlationId()]
    assert image.service().name() == "//blp/mktdata"
    assert image.topicName() == ES
    assert image.numElements() == len(image.toPy()) > 80
    assert image.getElementAsString("MKTDATA_EVENT_SUBTYPE") == "INITPAINT"
    assert image.hasElement("THEO_PRICE")
    assert not image.hasElement("THEO_PRICE", excludeNullElements=True)
    assert image.getElement("THEO_PRICE").isNull()
    assert image.getElementAsBool("IS_DELAYED_STREAM") is False
    assert image.timeReceived().utcoffset() == dt.timedelta(0)
    assert delta.toPy() == {str(e.name()): e.toPy() for e in delta.asElement().elements()}
    assert "MKTDATA_EVENT_TYPE = QUOTE" in str(delta)
    assert found[3][1].getRequestId()
    session.stop()


def test_to_py_is_the_callers_own(blpapi, play):
    play(world())
    session = started(blpapi)
    session.subscribe(listed(blpapi, ES))
    message = take(blpapi, session, is_data)[-1][1]
    message.toPy().clear()
    assert len(message.toPy()) > 80
    session.stop()


@pytest.mark.parametrize(
    ("name", "field", "form"),
    [("null_sequence", "TRADE_DETAILS_RT", {}), ("no_parts", "TRADE_UPDATE_STAMP_RT", None)],
)
def test_to_py_of_what_has_no_value(blpapi, play, name, field, form):
    play(world(Fault("odd", topic=ES, at_s=0.5, text=name)))
    session = started(blpapi)
    session.subscribe(listed(blpapi, ES))
    message = take(
        blpapi, session, lambda m: is_data(m) and m.hasElement(field) and m.toPy()[field] == form
    )[-1][1]
    assert message.toPy()[field] == form
    session.stop()


def test_to_py_of_a_decimal_raises_a_plain_exception(blpapi, play):
    play(world(Fault("odd", topic=ES, at_s=0.5, text="decimal")))
    session = started(blpapi)
    session.subscribe(listed(blpapi, ES))
    decimal = blpapi.DataType.DECIMAL

    def has_one(message):
        return is_data(message) and any(
            e.datatype() == decimal for e in message.asElement().elements()
        )

    message = take(blpapi, session, has_one)[-1][1]
    with pytest.raises(Exception, match="DECIMAL") as caught:
        message.toPy()
    assert type(caught.value) is Exception
    session.stop()


def test_elements_of_a_status(blpapi, play):
    play(world())
    session = started(blpapi)
    session.subscribe(listed(blpapi, ES, fields="PX_BID,BID"))
    message = take(blpapi, session, lambda m: m.messageType() == "SubscriptionStarted")[-1][1]
    rejected = message.getElement("exceptions")
    assert rejected.isArray()
    assert rejected.numValues() == 1
    assert rejected.datatype() == blpapi.DataType.SEQUENCE
    one = rejected.getValueAsElement(0)
    assert one.getElementAsString("fieldId") == "PX_BID"
    assert one.getElement("reason").getElementAsInteger("errorCode") == 10
    assert [e.getElementAsString("fieldId") for e in rejected.values()] == ["PX_BID"]
    assert message.getElement("receivedFrom").getElement(0).getValue() == "127.0.0.1:8194"
    with pytest.raises(blpapi.IndexOutOfRangeException):
        rejected.getValueAsElement(1)
    with pytest.raises(blpapi.UnsupportedOperationException):
        one.getElement("fieldId").getElement("x")
    with pytest.raises(blpapi.InvalidConversionException):
        one.getElementAsBool("fieldId")
    session.stop()


def test_misuse_raises_with_the_published_codes(blpapi, play):
    play(world())
    session = started(blpapi)
    session.subscribe(listed(blpapi, ES))
    with pytest.raises(blpapi.DuplicateCorrelationIdException, match="0x00020005"):
        session.subscribe(listed(blpapi, SPY))
    with pytest.raises(blpapi.InvalidArgumentException, match="0x00020002"):
        session.subscribe(listed(blpapi, "", first=9))
    with pytest.raises(blpapi.InvalidStateException, match="0x00010009"):
        session.start()
    session.stop()
    with pytest.raises(blpapi.InvalidStateException):
        session.unsubscribe(listed(blpapi, ES))
    with pytest.raises(blpapi.InvalidArgumentException):
        blpapi.Session(None, None, blpapi.EventDispatcher())


def test_unsubscribed_topic_sends_nothing_more(blpapi, play):
    play(world())
    session = started(blpapi)
    session.subscribe(listed(blpapi, ES, SPY))
    take(blpapi, session, lambda m: is_data(m) and m.correlationId().value() == 1)
    session.unsubscribe(listed(blpapi, ES))
    rest = take(blpapi, session, lambda m: m.messageType() == "SubscriptionTerminated")
    rest += [(0, m) for _ in range(300) for m in session.nextEvent(250)]
    assert [m for _, m in rest if is_data(m) and m.correlationId().value() == 0] == []
    session.cancel(blpapi.CorrelationId(1))
    assert take(blpapi, session, lambda m: m.messageType() == "SubscriptionTerminated")
    session.stop()


def test_identity_of_the_session(blpapi, play):
    play(world())
    options = blpapi.SessionOptions()
    cid = options.setSessionIdentityOptions(blpapi.AuthOptions.createWithApp("firm:app"))
    assert cid.type() == blpapi.CorrelationId.AUTOGEN_TYPE
    session = blpapi.Session(options)
    assert session.start()
    found = take(blpapi, session, lambda m: m.messageType() == "SessionStarted")
    assert [k for k, _ in found] == [
        blpapi.Event.SESSION_STATUS,
        blpapi.Event.TOKEN_STATUS,
        blpapi.Event.AUTHORIZATION_STATUS,
        blpapi.Event.SESSION_STATUS,
    ]
    assert found[1][1].correlationId() == cid
    assert session.getAuthorizedIdentity(cid)
    session.stop()


def test_leased_lines_have_two_servers(blpapi):
    tls = blpapi.TlsOptions.createFromBlobs(b"p12", "secret", b"p7")
    options = blpapi.ZfpUtil.getZfpOptionsForLeasedLines(blpapi.ZfpUtil.REMOTE_8196, tls)
    assert [options.getServerAddress(i)[1] for i in range(options.numServerAddresses())] == [
        8196
    ] * 2
    with pytest.raises(TypeError):
        blpapi.TlsOptions.createFromBlobs("p12", "secret", b"p7")
    assert "secret" not in options.toString()


def test_lost_connection_is_logged_on_another_thread(blpapi, play):
    lines = []
    threads = set()

    def callback(_thread, severity, _when, _category, text):
        threads.add(threading.current_thread())
        lines.append((severity, text))

    blpapi.Logger.registerCallback(callback, thresholdSeverity=blpapi.Logger.SEVERITY_WARN)
    try:
        play(world(Fault("disconnect", at_s=1.0)))
        session = started(blpapi)
        take(blpapi, session, lambda m: m.messageType() == "SessionConnectionDown")
        session.stop()
    finally:
        blpapi.Logger.registerCallback(None)
    assert lines == [(blpapi.Logger.SEVERITY_WARN, "SessionConnectionDown")]
    assert threading.current_thread() not in threads


# ----------------------------------------------------------------------------------------------- waiting


def test_waiting_blocks_until_another_thread_calls(blpapi, play):
    play(world(clock=SystemClock()))
    session = started(blpapi)
    for _ in range(3):
        session.nextEvent(250)
    got = []
    entered = threading.Event()

    def wait():
        entered.set()
        got.append(session.nextEvent(0).eventType())

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert entered.wait(10)
    assert not got
    session.subscribe(listed(blpapi, ES))
    thread.join(30)
    assert got == [blpapi.Event.SUBSCRIPTION_STATUS]
    session.stop()


def test_waiting_costs_no_processor_and_no_thread(blpapi, play):
    play(world(clock=SystemClock()))
    session = started(blpapi)
    for _ in range(3):
        session.nextEvent(250)
    threads, busy = threading.active_count(), time.process_time()
    assert session.nextEvent(1000).eventType() == blpapi.Event.TIMEOUT
    assert time.process_time() - busy < 0.5
    assert threading.active_count() == threads
    session.stop()


def test_real_time_brings_what_falls_due(blpapi, play):
    play(world(clock=SystemClock(), rate=2000.0))
    session = started(blpapi)
    session.subscribe(listed(blpapi, *TOPICS))
    begin = time.monotonic()
    while sum(is_data(m) for m in session.nextEvent(250)) == 0 or time.monotonic() < begin + 0.3:
        pass
    account = play(world()).sessions
    assert account == []
    session.stop()


def test_client_that_does_not_come_back_in_time_loses_and_is_told(blpapi, play):
    clock = VirtualClock()
    played = play(world(clock=clock, rate=2000.0))
    session = started(blpapi, setMaxEventQueueSize=100)
    session.subscribe(listed(blpapi, ES))
    take(blpapi, session, is_data)
    clock.advance(2_000_000_000)
    found = take(blpapi, session, lambda m: m.messageType() == "SlowConsumerWarningCleared")
    told = sum(m.toPy()["numMessagesDropped"] for _, m in found if m.messageType() == "DataLoss")
    account = played.sessions[0]
    assert told == len(account.dropped) > 500
    assert account.queue_peak <= 102
    assert found[0][1].messageType() == "SlowConsumerWarning"
    session.stop()


def test_long_stall_is_made_up_for_in_part(blpapi, play):
    clock = VirtualClock()
    played = play(world(clock=clock, rate=20.0))
    session = started(blpapi, setMaxEventQueueSize=100_000)
    session.subscribe(listed(blpapi, *TOPICS))
    take(blpapi, session, is_data)
    clock.advance(3600 * 1_000_000_000)
    session.nextEvent(250)
    assert 600 < len(session._core.queue) < 3000
    for _ in range(5000):
        session.nextEvent(250)
    late = played.sessions[0].delivered[-1].due_ns
    assert abs(late - clock.now_ns()) < 60_000_000_000
    session.stop()


# ----------------------------------------------------------------------------------------------- handlers


def test_handler_gets_events_on_a_thread_of_its_own(blpapi, play):
    play(world())
    got = []
    enough = threading.Event()

    def handle(event, session):
        got.extend((threading.current_thread(), str(m.messageType())) for m in event)
        if len(got) > 100:
            enough.set()

    session = blpapi.Session(None, handle, blpapi.EventDispatcher(2))
    assert session.start()
    session.subscribe(listed(blpapi, ES))
    assert enough.wait(60)
    with pytest.raises(blpapi.InvalidStateException):
        session.nextEvent(10)
    assert session.tryNextEvent() is None
    session.stop()
    assert len({thread for thread, _ in got}) == 1
    assert threading.current_thread() not in {thread for thread, _ in got}
    assert [name for _, name in got[-2:]] == ["SessionConnectionDown", "SessionTerminated"]


HANDLER = """
import atexit, sys
sys.path.insert(0, sys.argv[1])
import blpapi
from mdfeedd.sim.bloomberg import World, install
install(World())
atexit.register(print, "at exit")
def handle(event, session):
    raise KeyError("mine")
session = blpapi.Session(None, handle)
try:
    session.startAsync()
    session._thread.join()
finally:
    print("finally", flush=True)
"""


def test_exception_in_a_handler_ends_the_process_at_once():
    done = subprocess.run(
        [sys.executable, "-c", HANDLER, path()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "KeyError: 'mine'" in done.stderr
    assert done.stdout == ""


# ----------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("is_slow", [False, True])
def test_memory_does_not_grow_when_messages_are_not_kept(blpapi, play, is_slow):
    clock = VirtualClock()
    played = play(world(clock=clock, rate=2000.0, keep=False))
    session = started(blpapi, setMaxEventQueueSize=200)
    session.subscribe(listed(blpapi, *TOPICS))

    def some(n):
        for _ in range(n):
            if is_slow:
                clock.advance(20_000_000)
            for message in session.nextEvent(250):
                message.toPy()

    some(300)
    tracemalloc.start()
    try:
        some(200 if is_slow else 3000)
        before = tracemalloc.take_snapshot()
        some(400 if is_slow else 6000)
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    grown = sum(s.size_diff for s in after.compare_to(before, "filename"))
    counts = played.sessions[0].counts
    assert counts["dropped" if is_slow else "delivered"] > 6000
    assert grown < 1_000_000  # 6000 messages kept would be six times that
    session.stop()


CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
import blpapi
from mdfeedd.sim.bloomberg import current
session = blpapi.Session()
assert session.start()
listed = blpapi.SubscriptionList()
listed.add("EURUSD Curncy", correlationId=blpapi.CorrelationId(5))
session.subscribe(listed)
data = 0
while data < 5:
    data += sum(m.correlationId().value() == 5 for m in session.nextEvent(250) if m.messageType() == "MarketDataEvents")
session.stop()
world = current()
print(json.dumps([world.seed, [t.name for t in world.topics], world.sessions[0].counts["delivered"] >= 5]))
"""


def test_process_plays_the_world_of_its_environment():
    text = World(77, (EUR,), rate=500.0, script=Script((Fault("delayed", None),))).to_json()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, path()],
        env=os.environ | {"MDFEEDD_BLOOMBERG_WORLD": text},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.strip() == '[77, ["EURUSD Curncy"], true]'
