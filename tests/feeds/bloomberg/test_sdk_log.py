"""The SDK's log: kept in its threads, told in ours."""

from __future__ import annotations

import datetime as dt
import threading
import types
from typing import Any

import pytest

from mdfeedd.feeds.bloomberg.sdk_log import MAX_CHARACTERS, MAX_LINES, SdkLog

WHEN = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)


class Package:
    """What there is of the package: whom it was given, and from which severity on."""

    def __init__(self, error: Exception | None = None) -> None:
        self.registered: list[Any] = []

        def register(callback: Any, thresholdSeverity: int = 4) -> None:  # noqa: N803
            if error is not None:
                raise error
            self.registered.append((callback, thresholdSeverity))

        self.Logger = types.SimpleNamespace(SEVERITY_WARN=3, registerCallback=register)

    def say(self, text: str) -> None:
        self.registered[-1][0](1, 3, WHEN, "blpapi_session", text)


@pytest.fixture
def said(desk):
    def tell(log: SdkLog) -> list[str]:
        desk.sentences.clear()
        log.tell(desk.tell, desk.now)
        return desk.said("sdk")

    return tell


def test_warnings_and_worse_are_told_in_our_words(said):
    package = Package()
    log = SdkLog(package)
    assert [severity for _, severity in package.registered] == [3]
    package.say("connection to 10.0.0.1\nwas lost ")
    package.say("x" * 10_000)
    assert said(log) == [
        "the SDK: blpapi_session: connection to 10.0.0.1 was lost",
        "the SDK: " + f"blpapi_session: {'x' * 10_000}"[:MAX_CHARACTERS],
    ]
    assert said(log) == []


def test_more_than_is_kept_gives_way_and_is_told(said):
    package = Package()
    log = SdkLog(package)
    package.say("first")
    assert len(said(log)) == 1
    for n in range(MAX_LINES + 7):
        package.say(str(n))
    told = said(log)
    assert told[0] == "the SDK: 7 lines of its log came too fast"
    assert told[1] == "the SDK: blpapi_session: 7"
    assert len(told) == MAX_LINES + 1
    package.say("later")
    assert said(log) == ["the SDK: blpapi_session: later"]


def test_many_threads_speak_at_once(said):
    package = Package()
    log = SdkLog(package)
    threads = [threading.Thread(target=package.say, args=(str(n),)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said(log)) == sorted(f"the SDK: blpapi_session: {n}" for n in range(50))


@pytest.mark.parametrize("package", [Package(RuntimeError("no")), types.SimpleNamespace()])
def test_sdk_that_takes_no_callback_is_no_reason_to_fail(package, said):
    log = SdkLog(package)
    assert log.failure
    assert said(log) == []
