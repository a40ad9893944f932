"""Every status, admin and failure message that Bloomberg has published, by its name."""

from __future__ import annotations

from typing import Any

import pytest

from mdfeedd.feeds.bloomberg.conversation import DOWN_S, OPEN_S, START_S, Conversation, Stage
from mdfeedd.feeds.bloomberg.ending import Ending, SessionEnd
from mdfeedd.feeds.bloomberg.options import MKTDATA
from mdfeedd.feeds.bloomberg.topics import Stage as TopicStage
from mdfeedd.tick import GapReason, Kind

REFUSED_PORT = {"reason": {"source": "Session", "category": "IO_ERROR", "errorCode": 9, "description": "Connection failed"}}  # fmt: skip


class Talk:
    """A conversation with a desk, told one message after the other."""

    def __init__(self, desk: Any, *, identified: bool = False) -> None:
        self.desk = desk
        self.conversation = Conversation(
            desk.topics, MKTDATA, desk.tell, desk.pauses, desk.now, identified=identified
        )

    def __call__(self, name: str, body: Any = None, cid: int | None = None) -> None:
        self.conversation.receive(name, cid, body or {}, self.desk.now)

    def check(self, seconds: float = 0) -> None:
        self.conversation.check(self.desk.after(seconds))

    def open(self) -> int:
        self("SessionConnectionUp", {"server": "localhost:8194"})
        self("SessionStarted", {"initialEndpoints": [{"address": "localhost:8194"}]})
        self.conversation.opens = False
        self("ServiceOpened", {"serviceName": MKTDATA})
        (ask,) = self.desk.ask().subscribe
        return ask.cid

    def ended(self, name: str, body: Any = None) -> Ending:
        with pytest.raises(SessionEnd) as caught:
            self(name, body)
        return caught.value.ending


@pytest.fixture
def talk(desk):
    return Talk(desk)


def test_session_started_opens_the_service(talk):
    talk("SessionConnectionUp", {"server": "localhost:8194"})
    assert not talk.conversation.opens
    talk("SessionStarted", {"initialEndpoints": [{"address": "localhost:8194"}]})
    assert talk.conversation.opens
    assert talk.conversation.stage is Stage.OPENING
    assert talk.desk.ask() is None


def test_session_started_twice_opens_the_service_once(talk):
    talk.open()
    talk("SessionStarted")
    assert not talk.conversation.opens


def test_service_opened_asks_for_the_topics(talk):
    assert talk.open() == 1
    assert talk.conversation.stage is Stage.OPEN
    assert talk.conversation.opened_ns


def test_service_opened_that_is_another(talk):
    talk("SessionStarted")
    talk("ServiceOpened", {"serviceName": "//blp/refdata"})
    assert talk.conversation.stage is Stage.OPENING


def test_session_startup_failure_of_a_refused_port(talk):
    assert talk.ended("SessionStartupFailure", REFUSED_PORT) is Ending.STARTUP
    assert Ending.STARTUP.then.status == 0


def test_session_terminated(talk, make_reason):
    talk.open()
    assert talk.ended("SessionTerminated", make_reason("IO_ERROR")) is Ending.TERMINATED
    assert Ending.TERMINATED.then.status == 0


@pytest.mark.parametrize("name", ["SessionStartupFailure", "SessionTerminated"])
@pytest.mark.parametrize("category", ["NO_AUTH", "NOT_AUTHORIZED", "AUTHORIZATION_FAILURE"])
def test_session_whose_identity_is_refused_ends_the_process(desk, make_reason, name, category):
    assert Talk(desk, identified=True).ended(name, make_reason(category)) is Ending.IDENTITY
    assert Ending.IDENTITY.then.status == 77


def test_session_of_a_terminal_that_is_logged_out_is_tried_again(desk, make_reason):
    talk = Talk(desk, identified=False)
    assert talk.ended("SessionStartupFailure", make_reason("NO_AUTH")) is Ending.STARTUP


@pytest.mark.parametrize("name", ["AuthorizationFailure", "AuthorizationRevoked"])
def test_authorization_refused_or_revoked(talk, make_reason, name):
    assert talk.ended(name, make_reason("NOT_AUTHORIZED")) is Ending.IDENTITY


def test_authorization_success_and_token_say_nothing(talk):
    talk("AuthorizationSuccess")
    talk("TokenGenerationSuccess", {"token": "very-secret"})
    assert talk.desk.sentences == []
    assert talk.conversation.unknown == 0


def test_token_generation_failure_is_told(talk, make_reason):
    talk("TokenGenerationFailure", make_reason("NO_AUTH"))
    assert talk.desk.said("token")


def test_session_connection_down_and_up(talk, make_image):
    cid = talk.open()
    talk.desk.decode(cid, make_image(), 1)
    talk.desk.take()
    talk("SessionConnectionDown", {"server": "a:8194", "description": "Connection lost"})
    (row,) = talk.desk.take()
    assert (row["kind"], row["instrument_id"], row["reason"]) == (Kind.GAP, 0, GapReason.DISCONNECT)
    talk("SessionConnectionUp", {"server": "b:8194"})
    assert [one.split(";")[0] for one in talk.desk.said("connection")] == [
        "connected to localhost:8194",
        "the connection to a:8194 is lost: Connection lost",
        "connected to b:8194",
    ]
    talk("SubscriptionStreamsActivated", {}, cid)
    talk.desk.decode(cid, make_image(), 2)
    assert talk.desk.kinds() == [Kind.QUOTE, Kind.RECOVERED, Kind.RECOVERED]
    talk.check(2 * DOWN_S)


def test_one_of_two_connections_is_lost(talk, make_image):
    cid = talk.open()
    talk("SessionConnectionUp", {"server": "b:8194", "serverId": "2"})
    talk.desk.decode(cid, make_image(), 1)
    talk.desk.take()
    talk("SessionConnectionDown", {"server": "b:8194", "serverId": "2"})
    assert talk.desk.kinds() == [Kind.GAP]
    talk.check(DOWN_S)  # no end of the session: the other is there
    (asks,) = [talk.desk.ask()]
    assert asks.unsubscribe == [cid]  # and an image is asked for of what did not get one


def test_connection_lost_that_names_no_server_is_all_of_them(talk, make_image):
    cid = talk.open()
    talk("SessionConnectionUp", {"server": "b:8194", "serverId": "2"})
    talk.desk.decode(cid, make_image(), 1)
    talk("SessionConnectionDown")
    assert talk.desk.ask() is None
    with pytest.raises(SessionEnd):
        talk.check(DOWN_S)


def test_connection_that_stays_down_is_given_up(talk):
    talk.open()
    talk("SessionConnectionDown", {"server": "a:8194"})
    talk.check(DOWN_S - 1)
    with pytest.raises(SessionEnd) as caught:
        talk.check(1)
    assert caught.value.ending is Ending.SILENT


def test_no_answer_to_the_start(talk):
    talk.check(START_S - 1)
    with pytest.raises(SessionEnd):
        talk.check(1)


def test_no_answer_to_the_opening_of_the_service(talk):
    talk("SessionStarted")
    talk.conversation.opens = False
    talk.check(OPEN_S)
    assert not talk.conversation.opens
    talk.check(6)
    assert talk.conversation.opens


@pytest.mark.parametrize(("category", "pause_s"), [("IO_ERROR", 5), ("UNCLASSIFIED", 5), ("NOT_ENTITLED", 3600), ("BAD_ARGS", 900)])  # fmt: skip
def test_service_open_failure(talk, make_reason, category, pause_s):
    talk("SessionStarted")
    talk.conversation.opens = False
    talk("ServiceOpenFailure", make_reason(category))
    (told,) = talk.desk.said("service")
    assert category in told
    assert told.endswith(f"again in {pause_s} s")
    talk.check(pause_s - 1)
    assert not talk.conversation.opens
    talk.check(1)
    assert talk.conversation.opens
    talk("ServiceOpened", {"serviceName": MKTDATA})
    assert talk.conversation.stage is Stage.OPEN


def test_service_open_failure_after_it_opened(talk, make_reason):
    talk.open()
    talk("ServiceOpenFailure", make_reason("IO_ERROR"))
    assert talk.conversation.stage is Stage.OPEN


def test_service_down_and_up_are_told(talk):
    talk.open()
    talk("ServiceDown", {"serviceName": MKTDATA, "servicePart": "SUBSCRIBER", "endpoint": "a"})
    talk("ServiceUp", {"serviceName": MKTDATA, "servicePart": "SUBSCRIBER", "endpoint": "a"})
    assert len(talk.desk.said("service")) == 2


def test_subscription_started(talk):
    cid = talk.open()
    body = {"exceptions": [], "resubscriptionId": 0, "streamIds": ["1"], "receivedFrom": {"address": "a"}, "reason": {}}  # fmt: skip
    talk("SubscriptionStarted", body, cid)
    assert talk.desk.entry().stage is TopicStage.STARTED


@pytest.mark.parametrize("name", ["SubscriptionFailure", "SubscriptionTerminated"])
def test_subscription_failure_and_termination(talk, make_reason, name):
    cid = talk.open()
    talk(name, make_reason("IO_ERROR"), cid)
    assert talk.desk.entry().stage is TopicStage.WAITING


def test_subscription_streams_deactivated_and_activated(talk, make_reason):
    cid = talk.open()
    talk("SubscriptionStarted", {}, cid)
    talk("SubscriptionStreamsDeactivated", make_reason("IO_ERROR") | {"streams": [{"id": "1", "endpoint": {"address": "a"}}]}, cid)  # fmt: skip
    assert talk.desk.entry().stage is TopicStage.INACTIVE
    talk("SubscriptionStreamsActivated", {"streams": []}, cid)
    assert talk.desk.entry().stage is TopicStage.STARTED


def test_slow_consumer_warning_and_its_end(talk):
    talk.open()
    talk("SlowConsumerWarning")
    talk("SlowConsumerWarningCleared", {"eventsDropped": 0})
    assert talk.desk.topics.warnings == 1
    assert talk.desk.take() == []


def test_data_loss(talk, make_image):
    cid = talk.open()
    talk.desk.decode(cid, make_image(), 1)
    talk.desk.take()
    talk("DataLoss", {"id": "1", "source": "Session", "numMessagesDropped": 7}, cid)
    assert talk.desk.kinds() == [Kind.GAP]
    assert talk.desk.topics.dropped == 7


@pytest.mark.parametrize(
    "name",
    ["SubscriptionStarted", "SubscriptionFailure", "SubscriptionTerminated", "SubscriptionStreamsActivated", "SubscriptionStreamsDeactivated"],
)  # fmt: skip
@pytest.mark.parametrize("cid", [None, 0, 99, 2**64 - 1])
def test_status_of_a_topic_that_is_not_ours(talk, make_reason, name, cid):
    talk.open()
    talk(name, make_reason("IO_ERROR"), cid)
    assert talk.desk.entry().stage is TopicStage.ASKED


def test_message_that_is_not_known_is_counted(talk):
    talk("SessionClusterInfo", {"name": "x"})
    talk("PermissionRequest")
    assert talk.conversation.unknown == 2


@pytest.mark.parametrize("name", sorted(Conversation._ACTS))
@pytest.mark.parametrize("body", [{}, {"reason": 7, "serviceName": None, "server": None, "exceptions": "x", "eventsDropped": []}])  # fmt: skip
def test_message_of_an_unexpected_shape_does_no_more_than_end_the_session(talk, name, body):
    cid = talk.open()
    for mine in (None, cid):
        try:
            talk(name, body, mine)
        except SessionEnd as end:
            assert end.text  # noqa: PT017 - either is right, anything else is not
