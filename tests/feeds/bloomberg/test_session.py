"""The calls of the SDK, and what becomes of what it raises. The stand-in is held to the published surface."""

from __future__ import annotations

import importlib
import sys
from decimal import Decimal
from typing import Any

import pytest

from mdfeedd.feeds.bloomberg.codec import Decoder, Lost, Staging, Touch
from mdfeedd.feeds.bloomberg.credentials import Credentials
from mdfeedd.feeds.bloomberg.ending import Ending, SessionEnd
from mdfeedd.feeds.bloomberg.moment import Now, Tell
from mdfeedd.feeds.bloomberg.options import BloombergOptions, Topic
from mdfeedd.feeds.bloomberg.plane import PythonPlane
from mdfeedd.feeds.bloomberg.sdk import load
from mdfeedd.feeds.bloomberg.session import Link, session_options
from mdfeedd.feeds.bloomberg.topics import Ask
from mdfeedd.sim.bloomberg import VirtualClock, World, path, playing
from mdfeedd.tick import GapReason, Kind

NOW = Now(10**12, 1_772_463_600 * 10**9)


@pytest.fixture
def blpapi():
    """The stand-in, as the feed itself would find it; nothing of it is left afterwards."""

    def forget():
        for name in [n for n in sys.modules if n.partition(".")[0] == "blpapi"]:
            del sys.modules[name]

    forget()
    try:
        yield load(path())
    finally:
        if path() in sys.path:
            sys.path.remove(path())
        forget()


@pytest.fixture
def link(blpapi):
    """A session that has started and opened its service."""
    with playing(World(3, ("ESZ6 Index", "IBM US Equity"), rate=50.0, clock=VirtualClock())):
        one = Link(blpapi, made(), Credentials())
        one.start()
        seen = events(blpapi, one)
        one.open_service()
        seen += events(blpapi, one)
        assert "ServiceOpened" in seen
        yield one
        one.close()


def made(**options: Any) -> BloombergOptions:
    return BloombergOptions((Topic("ESZ6 Index"),), **options)


def events(blpapi: Any, link: Link) -> list[str]:
    """Names of the messages, until there is none for a while."""
    names = []
    while (event := link.next(100)).eventType() != blpapi.Event.TIMEOUT:
        names += [str(message.messageType()) for message in event]
        if len(names) > 500:
            break
    return names


# options


@pytest.fixture
def called(blpapi, monkeypatch):
    """What setters of the session's options were called with."""
    calls: dict[str, list[Any]] = {}

    def record(name: str, setter: Any) -> Any:
        def wrapper(self: Any, *values: Any) -> None:
            calls.setdefault(name, []).append(values if len(values) > 1 else values[0])
            setter(self, *values)

        return wrapper

    for name in [n for n in dir(blpapi.SessionOptions) if n.startswith("set")]:
        wrapped = record(name, getattr(blpapi.SessionOptions, name))
        monkeypatch.setattr(blpapi.SessionOptions, name, wrapped)
    return calls


def test_every_option_that_matters_is_set(blpapi, called):
    servers = ("a:8194", "b:8196")
    session_options(
        blpapi, made(servers=servers, client="server", queue_events=50_000), Credentials()
    )
    assert called == {
        "setServerAddress": [("a", 8194, 0), ("b", 8196, 1)],
        "setClientMode": [blpapi.SessionOptions.SAPI],
        "setAutoRestartOnDisconnection": [True],
        "setNumStartAttempts": [3],
        "setConnectTimeout": [5000],
        "setMaxEventQueueSize": [50_000],
        "setSlowConsumerWarningHiWaterMark": [0.75],
        "setSlowConsumerWarningLoWaterMark": [0.5],
        "setKeepAliveEnabled": [True],
        "setDefaultKeepAliveInactivityTime": [20_000],
        "setDefaultKeepAliveResponseTimeout": [5_000],
        "setServiceCheckTimeout": [60_000],
        "setServiceDownloadTimeout": [120_000],
        "setDefaultSubscriptionService": ["//blp/mktdata"],
        "setAllowMultipleCorrelatorsPerMsg": [False],
    }


def test_servers_behind_a_proxy(blpapi, called):
    session_options(blpapi, made(socks5="proxy:1080"), Credentials())
    ((host, port, index, proxy),) = called["setServerAddress"]
    assert (host, port, index) == ("localhost", 8194, 0)
    assert isinstance(proxy, blpapi.Socks5Config)


def test_tls_from_credentials(blpapi, called):
    names = {"tls_client_credential": "c", "tls_password_credential": "p", "tls_trust_credential": "t"}  # fmt: skip
    session_options(blpapi, made(**names), Credentials(b"p12", "pw", b"p7"))
    assert isinstance(called["setTlsOptions"][0], blpapi.TlsOptions)


def test_option_that_the_sdk_does_not_take(blpapi, monkeypatch):
    def refuse(self: Any, attempts: int) -> None:
        raise blpapi.InvalidArgumentException("no", 0x20002)

    monkeypatch.setattr(blpapi.SessionOptions, "setNumStartAttempts", refuse)
    with pytest.raises(SessionEnd) as caught:
        session_options(blpapi, made(), Credentials())
    assert caught.value.ending is Ending.OPTIONS
    assert caught.value.ending.then.status == 78


def test_default_address_is_replaced_not_added_to(blpapi):
    told = session_options(blpapi, made(servers=("only:8194",)), Credentials())
    assert told.numServerAddresses() == 1


@pytest.mark.parametrize(
    ("auth", "more"),
    [
        ("none", {}),
        ("app", {"app_name": "firm:app"}),
        ("user", {}),
        ("directory", {"directory_property": "mail"}),
        ("manual", {"user_id": "12345", "ip_address": "10.0.0.1"}),
        ("user_app", {"app_name": "firm:app"}),
        ("token", {"token_credential": "token"}),
    ],
)
def test_identity_of_every_kind(blpapi, auth, more, monkeypatch):
    given = []
    setter = blpapi.SessionOptions.setSessionIdentityOptions
    monkeypatch.setattr(blpapi.SessionOptions, "setSessionIdentityOptions", lambda self, *a: (given.append(a), setter(self, *a)))  # fmt: skip
    session_options(blpapi, made(auth=auth, **more), Credentials(token="tok3n"))
    assert len(given) == (auth != "none")


def test_leased_line_with_tls(blpapi, monkeypatch):
    calls = []
    original = blpapi.ZfpUtil.getZfpOptionsForLeasedLines
    monkeypatch.setattr(blpapi.ZfpUtil, "getZfpOptionsForLeasedLines", lambda remote, tls: (calls.append((remote, tls)), original(remote, tls))[1])  # fmt: skip
    names = {"tls_client_credential": "c", "tls_password_credential": "p", "tls_trust_credential": "t"}  # fmt: skip
    session_options(blpapi, made(leased_line=8196, **names), Credentials(b"p12", "pw", b"p7"))
    assert calls[0][0] == blpapi.ZfpUtil.REMOTE_8196
    assert isinstance(calls[0][1], blpapi.TlsOptions)


# calls


def test_topics_are_subscribed_to_and_the_bad_ones_returned(blpapi, link):
    asks = [Ask(1, "ESZ6 Index", ("BID",)), Ask(2, "//", ("BID",)), Ask(3, "IBM US Equity", ("ASK",))]  # fmt: skip
    refused = link.subscribe(asks)
    assert [(one.cid, one.invalid) for one in refused] == [(2, True)]
    names = events(blpapi, link)
    assert names.count("SubscriptionStarted") == 2


def test_correlation_id_that_is_taken_is_no_bad_topic(link):
    link.subscribe([Ask(1, "ESZ6 Index", ("BID",))])
    (refused,) = link.subscribe([Ask(1, "IBM US Equity", ("BID",))])
    assert (refused.cid, refused.invalid) == (1, False)


class Asked:
    """A session whose events are a list; None: there is none yet."""

    def __init__(self, blpapi: Any, *events: Any) -> None:
        self.events = list(events)
        self.how: list[str] = []
        self.timeout = blpapi.Event.TIMEOUT

    def _next(self, how: str) -> Any:
        self.how.append(how)
        return self.events.pop(0) if self.events else None

    def tryNextEvent(self) -> Any:  # noqa: N802 - the SDK's name
        return self._next("asked")

    def nextEvent(self, _: int) -> Any:  # noqa: N802 - the SDK's name
        return self._next("slept") or Typed(self.timeout)


class Typed:
    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def eventType(self) -> Any:  # noqa: N802 - the SDK's name
        return self.kind


@pytest.mark.parametrize("spin_us", [0, 1_000_000])
def test_link_sleeps_until_something_came_and_then_asks_for_so_long(blpapi, spin_us):
    data = Typed(blpapi.Event.SUBSCRIPTION_DATA)
    with playing(World(3, ("ESZ6 Index",), clock=VirtualClock())):
        one = Link(blpapi, made(spin_us=spin_us), Credentials())
    one._session = session = Asked(blpapi)
    assert one.next(1).eventType() == blpapi.Event.TIMEOUT
    assert session.how == ["slept"]  # a time-out keeps nobody awake
    session.events, session.how = [data], []
    assert one.next(1) is data
    assert session.how == ["slept"]
    session.events, session.how = [None, None, data], []
    if spin_us:
        assert one.next(1000) is data
        assert session.how == ["asked"] * 3
        assert one.next(1).eventType() == blpapi.Event.TIMEOUT  # after it has asked for 1 ms
        assert session.how[-1] == "slept"
    else:
        assert one.next(1000).eventType() == blpapi.Event.TIMEOUT
        assert session.how == ["slept"]
    one._session = None


def test_session_that_is_not_up_refuses_every_topic_of_the_batch(blpapi):
    with playing(World(3, ("ESZ6 Index",), clock=VirtualClock())):
        one = Link(blpapi, made(), Credentials())
        refused = one.subscribe([Ask(1, "ESZ6 Index", ("BID",)), Ask(2, "ESZ6 Index", ("BID",))])
        assert [(r.cid, r.invalid) for r in refused] == [(1, False), (2, False)]
        assert one.unsubscribe([1])


def test_unsubscribed_topic_brings_nothing_more(blpapi, link):
    link.subscribe([Ask(1, "ESZ6 Index", ("BID",))])
    events(blpapi, link)
    assert link.unsubscribe([1]) == ""
    assert "MarketDataEvents" not in events(blpapi, link)


def test_session_starts_once(blpapi):
    with playing(World(3, ("ESZ6 Index",), clock=VirtualClock())):
        one = Link(blpapi, made(), Credentials())
        one.start()
        with pytest.raises(SessionEnd) as caught:
            one.start()
        assert caught.value.ending is Ending.STARTUP
        one.close()
        one.close()


# the package


def test_package_that_is_not_there(monkeypatch, tmp_path):
    for name in [n for n in sys.modules if n.partition(".")[0] == "blpapi"]:
        monkeypatch.delitem(sys.modules, name)
    if importlib.util.find_spec("blpapi"):
        pytest.skip("Bloomberg's own package is installed here")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != path()])
    with pytest.raises(SessionEnd) as caught:
        load("")
    assert caught.value.ending is Ending.NO_PACKAGE
    assert caught.value.ending.then.status == 78
    assert "pip install" in caught.value.ending.then.hint


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ImportError('libblpapi3_64.so: cannot open\\nlong\\ndiagnostic')", "cannot open"),
        ("__version__ = '3.19.0'", "3.19.0, 3.24.10 is needed"),
    ],
)
def test_package_that_is_of_no_use(monkeypatch, tmp_path, source, words):
    (tmp_path / "blpapi.py").write_text(source + "\n")
    monkeypatch.delitem(sys.modules, "blpapi", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SessionEnd) as caught:
        load(str(tmp_path))
    sys.modules.pop("blpapi", None)
    assert caught.value.ending is Ending.NO_PACKAGE
    assert words in caught.value.text
    assert "\n" not in caught.value.text


# messages that cannot be read


class Broken:
    """A message whose parts raise, each as told."""

    def __init__(self, body: Any, cid: Any = 1, elements: Any = ()) -> None:
        self.body, self.cid, self.elements = body, cid, dict(elements)

    def recapType(self) -> int:  # noqa: N802
        return 0

    def correlationId(self) -> Any:  # noqa: N802
        if isinstance(self.cid, Exception):
            raise self.cid
        return self

    def value(self) -> Any:
        return self.cid

    def toPy(self) -> Any:  # noqa: N802
        if isinstance(self.body, Exception):
            raise self.body
        return self.body

    def hasElement(self, name: str) -> bool:  # noqa: N802
        return name in self.elements

    def getElement(self, name: str) -> Any:  # noqa: N802
        value = self.elements[name]

        class Element:
            def isNull(self) -> bool:  # noqa: N802
                return value is None

            def getValue(self) -> Any:  # noqa: N802
                if isinstance(value, Exception):
                    raise value
                return value

        return Element()


@pytest.fixture
def plane():
    decoder = Decoder(Staging())
    decoder.open(1, Touch(1))
    decoder.open(2, Touch(2))
    return PythonPlane(decoder, Tell())


QUOTE = {"MKTDATA_EVENT_TYPE": "QUOTE", "MKTDATA_EVENT_SUBTYPE": "BID", "BID": 1.5}


def kinds(plane: Any, read_rows: Any) -> list[Any]:
    return [
        (row["kind"], row["instrument_id"]) for row in read_rows(plane._decoder.staging.ticks())
    ]


def test_dictionary_that_cannot_be_had_is_read_by_field(plane, read_rows):
    elements = QUOTE | {"ASK": None, "THEO_PRICE": Decimal(1)}
    plane.use([Broken(Exception("DECIMAL"), 1, elements), Broken(QUOTE, 2)], NOW)
    assert kinds(plane, read_rows) == [(Kind.QUOTE, 1), (Kind.QUOTE, 2)]
    assert plane.unreadable == 0


def test_message_that_cannot_be_read_is_a_loss_of_its_topic_only(plane, read_rows):
    bad = Broken(Exception("DECIMAL"), 1, {"BID": RuntimeError("no value")})
    plane.use([bad, Broken(QUOTE, 2)], NOW)
    assert kinds(plane, read_rows) == [(Kind.GAP, 1), (Kind.QUOTE, 2)]
    assert plane._decoder.events == [Lost(1, GapReason.CORRUPT)]
    assert plane.unreadable == 1


@pytest.mark.parametrize("body", [QUOTE | {"BID": "text"}, QUOTE | {"BID_SIZE": -1}, 7, "text", []])
def test_message_that_contradicts_itself_is_a_loss(plane, read_rows, body):
    plane.use([Broken(body, 1), Broken(QUOTE, 2)], NOW)
    assert kinds(plane, read_rows) == [(Kind.GAP, 1), (Kind.QUOTE, 2)]


@pytest.mark.parametrize("cid", [Exception("no id"), "text", None])
def test_message_of_nobody_knows_whom_is_counted_and_no_more(plane, read_rows, cid):
    plane.use([Broken(QUOTE, cid), Broken(QUOTE, 2)], NOW)
    assert kinds(plane, read_rows) == [(Kind.QUOTE, 2)]
    assert plane.unreadable + plane._decoder.unmapped == 1
