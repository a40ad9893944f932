"""The records of DBN as numpy dtypes, by type and version, and the messages read from them.

Names and places are those of Databento's own description of its encoding. Prices are int64 in units of
1e-9, times are unsigned UNIX ns; see `PRICES` and `TIMES` for which fields are which.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np

from mdfeedd.feeds.databento.codec.events import ErrorMessage, SystemMessage
from mdfeedd.feeds.databento.codec.symbology import Definition, MappingMessage

__all__ = [
    "I64_UNDEF",
    "PRICES",
    "TIMES",
    "U32_UNDEF",
    "U64_UNDEF",
    "parse_definition",
    "parse_error",
    "parse_mapping",
    "parse_system",
    "record_dtype",
]

I64_UNDEF: Final = 2**63 - 1
U64_UNDEF: Final = 2**64 - 1
I32_UNDEF: Final = 2**31 - 1
U32_UNDEF: Final = 2**32 - 1
_NO_CODE: Final = 255

_HEADER: Final = "length:u1 rtype:u1 publisher_id:u2 instrument_id:u4 ts_event:u8"
_TRADE: Final = (
    f"{_HEADER} price:i8 size:u4 action:S1 side:S1 flags:u1 depth:u1 ts_recv:u8 ts_in_delta:i4"
    " sequence:u4"
)
_MBO: Final = (
    f"{_HEADER} order_id:u8 price:i8 size:u4 flags:u1 channel_id:u1 action:S1 side:S1 ts_recv:u8"
    " ts_in_delta:i4 sequence:u4"
)
_LEVEL: Final = "bid_px_{0} ask_px_{0} bid_sz_{0} ask_sz_{0} bid_ct_{0} ask_ct_{0}"
_LEVEL_TYPES: Final = ("i8", "i8", "u4", "u4", "u4", "u4")
_LEVEL_C: Final = (
    "bid_px_00:i8 ask_px_00:i8 bid_sz_00:u4 ask_sz_00:u4 bid_pb_00:u2 _reserved1_00:S2 ask_pb_00:u2"
    " _reserved2_00:S2"
)
_CMBP: Final = (
    f"{_HEADER} price:i8 size:u4 action:S1 side:S1 flags:u1 _reserved1:S1 ts_recv:u8 ts_in_delta:i4"
    f" _reserved2:S4 {_LEVEL_C}"
)
_BBO_BASE: Final = (
    f"{_HEADER} price:i8 size:u4 _reserved1:u1 side:S1 flags:u1 _reserved2:u1 ts_recv:u8"
)
_CBBO: Final = f"{_BBO_BASE} _reserved3:S8 {_LEVEL_C}"
_OHLCV: Final = f"{_HEADER} open:i8 high:i8 low:i8 close:i8 volume:u8"
_STATUS: Final = (
    f"{_HEADER} ts_recv:u8 action:u2 reason:u2 trading_event:u2 is_trading:S1 is_quoting:S1"
    " is_short_sell_restricted:S1 _reserved:S7"
)
_STATISTICS: Final = (
    f"{_HEADER} ts_recv:u8 ts_ref:u8 price:i8 quantity:{{0}} sequence:u4 ts_in_delta:i4 stat_type:u2"
    " channel_id:u2 update_action:u1 stat_flags:u1 _reserved:{1}"
)
_IMBALANCE: Final = (
    f"{_HEADER} ts_recv:u8 ref_price:i8 auction_time:u8 cont_book_clr_price:i8"
    " auct_interest_clr_price:i8 ssr_filling_price:i8 ind_match_price:i8 upper_collar:i8"
    " lower_collar:i8 paired_qty:u4 total_imbalance_qty:u4 market_imbalance_qty:u4 unpaired_qty:u4"
    " auction_type:S1 side:S1 auction_status:u1 freeze_status:u1 num_extensions:u1 unpaired_side:S1"
    " significant_imbalance:S1 _reserved:S1"
)
_DEFINITION_HEAD: Final = (
    f"{_HEADER} ts_recv:u8 min_price_increment:i8 display_factor:i8 expiration:u8 activation:u8"
    " high_limit_price:i8 low_limit_price:i8 max_price_variation:i8"
)
_DEFINITION_SIZES: Final = (
    "market_depth_implied:i4 market_depth:i4 market_segment_id:u4 max_trade_vol:u4 min_lot_size:i4"
    " min_lot_size_block:i4 min_lot_size_round_lot:i4 min_trade_vol:u4"
)
_DEFINITION_TEXT: Final = (
    "currency:S4 settl_currency:S4 secsubtype:S6 raw_symbol:{0} group:S21 exchange:S5 asset:{1} cfi:S7"
    " security_type:S7 unit_of_measure:S31 underlying:S21 strike_price_currency:S4"
)
_DEFINITION_TAIL: Final = (
    "security_update_action:S1 maturity_month:u1 maturity_day:u1 maturity_week:u1"
    " user_defined_instrument:S1 contract_multiplier_unit:i1 flow_schedule_type:i1 tick_rule:u1"
)
_DEFINITION_OLD: Final = (
    "trading_reference_price:i8 unit_of_measure_qty:i8 min_price_increment_amount:i8 price_ratio:i8"
)
_DEFINITION_DATES: Final = (
    "trading_reference_date:u2 appl_id:i2 maturity_year:u2 decay_start_date:u2 channel_id:u2"
)
_DEFINITION_CODES: Final = (
    "match_algorithm:S1 md_security_trading_status:u1 main_fraction:u1 price_display_format:u1"
    " settl_price_type:u1 sub_fraction:u1 underlying_product:u1"
)
_DEFINITION_V1: Final = (
    f"{_DEFINITION_HEAD} {_DEFINITION_OLD} inst_attrib_value:i4 underlying_id:u4 raw_instrument_id:u4"
    f" {_DEFINITION_SIZES} _reserved2:S4 contract_multiplier:i4 decay_quantity:i4"
    f" original_contract_size:i4 _reserved3:S4 {_DEFINITION_DATES} {_DEFINITION_TEXT}"
    f" instrument_class:S1 _reserved4:S2 strike_price:i8 _reserved5:S6 {_DEFINITION_CODES}"
    f" {_DEFINITION_TAIL} _dummy:S3"
).format("S22", "S7")
_DEFINITION_V2: Final = (
    f"{_DEFINITION_HEAD} {_DEFINITION_OLD} strike_price:i8 inst_attrib_value:i4 underlying_id:u4"
    f" raw_instrument_id:u4 {_DEFINITION_SIZES} contract_multiplier:i4 decay_quantity:i4"
    f" original_contract_size:i4 {_DEFINITION_DATES} {_DEFINITION_TEXT} instrument_class:S1"
    f" {_DEFINITION_CODES} {_DEFINITION_TAIL} _reserved:S10"
).format("S71", "S7")
_DEFINITION_V3: Final = (
    f"{_DEFINITION_HEAD} unit_of_measure_qty:i8 min_price_increment_amount:i8 price_ratio:i8"
    " strike_price:i8 raw_instrument_id:u8 leg_price:i8 leg_delta:i8 inst_attrib_value:i4"
    f" underlying_id:u4 {_DEFINITION_SIZES} contract_multiplier:i4 decay_quantity:i4"
    " original_contract_size:i4 leg_instrument_id:u4 leg_ratio_price_numerator:i4"
    " leg_ratio_price_denominator:i4 leg_ratio_qty_numerator:i4 leg_ratio_qty_denominator:i4"
    " leg_underlying_id:u4 appl_id:i2 maturity_year:u2 decay_start_date:u2 channel_id:u2 leg_count:u2"
    f" leg_index:u2 {_DEFINITION_TEXT} leg_raw_symbol:S71 instrument_class:S1 match_algorithm:S1"
    " main_fraction:u1 price_display_format:u1 sub_fraction:u1 underlying_product:u1"
    f" {_DEFINITION_TAIL} leg_instrument_class:S1 leg_side:S1 _reserved:S17"
).format("S71", "S11")
_MAPPING_V1: Final = (
    f"{_HEADER} stype_in_symbol:S22 stype_out_symbol:S22 _dummy:S4 start_ts:u8 end_ts:u8"
)
_MAPPING: Final = (
    f"{_HEADER} stype_in:u1 stype_in_symbol:S71 stype_out:u1 stype_out_symbol:S71 start_ts:u8"
    " end_ts:u8"
)


def _levels(n: int) -> str:
    return " ".join(
        f"{name}:{kind}"
        for k in range(n)
        for name, kind in zip(_LEVEL.format(f"{k:02}").split(), _LEVEL_TYPES, strict=True)
    )


_MBP_1: Final = f"{_TRADE} {_levels(1)}"
_BBO: Final = f"{_BBO_BASE} _reserved3:S4 sequence:u4 {_levels(1)}"
#: Layouts by record type: one, or those of versions 1, 2 and 3.
_LAYOUTS: Final[dict[int, tuple[str, ...]]] = {
    0x00: (_TRADE,),
    0x01: (_MBP_1,),
    0x0A: (f"{_TRADE} {_levels(10)}",),
    0x11: (_OHLCV,),
    0x12: (_STATUS,),
    0x13: (_DEFINITION_V1, _DEFINITION_V2, _DEFINITION_V3),
    0x14: (_IMBALANCE,),
    0x15: (f"{_HEADER} err:S64", *[f"{_HEADER} err:S302 code:u1 is_last:u1"] * 2),
    0x16: (_MAPPING_V1, _MAPPING, _MAPPING),
    0x17: (f"{_HEADER} msg:S64", *[f"{_HEADER} msg:S303 code:u1"] * 2),
    0x18: (*[_STATISTICS.format("i4", "S6")] * 2, _STATISTICS.format("i8", "S18")),
    0x20: (_OHLCV,),
    0x21: (_OHLCV,),
    0x22: (_OHLCV,),
    0x23: (_OHLCV,),
    0x24: (_OHLCV,),
    0xA0: (_MBO,),
    0xB1: (_CMBP,),
    0xC0: (_CBBO,),
    0xC1: (_CBBO,),
    0xC2: (_CMBP,),
    0xC3: (_BBO,),
    0xC4: (_BBO,),
}
_LEVEL_PRICES: Final = {f"{side}_px_{k:02}" for side in ("bid", "ask") for k in range(10)}
#: Fields that are prices.
PRICES: Final = frozenset(
    _LEVEL_PRICES
    | {
        "price", "open", "high", "low", "close", "ref_price", "cont_book_clr_price",
        "auct_interest_clr_price", "ssr_filling_price", "ind_match_price", "upper_collar",
        "lower_collar", "min_price_increment", "display_factor", "high_limit_price",
        "low_limit_price", "max_price_variation", "trading_reference_price", "unit_of_measure_qty",
        "min_price_increment_amount", "price_ratio", "strike_price", "leg_price", "leg_delta",
    }
)  # fmt: skip
#: Fields that are times.
TIMES: Final = frozenset(
    {
        "ts_event",
        "ts_recv",
        "ts_ref",
        "auction_time",
        "expiration",
        "activation",
        "start_ts",
        "end_ts",
    }
)


@functools.cache
def record_dtype(rtype: int, version: int) -> np.dtype[Any] | None:
    """The layout of a record type in a version (1 to 3); None for an unknown type."""
    layouts = _LAYOUTS.get(rtype)
    if layouts is None:
        return None
    layout = layouts[0] if len(layouts) == 1 else layouts[version - 1]
    pairs = (field.split(":") for field in layout.split())
    return np.dtype([(name, kind if kind[0] == "S" else f"<{kind}") for name, kind in pairs])


def _read(record: bytes, rtype: int, version: int) -> dict[str, Any]:
    dtype = record_dtype(rtype, version)
    assert dtype is not None
    assert dtype.names is not None
    return dict(zip(dtype.names, np.frombuffer(record, dtype, 1)[0].item(), strict=True))


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def parse_mapping(record: bytes, version: int) -> MappingMessage:
    """A symbol mapping record."""
    r = _read(record, 0x16, version)
    return MappingMessage(
        r["instrument_id"], _text(r["stype_in_symbol"]), _text(r["stype_out_symbol"])
    )


def parse_system(record: bytes, version: int) -> SystemMessage:
    """A system record."""
    r = _read(record, 0x17, version)
    return SystemMessage(r["ts_event"], r.get("code", _NO_CODE), _text(r["msg"]))


def parse_error(record: bytes, version: int) -> ErrorMessage:
    """An error record."""
    r = _read(record, 0x15, version)
    is_last = bool(r.get("is_last", 1))
    return ErrorMessage(r["ts_event"], r.get("code", _NO_CODE), _text(r["err"]), is_last)


def _multiplier(quantity: int, contract_multiplier: int) -> int:
    """Units of the underlying a contract, x 1e-9; 0 unknown."""
    if 0 < quantity < I64_UNDEF:
        return quantity
    return contract_multiplier * 10**9 if 0 < contract_multiplier < I32_UNDEF else 0


def parse_definition(record: bytes, version: int) -> Definition:
    """An instrument definition record."""
    r = _read(record, 0x13, version)
    tick_size, expiration = r["min_price_increment"], r["expiration"]
    return Definition(
        publisher_id=r["publisher_id"],
        instrument_id=r["instrument_id"],
        raw_symbol=_text(r["raw_symbol"]),
        exchange=_text(r["exchange"]),
        currency=_text(r["currency"]),
        tick_size=0 if tick_size == I64_UNDEF else tick_size,
        expiration_ns=0 if expiration > I64_UNDEF else expiration,
        multiplier=_multiplier(r["unit_of_measure_qty"], r["contract_multiplier"]),
    )
