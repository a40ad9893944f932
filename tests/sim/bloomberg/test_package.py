"""Small parts of the stand-in: ids, lists, options, names, services."""

from __future__ import annotations

import pytest

from mdfeedd.sim.bloomberg import VirtualClock, World

from .conftest import ES, SPY, TOPICS


@pytest.fixture
def session(blpapi, play):
    play(World(3, TOPICS, clock=VirtualClock()))
    options = blpapi.SessionOptions()
    options.setSessionName("mine")
    made = blpapi.Session(options)
    assert made.start()
    yield made
    made.stop()


def messages(session, n):
    return [m for _ in range(n) for m in session.nextEvent(250)]


def test_correlation_ids(blpapi):
    one, thing = blpapi.CorrelationId(7, 3), object()
    assert (one.value(), one.classId(), one.type()) == (7, 3, blpapi.CorrelationId.INT_TYPE)
    assert blpapi.CorrelationId(thing) == blpapi.CorrelationId(thing)
    assert blpapi.CorrelationId(thing).value() is thing
    assert blpapi.CorrelationId([]) != blpapi.CorrelationId([])
    assert blpapi.CorrelationId() == blpapi.CorrelationId()
    assert one != 7
    assert "INT: 7" in repr(one)
    with pytest.raises(TypeError):
        blpapi.CorrelationId(1, 2, 3)
    with pytest.raises(ValueError, match="class id"):
        blpapi.CorrelationId(1, 70_000)


def test_names(blpapi):
    name = blpapi.Name("A_NAME_OF_THIS_TEST")
    assert blpapi.Name.findName("A_NAME_OF_THIS_TEST") is name
    assert blpapi.Name.hasName("A_NAME_OF_THIS_TEST")
    assert blpapi.Name.findName("NOBODY_HAS_MADE_IT") is None
    assert name == blpapi.Name("A_NAME_OF_THIS_TEST")
    assert name != 5
    assert str(blpapi.Names.DATA_LOSS) == "DataLoss"


@pytest.mark.parametrize(
    ("fields", "options", "text"),
    [
        (None, None, "T Index"),
        ("BID,ASK", None, "T Index?fields=BID,ASK"),
        (["BID"], "interval=2", "T Index?fields=BID&interval=2"),
        (None, ["delayed", "interval=1"], "T Index?delayed&interval=1"),
        ((), {"useGMT": None}, "T Index?useGMT"),
    ],
)
def test_ways_to_give_fields_and_options(blpapi, fields, options, text):
    listed = blpapi.SubscriptionList()
    listed.add("T Index", fields, options, blpapi.CorrelationId(1))
    assert listed.topicStringAt(0) == text


def test_lists_grow_and_empty(blpapi):
    one, two = blpapi.SubscriptionList(), blpapi.SubscriptionList()
    one.add("A Index?interval=1", ["BID"])
    two.append(one)
    two.append(one)
    assert two.size() == 2
    assert two.topicStringAt(1) == "A Index?interval=1&fields=BID"
    assert two.correlationIdAt(0).type() == blpapi.CorrelationId.AUTOGEN_TYPE
    two.clear()
    assert (one.size(), two.size()) == (1, 0)
    with pytest.raises(TypeError, match="correlationId"):
        one.add("B Index", correlationId=7)


def test_servers_of_the_options(blpapi):
    options = blpapi.SessionOptions()
    options.setServerHost("a")
    options.setServerPort(8196)
    options.setServerAddress("b", 8194, 1, blpapi.Socks5Config("proxy", 1080))
    assert [options.getServerAddress(i) for i in range(2)] == [("a", 8196), ("b", 8194)]
    options.removeServerAddress(0)
    assert (options.serverHost(), options.numServerAddresses()) == ("b", 1)
    assert "b:8194" in str(options)
    for bad in (lambda: options.getServerAddress(3), lambda: options.removeServerAddress(3)):
        with pytest.raises(blpapi.IndexOutOfRangeException):
            bad()
    for bad in (lambda: options.setServerPort(0), lambda: blpapi.Socks5Config("proxy", 70_000)):
        with pytest.raises(ValueError, match="port"):
            bad()


@pytest.mark.parametrize(
    ("setter", "value"),
    [
        ("setNumStartAttempts", 0),
        ("setMaxEventQueueSize", 0),
        ("setSlowConsumerWarningLoWaterMark", 0),
        ("setSlowConsumerWarningHiWaterMark", 1.01),
        ("setConnectTimeout", 0),
    ],
)
def test_option_out_of_range(blpapi, setter, value):
    with pytest.raises(blpapi.InvalidArgumentException, match="0x00020002"):
        getattr(blpapi.SessionOptions(), setter)(value)


def test_assigning_to_an_option_does_nothing(blpapi):
    options = blpapi.SessionOptions()
    before = options.toString()
    options.autoRestartOnDisconnection = True
    assert options.toString() == before
    options.setAutoRestartOnDisconnection(True)
    assert options.toString() != before


def test_secrets_are_not_printed(blpapi):
    options = blpapi.SessionOptions()
    options.setAuthenticationOptions("hidden-a")
    options.setApplicationIdentityKey("hidden-b")
    assert "hidden" not in options.toString()


def test_services_by_the_session(blpapi, session):
    cid = session.openServiceAsync("//blp/refdata")
    found = messages(session, 5)
    assert [m.correlationId() for m in found if m.messageType() == "ServiceOpened"] == [cid]
    assert session.getService("//blp/refdata").name() == "//blp/refdata"
    assert not session.openService("//blp/nothing")
    assert session.sessionName() == "mine"


def test_resubscribe_by_the_session(blpapi, session):
    one = blpapi.SubscriptionList()
    one.add(ES, "BID", None, blpapi.CorrelationId(1))
    session.subscribe(one)
    messages(session, 10)
    other = blpapi.SubscriptionList()
    other.add(ES, "LAST_PRICE", None, blpapi.CorrelationId(1))
    other.add(SPY, "LAST_PRICE", None, blpapi.CorrelationId(2))
    with pytest.raises(blpapi.InvalidArgumentException):
        session.resubscribe(other)
    modes = blpapi.SubscriptionPreprocessMode
    (bad,) = session.resubscribe(other, "", 9, modes.RETURN_INDIVIDUAL_ERRORS)
    codes = blpapi.SubscriptionPreprocessError.ErrorCode
    assert bad.errorCode is codes.SUBSCRIPTIONPREPROCESS_CORRELATIONID_ERROR
    found = [m for m in messages(session, 50) if m.messageType() == "SubscriptionStarted"]
    assert [m.getElementAsInteger("resubscriptionId") for m in found] == [9]


def test_another_identity(blpapi, session):
    user = blpapi.AuthUser.createWithManualOptions("u", "127.0.0.1")
    cid = session.generateAuthorizedIdentity(blpapi.AuthOptions.createWithUserAndApp(user, "a:b"))
    found = [m for m in messages(session, 5) if m.messageType() == "AuthorizationSuccess"]
    assert [m.correlationId() for m in found] == [cid]
    with pytest.raises(blpapi.NotFoundException):
        session.getAuthorizedIdentity()
    session.setStatusCorrelationId("//blp/mktdata", blpapi.CorrelationId(5))


@pytest.mark.parametrize("call", ["openServiceAsync", "generateAuthorizedIdentity", "cancel"])
def test_call_before_the_start(blpapi, play, call):
    play(World(clock=VirtualClock()))
    argument = blpapi.CorrelationId(1) if call == "cancel" else "//blp/mktdata"
    with pytest.raises(blpapi.InvalidStateException, match="0x00010009"):
        getattr(blpapi.Session(), call)(argument)


def test_dispatcher_is_only_something_to_pass(blpapi):
    dispatcher = blpapi.EventDispatcher(4)
    assert dispatcher.start() == 0
    assert dispatcher.stop(async_=True) == 0
