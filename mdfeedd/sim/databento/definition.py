"""Instrument definitions of DBN, whose places moved twice: name, type or types, offset in versions 1, 2, 3."""

from __future__ import annotations

from typing import Final

__all__ = ["DEFINITION"]

_SAME: Final = """
ts_recv u64 16
min_price_increment i64 24
display_factor i64 32
expiration u64 40
activation u64 48
high_limit_price i64 56
low_limit_price i64 64
max_price_variation i64 72
"""
_MOVED: Final = """
unit_of_measure_qty i64 88/88/80
min_price_increment_amount i64 96/96/88
price_ratio i64 104/104/96
strike_price i64 328/112/104
raw_instrument_id u32/u32/u64 120/128/112
inst_attrib_value i32 112/120/136
underlying_id u32 116/124/140
market_depth_implied i32 124/132/144
market_depth i32 128/136/148
market_segment_id u32 132/140/152
max_trade_vol u32 136/144/156
min_lot_size i32 140/148/160
min_lot_size_block i32 144/152/164
min_lot_size_round_lot i32 148/156/168
min_trade_vol u32 152/160/172
contract_multiplier i32 160/164/176
decay_quantity i32 164/168/180
original_contract_size i32 168/172/184
appl_id i16 178/178/212
maturity_year u16 180/180/214
decay_start_date u16 182/182/216
channel_id u16 184/184/218
currency c4 186/186/224
settl_currency c4 190/190/228
secsubtype c6 194/194/232
raw_symbol c22/c71/c71 200/200/238
group c21 222/271/309
exchange c5 243/292/330
asset c7/c7/c11 248/297/335
cfi c7 255/304/346
security_type c7 262/311/353
unit_of_measure c31 269/318/360
underlying c21 300/349/391
strike_price_currency c4 321/370/412
instrument_class c1 325/374/487
match_algorithm c1 342/375/488
main_fraction u8 344/377/489
price_display_format u8 345/378/490
sub_fraction u8 347/380/491
underlying_product u8 348/381/492
security_update_action c1 349/382/493
maturity_month u8 350/383/494
maturity_day u8 351/384/495
maturity_week u8 352/385/496
user_defined_instrument c1 353/386/497
contract_multiplier_unit i8 354/387/498
flow_schedule_type i8 355/388/499
tick_rule u8 356/389/500
"""
_OLD: Final = """
trading_reference_price i64 80/80
trading_reference_date u16 176/176
md_security_trading_status u8 343/376
settl_price_type u8 346/379
"""
_NEW: Final = """
leg_price i64 120
leg_delta i64 128
leg_instrument_id u32 188
leg_ratio_price_numerator i32 192
leg_ratio_price_denominator i32 196
leg_ratio_qty_numerator i32 200
leg_ratio_qty_denominator i32 204
leg_underlying_id u32 208
leg_count u16 220
leg_index u16 222
leg_raw_symbol c71 416
leg_instrument_class c1 501
leg_side c1 502
"""


def _of(version: int) -> str:
    rows = [_SAME]
    for line in (_MOVED if version == 3 else _MOVED + _OLD).split("\n"):
        if line:
            name, kinds, places = line.split()
            kind = kinds.split("/")
            which = kind[version - 1] if len(kind) > 1 else kind[0]
            rows.append(f"{name} {which} {places.split('/')[version - 1]}\n")
    return "".join(rows) + (_NEW if version == 3 else "")


#: Layouts by version.
DEFINITION: Final = {version: _of(version) for version in (1, 2, 3)}
