"""Any sequence of messages: what the ring would hold equals a model that keeps every field of every message."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdfeedd.tick import PRICE_UNDEF, Flag, Kind

PRICES = st.one_of(
    st.none(),
    st.just(0.0),
    st.sampled_from([0.1 + 0.2, 4502.25, -37.63, 7654321.123456789, 1e-9, 5e-10]),
    st.integers(-1000, 1000).map(lambda n: n / 4),
)
SIZES = st.one_of(st.none(), st.integers(0, 3), st.just(2**32 - 1), st.just(2**40))


@st.composite
def messages(draw: Any) -> tuple[int, int, dict[str, Any]]:
    kind = draw(
        st.sampled_from(["QUOTE"] * 4 + ["TRADE"] * 2 + ["SUMMARY", "IMAGE", "LOSS", "ALIEN"])
    )
    body: dict[str, Any] = {}
    for name, values in (
        ("BID", PRICES),
        ("ASK", PRICES),
        ("BID_SIZE", SIZES),
        ("ASK_SIZE", SIZES),
    ):
        if draw(st.booleans()):
            body[name] = draw(values)
    if kind == "TRADE":
        body = {k: v for k, v in body.items() if draw(st.booleans())}
        for name, values in (("EVT_TRADE_PRICE_RT", PRICES), ("LAST_PRICE", PRICES), ("EVT_TRADE_SIZE_RT", SIZES), ("SIZE_LAST_TRADE", SIZES)):  # fmt: skip
            if draw(st.booleans()):
                body[name] = draw(values)
        body["MKTDATA_EVENT_SUBTYPE"] = draw(st.sampled_from(["NEW", "CANCEL", "CORRECT", "ODD"]))
    elif kind in ("QUOTE", "SUMMARY"):
        body["MKTDATA_EVENT_SUBTYPE"] = draw(st.sampled_from(["BID", "ASK", "NEWDAY", "ODD"]))
    if draw(st.integers(0, 9)) == 0:
        body["IS_DELAYED_STREAM"] = draw(st.booleans())
    of_type = {"IMAGE": "SUMMARY", "LOSS": "SUMMARY", "ALIEN": "HEADLINE"}.get(kind, kind)
    body["MKTDATA_EVENT_TYPE"] = of_type
    if kind == "IMAGE":
        body["MKTDATA_EVENT_SUBTYPE"] = "INITPAINT"
        return draw(st.sampled_from([0, 1, 2])), draw(st.integers(0, 3)), body
    if kind == "LOSS":
        body = {"MKTDATA_EVENT_TYPE": "SUMMARY", "MKTDATA_EVENT_SUBTYPE": "DATALOSS"}
    return 0, 0, body


class Model:
    """Sides as the last value of each field; ticks as (kind, values, stale, delayed)."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.last: tuple[Any, ...] = self.touch()
        self.stale, self.delayed, self.pieces, self.hole = True, False, False, False
        self.ticks: list[tuple[Any, ...]] = []

    @staticmethod
    def units(value: Any) -> int:
        exact = (Decimal(repr(value)) * 10**9).to_integral_value(ROUND_HALF_EVEN)
        return PRICE_UNDEF if value is None else int(exact)

    def touch(self) -> tuple[int, ...]:
        sides = []
        for side in ("BID", "ASK"):
            price, size = self.fields.get(side), self.fields.get(f"{side}_SIZE") or 0
            units = PRICE_UNDEF if price is None else self.units(price)
            gone = units == PRICE_UNDEF or (units == 0 and size == 0)
            sides.append((PRICE_UNDEF, 0) if gone else (units, size))
        return (sides[0][0], sides[1][0], sides[0][1], sides[1][1])

    def add(self, kind: Kind, *values: Any) -> None:
        self.ticks.append((kind, *values, self.stale, self.delayed))

    def take(self, body: dict[str, Any]) -> None:
        self.fields |= {k: v for k, v in body.items() if k.startswith(("BID", "ASK"))}

    def changed(self) -> bool:
        before, self.last = self.last, self.touch()
        return before != self.last

    def see(self, fragment: int, body: dict[str, Any]) -> None:
        kind, subtype = body["MKTDATA_EVENT_TYPE"], body.get("MKTDATA_EVENT_SUBTYPE")
        self.delayed = body.get("IS_DELAYED_STREAM", self.delayed)
        if subtype == "DATALOSS":
            self.ticks.append((Kind.GAP,))
            self.stale, self.pieces, self.hole = True, False, True
        elif subtype == "INITPAINT":
            self.image(fragment, body)
        elif kind == "TRADE":
            self.trade(subtype, body)
        elif kind in ("QUOTE", "SUMMARY"):
            self.take(body)
            if self.changed():
                self.add(Kind.QUOTE, *self.last)

    def image(self, fragment: int, body: dict[str, Any]) -> None:
        if fragment in (0, 1):
            self.fields = {} if self.stale else self.fields
            self.pieces = True
        if not self.pieces:
            return
        self.take(body)
        if fragment in (0, 3):
            self.pieces = self.stale = False
            self.last = self.touch()
            self.add(Kind.QUOTE, *self.last)
            if self.hole:
                self.hole = False
                self.ticks.append((Kind.RECOVERED,))

    def trade(self, subtype: str, body: dict[str, Any]) -> None:
        price = next((body[k] for k in ("EVT_TRADE_PRICE_RT", "LAST_PRICE") if body.get(k) is not None), None)  # fmt: skip
        size = next((body[k] for k in ("EVT_TRADE_SIZE_RT", "SIZE_LAST_TRADE") if body.get(k) is not None), 0)  # fmt: skip
        kinds = {"NEW": Kind.TRADE, "CANCEL": Kind.TRADE_CANCEL, "CORRECT": Kind.TRADE_CORRECTION}
        if subtype in kinds and price is not None:
            self.add(kinds[subtype], self.units(price), size)
        self.take(body)
        if self.changed():
            self.add(Kind.QUOTE, *self.last)


def simple(row: dict[str, Any]) -> tuple[Any, ...]:
    stale, delayed = bool(row["flags"] & Flag.STALE), bool(row["flags"] & Flag.DELAYED)
    if row["kind"] in (Kind.GAP, Kind.RECOVERED):
        return (row["kind"],)
    names = ("bid_price", "ask_price", "bid_size", "ask_size") if row["kind"] is Kind.QUOTE else ("price", "size")  # fmt: skip
    return (row["kind"], *(row[name] for name in names), stale, delayed)


def saturated(tick: tuple[Any, ...]) -> tuple[Any, ...]:
    wide = {Kind.QUOTE: (3, 4)}.get(tick[0], (2,) if len(tick) > 2 else ())
    return tuple(min(v, 2**32 - 1) if i in wide else v for i, v in enumerate(tick))


# the fixture is a class: each example makes an instance of its own
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sequence=st.lists(messages(), max_size=40))
def test_any_sequence_of_messages_equals_the_model(desks, sequence):
    desk, model = desks(), Model()
    (cid,) = desk.open()
    for recap, fragment, body in sequence:
        desk.decode(
            cid, dict(body), recap, fragment if recap or "INITPAINT" in body.values() else 0
        )
        model.see(fragment, body)
    rows = desk.take()
    assert [simple(row) for row in rows] == [saturated(tick) for tick in model.ticks]
    for row in rows:
        wide = row["kind"] is Kind.QUOTE and 2**32 - 1 in (row["bid_size"], row["ask_size"])
        assert wide or not row["flags"] & Flag.SIZE_SATURATED or row["kind"] is not Kind.QUOTE
