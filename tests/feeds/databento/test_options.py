"""Options: what `start` means to the microsecond, and what no two subscriptions may both tell."""

from __future__ import annotations

import pytest

from mdfeedd.feeds.databento.options import ALL_SYMBOLS, DatabentoOptions, Subscription

TIMES = [
    ("2026-11-29T01:00:00.6", 1_795_914_000_600_000_000),
    ("2026-11-29T01:00:00.999999Z", 1_795_914_000_999_999_000),
    ("2026-11-29T03:00:00.4+02:00", 1_795_914_000_400_000_000),
    ("1970-01-01", 0),
    ("9223372036854775807", 2**63 - 1),
]


@pytest.mark.parametrize(("text", "ns"), TIMES)
def test_start_is_exact(text: str, ns: int) -> None:
    assert Subscription("trades", ("ESZ6",), start=text).start_ns == ns


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59", "2300-01-01", "9223372036854775808"])
def test_start_that_no_gateway_has(text: str) -> None:
    with pytest.raises(ValueError, match=r"^start: must be in 1970 to 2262, not '"):
        Subscription("trades", ("ESZ6",), start=text)


TWICE = [
    [("mbp-1", (ALL_SYMBOLS, "ESZ6"))],
    [("mbp-1", (ALL_SYMBOLS,)), ("mbp-1", ("ESZ6",))],
    [("trades", ("ESZ6",)), ("mbp-1", (ALL_SYMBOLS,))],
    [("status", ("ESZ6",)), ("status", (ALL_SYMBOLS,))],
]


@pytest.mark.parametrize("asked", TWICE)
def test_all_symbols_and_one_of_them(asked: list[tuple[str, tuple[str, ...]]]) -> None:
    with pytest.raises(
        ValueError, match=r"^subscriptions: ESZ6 in .* is one of ALL_SYMBOLS in .* twice"
    ):
        DatabentoOptions("GLBX.MDP3", tuple(Subscription(*one) for one in asked))


def test_all_symbols_beside_another_schema_is_fine() -> None:
    asked = (Subscription("mbp-1", (ALL_SYMBOLS,)), Subscription("status", ("ESZ6",)))
    assert DatabentoOptions("GLBX.MDP3", asked).subscriptions == asked
