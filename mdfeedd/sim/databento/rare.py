"""Records that are no orders: definitions, statistics, statuses, imbalances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mdfeedd.sim.databento.layouts import UNDEF_PRICE, UNDEF_TIME, pack

if TYPE_CHECKING:
    import random

    from mdfeedd.sim.databento.instruments import Instrument

__all__ = ["definition", "rare"]

_DAY_NS: Final = 86_400 * 1_000_000_000
_UNDEF_I32: Final = 2**31 - 1
_TRADING: Final = 7
_HALT: Final = 8
_PAUSE: Final = 9
_OPENING_PRICE: Final = 1
_SETTLEMENT: Final = 3
_CLEARED_VOLUME: Final = 6
_OPEN_INTEREST: Final = 9
_NO_PRICE_LIMITS: Final = dict.fromkeys(
    ("high_limit_price", "low_limit_price", "max_price_variation", "strike_price", "leg_price",
     "leg_delta", "price_ratio"), UNDEF_PRICE,
)  # fmt: skip

Times = tuple[int, int]  # ts_recv, ts_event


def _head(publisher: int, item: Instrument, times: Times) -> dict[str, Any]:
    return {
        "publisher_id": publisher,
        "instrument_id": item.instrument_id,
        "ts_event": times[1],
        "ts_recv": times[0],
    }


def definition(publisher: int, item: Instrument, times: Times, action: bytes = b"A") -> bytes:
    """An instrument, as its venue defines it."""
    values = _head(publisher, item, times) | _NO_PRICE_LIMITS
    values |= {
        "raw_symbol": item.raw_symbol.encode()[:70],
        "security_update_action": action,
        "instrument_class": b"F",
        "min_price_increment": item.tick_size,
        "min_price_increment_amount": UNDEF_PRICE,
        "display_factor": 1_000_000_000,
        "expiration": times[0] // _DAY_NS * _DAY_NS + 20 * _DAY_NS,
        "activation": UNDEF_TIME,
        "unit_of_measure_qty": item.multiplier or UNDEF_PRICE,
        "raw_instrument_id": item.instrument_id,
        "inst_attrib_value": 0,
        "contract_multiplier": _UNDEF_I32,
        "decay_quantity": _UNDEF_I32,
        "original_contract_size": _UNDEF_I32,
        "min_lot_size_round_lot": 1,
        "min_trade_vol": 1,
        "max_trade_vol": 10_000,
        "market_depth": 10,
        "currency": item.currency.encode(),
        "settl_currency": item.currency.encode(),
        "group": item.root.encode(),
        "asset": item.root.encode(),
        "exchange": item.exchange.encode(),
        "security_type": b"FUT",
        "match_algorithm": b"F",
        "user_defined_instrument": b"N",
        "leg_side": b"N",
    }
    return pack(0x13, values)


def rare(
    schema: str,
    publisher: int,
    item: Instrument,
    times: Times,
    rng: random.Random,
    *,
    opening: bool = False,
) -> bytes:
    """A record of one of the schemas that are told now and then."""
    if schema == "definition":
        return definition(publisher, item, times, b"M")
    if schema == "status":
        action = _TRADING if opening else rng.choice((_TRADING, _TRADING, _HALT, _PAUSE))
        return _status(_head(publisher, item, times), action)
    if schema == "statistics":
        return _statistics(_head(publisher, item, times), item, rng)
    return _imbalance(_head(publisher, item, times), item, rng)


def _status(values: dict[str, Any], action: int) -> bytes:
    trades = b"Y" if action == _TRADING else b"N"
    more = {"action": action, "reason": 1, "is_trading": trades, "is_quoting": trades}
    return pack(0x12, values | more | {"is_short_sell_restricted": b"~"})


def _statistics(values: dict[str, Any], item: Instrument, rng: random.Random) -> bytes:
    kind = rng.choice((_OPENING_PRICE, _SETTLEMENT, _CLEARED_VOLUME, _OPEN_INTEREST))
    is_price = kind in (_OPENING_PRICE, _SETTLEMENT)
    price = item.price + rng.randint(-20, 20) * item.tick_size
    more = {
        "ts_ref": UNDEF_TIME if rng.random() < 0.5 else values["ts_recv"] // _DAY_NS * _DAY_NS,
        "price": price if is_price else UNDEF_PRICE,
        "quantity": 2**63 - 1 if is_price else rng.randrange(10**6),
        "sequence": rng.randrange(2**32),
        "stat_type": kind,
        "update_action": 1,
        "stat_flags": 255 if is_price else 0,
    }
    return pack(0x18, values | more)


def _imbalance(values: dict[str, Any], item: Instrument, rng: random.Random) -> bytes:
    prices = dict.fromkeys(
        ("cont_book_clr_price", "auct_interest_clr_price", "ssr_filling_price", "ind_match_price",
         "upper_collar", "lower_collar"), UNDEF_PRICE,
    )  # fmt: skip
    more = {
        "ref_price": item.price,
        "paired_qty": rng.randrange(10_000),
        "total_imbalance_qty": rng.randrange(10_000),
        "auction_type": b"O",
        "side": rng.choice((b"B", b"A", b"N")),
        "unpaired_side": b"N",
        "significant_imbalance": b"~",
    }
    return pack(0x14, values | prices | more)
