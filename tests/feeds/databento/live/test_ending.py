"""What follows from each end of a session, and when the next one begins."""

from __future__ import annotations

import databento_dbn as db
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdfeedd.feeds.databento.session.backoff import FIRST_S, HEALTHY_S, MOST_S, Backoff
from mdfeedd.feeds.databento.session.ending import CODES, Ending, SessionEnd, refusal

REFUSALS = [
    ("Authentication failed.", Ending.KEY),
    ("authentication failed: invalid key", Ending.KEY),
    ("Invalid API key", Ending.KEY),
    ("API key deactivated", Ending.KEY),
    ("CRAM challenge answered wrongly", Ending.KEY),
    ("User has reached their open connection limit", Ending.LIMIT),
    ("Too many connections for API key", Ending.LIMIT),
    ("maximum number of sessions reached", Ending.LIMIT),
    ("Not authorized for dataset GLBX.MDP3", Ending.ENTITLEMENT),
    ("A live data license is required to access GLBX.MDP3.", Ending.ENTITLEMENT),
    ("No entitlement for XNAS.ITCH", Ending.ENTITLEMENT),
    ("You do not have permission to use this dataset", Ending.ENTITLEMENT),
    ("Unknown dataset: GLBX.MDP9", Ending.DATASET),
    ("Invalid dataset", Ending.DATASET),
    ("Dataset GLBX.MDP9 does not exist", Ending.DATASET),
    ("Authentication service temporarily unavailable", Ending.REFUSED),
    ("Internal error while checking the API key, try again", Ending.REFUSED),
    ("Timed out reading key store", Ending.REFUSED),
    ("A bad day", Ending.REFUSED),
    ("no reason given", Ending.REFUSED),
    ("", Ending.REFUSED),
]


@pytest.mark.parametrize(("text", "ending"), REFUSALS)
def test_refusal(text, ending):
    for said in (text, text.upper(), text.lower()):
        end = refusal(said)
        assert end.ending is ending
        assert end.text == str(end) == f"refused: {said}"


def test_what_may_pass_is_tried_again_and_what_cannot_is_not():
    statuses = {ending: ending.then.status for ending in Ending}
    assert {e: s for e, s in statuses.items() if s} == {
        Ending.KEY: 77,
        Ending.ENTITLEMENT: 77,
        Ending.DATASET: 78,
        Ending.SUBSCRIPTION: 78,
        Ending.VERSION: 78,
    }


def test_whatever_stops_for_good_says_what_to_do():
    assert all(ending.then.hint for ending in Ending if ending.then.status)
    assert Ending.LIMIT.then.hint


def test_only_a_limit_has_a_least_pause():
    assert {e: e.then.least_s for e in Ending if e.then.least_s} == {Ending.LIMIT: 60.0}


def test_codes_are_those_of_the_vendor():
    names = {
        "AUTH_FAILED": Ending.KEY,
        "API_KEY_DEACTIVATED": Ending.KEY,
        "CONNECTION_LIMIT_EXCEEDED": Ending.LIMIT,
        "INVALID_SUBSCRIPTION": Ending.SUBSCRIPTION,
        "INTERNAL_ERROR": Ending.INTERNAL,
        "REPLAY_DATA_AGED_OUT": Ending.AGED_OUT,
    }
    vendor = {
        name: int(getattr(db.ErrorCode, name)) for name in names if hasattr(db.ErrorCode, name)
    }
    assert len(vendor) >= 4
    assert {CODES[code] for code in vendor.values()} == {names[name] for name in vendor}
    assert all(CODES[code] is names[name] for name, code in vendor.items())
    assert {4, 7}.isdisjoint(
        CODES
    )  # a symbol that is not resolved, records left out: these do not end


def test_every_end_is_a_sentence():
    end = SessionEnd(Ending.CLOSED, "closed by the gateway")
    assert (end.ending, end.text, str(end)) == (Ending.CLOSED, end.text, end.text)


# pauses


def pauses(count, chance=0.0, ending=Ending.CLOSED, delivered_s=0.0):
    backoff = Backoff(lambda: chance)
    return [backoff.pause_s(ending.then, delivered_s) for _ in range(count)]


def test_doubled_up_to_the_most():
    assert pauses(9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_jitter_makes_it_longer_only():
    assert pauses(8, chance=1.0) == [1.25 * pause for pause in pauses(8)]


def test_sessions_that_live_do_not_add_up():
    assert pauses(4, delivered_s=HEALTHY_S) == [1, 1, 1, 1]
    assert pauses(4, delivered_s=HEALTHY_S - 0.001) == [1, 2, 4, 8]


def test_begins_anew_after_a_healthy_session():
    backoff = Backoff(lambda: 0.0)
    then = Ending.RESET.then
    assert [backoff.pause_s(then, s) for s in (0, 0, 0, 120, 0, 0)] == [1, 2, 4, 1, 2, 4]


def test_too_many_sessions_wait_a_minute_from_the_first():
    assert pauses(3, ending=Ending.LIMIT) == [60, 60, 60]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([e for e in Ending if not e.then.status]),
            st.floats(0, 1e6),
            st.floats(0, 1, exclude_max=True),
        ),
        max_size=50,
    )
)
def test_never_more_often_than_allowed_and_never_gone(ends):
    chance = iter([c for _, _, c in ends])
    backoff = Backoff(lambda: next(chance))
    for ending, delivered_s, _ in ends:
        pause_s = backoff.pause_s(ending.then, delivered_s)
        assert max(FIRST_S, ending.then.least_s) <= pause_s <= MOST_S * 1.25
