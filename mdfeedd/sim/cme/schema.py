"""The messages of CME MDP 3.0 as lists of fields in wire order; where a field lies follows from what precedes it.

One text per message, in the terms of the FIX/SBE schema: `name:type`, `?` for a type with a null value, `@10`
for a field that came with schema version 10. `block 32` states a block longer than its fields: the rest is
padding, zero on the wire, and later versions put new fields there. A block without it ends with its last field,
so it grew when fields were added. `was 32 since 2` is the message's number in the template set that ended
with version 9, whose prices have the exponent -7 where today's have -9. `wide` groups have the 8-byte
dimension, the others the 3-byte one.

Types: `u8` to `i64`, `cN` text of N bytes filled up with zeros, `month` (year, month, day, week).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "LAST_OLD_VERSION",
    "MESSAGES",
    "NEWEST",
    "OLD_ID",
    "STRANGE_VERSION",
    "Block",
    "Group",
    "Message",
    "message_of",
]

NEWEST: Final = 13
STRANGE_VERSION: Final = 99  # a version nobody knows yet: today's fields, in longer blocks
LAST_OLD_VERSION: Final = 9  # of the old template set
_JUNK: Final = b"\xa5"
_STRANGE_ROOT: Final = 5  # bytes more in a root block, and ...
_STRANGE_ENTRY: Final = 7  # ... in an entry of a group, of version 99

_CODES: Final = {
    "u8": "B",
    "i8": "b",
    "u16": "H",
    "i16": "h",
    "u32": "I",
    "i32": "i",
    "u64": "Q",
    "i64": "q",
}
_MONTH: Final = (("year", "H", 65535), ("month", "B", 255), ("day", "B", 255), ("week", "B", 255))

_HEAD: Final = "TransactTime:u64 MatchEventIndicator:u8"
_INSTRUMENT: Final = """MatchEventIndicator:u8 TotNumReports:u32? SecurityUpdateAction:c1
    LastUpdateTime:u64 MDSecurityTradingStatus:u8? ApplID:i16 MarketSegmentID:u8 UnderlyingProduct:u8
    SecurityExchange:c4 SecurityGroup:c6 Asset:c6 Symbol:c20 SecurityID:i32 SecurityType:c6 CFICode:c6"""
_ATTRIBUTES: Final = """
  group NoEvents
    EventType:u8 EventTime:u64
  group NoMDFeedTypes
    MDFeedType:c3 MarketDepth:i8
  group NoInstAttrib
    InstAttribValue:u32"""
_LOTS: Final = """
  group NoLotTypeRules
    LotType:i8 MinLotSize:i32?"""
_SNAPSHOT: Final = """LastMsgSeqNumProcessed:u32 TotNumReports:u32 SecurityID:i32 RptSeq:u32
  TransactTime:u64 LastUpdateTime:u64 TradeDate:u16? MDSecurityTradingStatus:u8?
  HighLimitPrice:i64? LowLimitPrice:i64? MaxPriceVariation:i64?"""
_BOOK_ORDERS: Final = """
  group NoOrderIDEntries wide block 24{since}
    OrderID:u64 MDOrderPriority:u64? MDDisplayQty:i32? ReferenceID:u8? OrderUpdateAction:u8"""

_MARKET_DATA: Final = f"""
message 4 since 3
  {_HEAD}
  group NoMDEntries
    ApplID:i16
message 12 since 2
message 30 since 2
  TransactTime:u64 SecurityGroup:c6 Asset:c6 SecurityID:i32? TradeDate:u16?
  MatchEventIndicator:u8 SecurityTradingStatus:u8? HaltReason:u8 SecurityTradingEvent:u8
message 36 since 2 until 8 block 11
  {_HEAD}
  group NoMDEntries block 32
    MDEntryPx:i64 MDEntrySize:i32 SecurityID:i32 RptSeq:u32 NumberOfOrders:i32? TradeID:i32
    AggressorSide:u8? MDUpdateAction:u8
message 37 since 2 block 11
  {_HEAD}
  group NoMDEntries block 16
    MDEntrySize:i32 SecurityID:i32 RptSeq:u32 MDUpdateAction:u8
message 39 since 3 block 35
  TransactTime:u64 QuoteReqID:c23 MatchEventIndicator:u8
  group NoRelatedSym block 32
    Symbol:c20 SecurityID:i32 OrderQty:i32? QuoteType:i8 Side:i8?
message 46 since 9 was 32 since 2 block 11
  {_HEAD}
  group NoMDEntries block 32
    MDEntryPx:i64? MDEntrySize:i32? SecurityID:i32 RptSeq:u32 NumberOfOrders:i32? MDPriceLevel:u8
    MDUpdateAction:u8 MDEntryType:c1 TradeableSize:i32?@10
  {_BOOK_ORDERS.format(since=" since 7")}
message 47 since 9 was 43 since 7 block 11
  {_HEAD}
  group NoMDEntries block 40
    OrderID:u64? MDOrderPriority:u64? MDEntryPx:i64? MDDisplayQty:i32? SecurityID:i32
    MDUpdateAction:u8 MDEntryType:c1
message 48 since 9 was 42 since 5 block 11
  {_HEAD}
  group NoMDEntries block 32
    MDEntryPx:i64 MDEntrySize:i32 SecurityID:i32 RptSeq:u32 NumberOfOrders:i32 AggressorSide:u8?
    MDUpdateAction:u8 MDTradeEntryID:u32?@7
  group NoOrderIDEntries wide block 16
    OrderID:u64 LastQty:i32
message 49 since 9 was 33 since 2 block 11
  {_HEAD}
  group NoMDEntries block 32
    MDEntryPx:i64? MDEntrySize:i32? SecurityID:i32 RptSeq:u32 TradingReferenceDate:u16?
    SettlPriceType:u8 MDUpdateAction:u8 MDEntryType:c1
message 50 since 9 was 34 since 2 block 11
  {_HEAD}
  group NoMDEntries
    HighLimitPrice:i64? LowLimitPrice:i64? MaxPriceVariation:i64? SecurityID:i32 RptSeq:u32
message 51 since 9 was 35 since 2 block 11
  {_HEAD}
  group NoMDEntries block 24
    MDEntryPx:i64 SecurityID:i32 RptSeq:u32 OpenCloseSettlFlag:u8? MDUpdateAction:u8
    MDEntryType:c1 MDEntrySize:i32?@8
message 52 since 9 was 38 since 2
  {_SNAPSHOT}
  group NoMDEntries
    MDEntryPx:i64? MDEntrySize:i32? NumberOfOrders:i32? MDPriceLevel:i8?
    TradingReferenceDate:u16? OpenCloseSettlFlag:u8? SettlPriceType:u8 MDEntryType:c1
message 53 since 9 was 44 since 7
  LastMsgSeqNumProcessed:u32 TotNumReports:u32 SecurityID:i32 NoChunks:u32 CurrentChunk:u32
  TransactTime:u64
  group NoMDEntries
    OrderID:u64 MDOrderPriority:u64? MDEntryPx:i64 MDDisplayQty:i32 MDEntryType:c1
message 60 since 10
  TransactTime:u64 MDEntryPx:i64? SecurityID:i32 MatchEventIndicator:u8 TradeDate:u16?
  TradeLinkID:u32 SecurityTradingStatus:u8 HaltReason:u8 SecurityTradingEvent:u8
  group NoOrderIDEntries
    OrderID:u64 Side:u8 AggressorIndicator:u8?
message 64 since 12 block 11
  {_HEAD}
  group NoMDEntries block 32
    MDEntryPx:i64? MDEntrySize:u64? SecurityID:i32 RptSeq:u32 NumberOfOrders:i32? MDPriceLevel:u8
    MDUpdateAction:u8 MDEntryType:c1
  {_BOOK_ORDERS.format(since="")}
message 65 since 12 block 11
  {_HEAD}
  group NoMDEntries block 40
    MDEntryPx:i64 MDEntrySize:u64 SecurityID:i32 RptSeq:u32 NumberOfOrders:i32 MDTradeEntryID:u32
    AggressorSide:u8? MDUpdateAction:u8
  group NoOrderIDEntries wide block 16
    OrderID:u64 LastQty:i32
message 66 since 12 block 11
  {_HEAD}
  group NoMDEntries block 24
    MDEntrySize:u64 SecurityID:i32 RptSeq:u32 MDUpdateAction:u8
message 67 since 12 block 11
  {_HEAD}
  group NoMDEntries block 32
    MDEntryPx:i64 MDEntrySize:u64? SecurityID:i32 RptSeq:u32 OpenCloseSettlFlag:u8?
    MDUpdateAction:u8 MDEntryType:c1
message 69 since 12
  {_SNAPSHOT}
  group NoMDEntries
    MDEntryPx:i64? MDEntrySize:u64? NumberOfOrders:i32? MDPriceLevel:u8? OpenCloseSettlFlag:u8?
    MDEntryType:c1
"""

_DEFINITIONS: Final = f"""
message 54 since 9 was 27 since 2
  {_INSTRUMENT} MaturityMonthYear:month Currency:c3 SettlCurrency:c3 MatchAlgorithm:c1
  MinTradeVol:u32 MaxTradeVol:u32 MinPriceIncrement:i64 DisplayFactor:i64 MainFraction:u8?
  SubFraction:u8? PriceDisplayFormat:u8? UnitOfMeasure:c30 UnitOfMeasureQty:i64?
  TradingReferencePrice:i64? SettlPriceType:u8 OpenInterestQty:i32? ClearedVolume:i32?
  HighLimitPrice:i64? LowLimitPrice:i64? MaxPriceVariation:i64? DecayQuantity:i32?
  DecayStartDate:u16? OriginalContractSize:i32? ContractMultiplier:i32? ContractMultiplierUnit:i8?
  FlowScheduleType:i8? MinPriceIncrementAmount:i64? UserDefinedInstrument:c1
  TradingReferenceDate:u16?@6 InstrumentGUID:u64?@10
  {_ATTRIBUTES}{_LOTS}
message 55 since 9 was 41 since 3
  {_INSTRUMENT} PutOrCall:u8 MaturityMonthYear:month Currency:c3 StrikePrice:i64? StrikeCurrency:c3
  SettlCurrency:c3 MinCabPrice:i64? MatchAlgorithm:c1 MinTradeVol:u32 MaxTradeVol:u32
  MinPriceIncrement:i64? MinPriceIncrementAmount:i64? DisplayFactor:i64 TickRule:i8?
  MainFraction:u8? SubFraction:u8? PriceDisplayFormat:u8? UnitOfMeasure:c30 UnitOfMeasureQty:i64?
  TradingReferencePrice:i64? SettlPriceType:u8 ClearedVolume:i32? OpenInterestQty:i32?
  LowLimitPrice:i64? HighLimitPrice:i64? UserDefinedInstrument:c1
  TradingReferenceDate:u16?@6 InstrumentGUID:u64?@10
  {_ATTRIBUTES}{_LOTS}
  group NoUnderlyings
    UnderlyingSecurityID:i32 UnderlyingSymbol:c20
  group NoRelatedInstruments since 7
    RelatedSecurityID:i32 RelatedSymbol:c20
message 56 since 9 was 29 since 2
  {_INSTRUMENT} MaturityMonthYear:month Currency:c3 SecuritySubType:c5 UserDefinedInstrument:c1
  MatchAlgorithm:c1 MinTradeVol:u32 MaxTradeVol:u32 MinPriceIncrement:i64? DisplayFactor:i64
  PriceDisplayFormat:u8? PriceRatio:i64? TickRule:i8? UnitOfMeasure:c30
  TradingReferencePrice:i64? SettlPriceType:u8 OpenInterestQty:i32? ClearedVolume:i32?
  HighLimitPrice:i64? LowLimitPrice:i64? MaxPriceVariation:i64? MainFraction:u8? SubFraction:u8?
  TradingReferenceDate:u16?@6 PriceQuoteMethod:c5@10 RiskSet:c6@10 MarketSet:c6@10
  InstrumentGUID:u64?@10 FinancialInstrumentFullName:c35@10
  {_ATTRIBUTES}{_LOTS}
  group NoLegs
    LegSecurityID:i32 LegSide:u8 LegRatioQty:i8 LegPrice:i64? LegOptionDelta:i32?
message 57 since 10
  {_INSTRUMENT} Currency:c3 SettlCurrency:c3 MatchAlgorithm:c1 MinTradeVol:u32 MaxTradeVol:u32
  MinPriceIncrement:i64? DisplayFactor:i64 MainFraction:u8? SubFraction:u8? PriceDisplayFormat:u8?
  UnitOfMeasure:c30 UnitOfMeasureQty:i64? TradingReferencePrice:i64? TradingReferenceDate:u16?
  HighLimitPrice:i64? LowLimitPrice:i64? MaxPriceVariation:i64? MinPriceIncrementAmount:i64?
  IssueDate:u16? DatedDate:u16? MaturityDate:u16? CouponRate:i64? ParValue:i64?
  CouponFrequencyUnit:c3 CouponFrequencyPeriod:u16? CouponDayCount:c20 CountryOfIssue:c2
  Issuer:c25 FinancialInstrumentFullName:c35 SecurityAltID:c12 SecurityAltIDSource:u8?
  PriceQuoteMethod:c5 PartyRoleClearingOrg:c5 UserDefinedInstrument:c1 RiskSet:c6 MarketSet:c6
  InstrumentGUID:u64?
  {_ATTRIBUTES}{_LOTS}
message 58 since 10
  {_INSTRUMENT} Currency:c3 SettlCurrency:c3 MatchAlgorithm:c1 MinTradeVol:u32 MaxTradeVol:u32
  MinPriceIncrement:i64 DisplayFactor:i64 UnitOfMeasure:c30 UnitOfMeasureQty:i64?
  TradingReferencePrice:i64? TradingReferenceDate:u16? HighLimitPrice:i64? LowLimitPrice:i64?
  MaxPriceVariation:i64? FinancialInstrumentFullName:c35 PartyRoleClearingOrg:c5 StartDate:u16?
  EndDate:u16? TerminationType:c8 SecuritySubType:u8 MoneyOrPar:u8? MaxNoOfSubstitutions:u8
  PriceQuoteMethod:c5 UserDefinedInstrument:c1 RiskSet:c6 MarketSet:c6 InstrumentGUID:u64?
  TermCode:c20@11 BrokenDateTermType:u8?@13
  {_ATTRIBUTES}{_LOTS}
  group NoUnderlyings
    UnderlyingSymbol:c20 UnderlyingSecurityID:i32? UnderlyingSecurityAltID:c12
    UnderlyingSecurityAltIDSource:u8? UnderlyingFinancialInstrumentFullName:c35
    UnderlyingSecurityType:c6 UnderlyingCountryOfIssue:c2 UnderlyingIssuer:c25
    UnderlyingMaxLifeTime:u8? UnderlyingMinDaysToMaturity:u16? UnderlyingInstrumentGUID:u64?@11
    UnderlyingMaturityDate:u16?@11
  group NoRelatedInstruments
    RelatedSecurityID:i32 RelatedSymbol:c20 RelatedInstrumentGUID:u64?
  group NoBrokenDates since 13
    BrokenDateGUID:u64 BrokenDateSecurityID:i32 BrokenDateStart:u16? BrokenDateEnd:u16?
message 63 since 12
  {_INSTRUMENT} Currency:c3 SettlCurrency:c3 PriceQuoteCurrency:c3 MatchAlgorithm:c1
  MinTradeVol:u32 MaxTradeVol:u32 MinPriceIncrement:i64 DisplayFactor:i64 PricePrecision:u8
  UnitOfMeasure:c30 UnitOfMeasureQty:i64? HighLimitPrice:i64? LowLimitPrice:i64?
  MaxPriceVariation:i64? UserDefinedInstrument:c1 FinancialInstrumentFullName:c35
  FXCurrencySymbol:c7 SettlType:c3 InterveningDays:u16 FXBenchmarkRateFix:c20 RateSource:c12
  FixRateLocalTime:c8 FixRateLocalTimeZone:c20 MinQuoteLife:u32 MaxPriceDiscretionOffset:i64
  InstrumentGUID:u64? MaturityMonthYear:month SettlementLocale:c8 AltMinPriceIncrement:i64?@13
  AltMinQuoteLife:u32?@13 AltPriceIncrementConstraint:i64?@13 MaxBidAskConstraint:i64?@13
  {_ATTRIBUTES}
  group NoLotTypeRules
    LotType:i8 MinLotSize:u64
  group NoTradingSessions
    TradeDate:u16? SettlDate:u16? MaturityDate:u16? SecurityAltID:c12
"""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a block; `null` is None where the type has no null value."""

    name: str
    code: str  # of `struct`
    null: int | None
    since: int
    is_text: bool


@dataclass(frozen=True, slots=True)
class _BlockText:
    fields: tuple[Field, ...]
    least: int  # stated length


@dataclass(frozen=True, slots=True)
class _GroupText:
    name: str
    wide: bool
    since: int
    block: _BlockText


@dataclass(frozen=True, slots=True)
class _MessageText:
    since: int
    until: int
    root: _BlockText
    groups: tuple[_GroupText, ...]


class Block:
    """Packs the values of one block for one version; `length` is its blockLength on the wire."""

    def __init__(self, text: _BlockText, version: int, strange: int) -> None:
        known = min(version, NEWEST)
        self.fields: tuple[Field, ...] = tuple(
            field for field in text.fields if field.since <= known
        )
        self.names: frozenset[str] = frozenset(field.name for field in text.fields)
        code = "<" + "".join(field.code for field in self.fields)
        pad = max(0, text.least - struct.calcsize(code))
        more = strange if version > NEWEST else 0
        packer = struct.Struct(code + "x" * pad)
        self._pack = packer.pack
        self._junk = _JUNK * more
        self._count = len(self.fields)
        self.length: int = packer.size + more
        self._row = tuple(
            (field.name, b"" if field.is_text else field.null or 0, field.null, field.is_text)
            for field in self.fields
        )

    def pack(self, values: Mapping[str, object] | tuple[object, ...]) -> bytes:
        """The bytes of `values`: by name, None for null, the rest null or zero; or all of them in order.

        What a version does not have is left out. Raises KeyError for a name that no version has.
        """
        if isinstance(values, tuple):
            return self._pack(*values[: self._count]) + self._junk
        if not self.names.issuperset(values):
            raise KeyError(f"no such field: {', '.join(sorted(set(values) - self.names))}")
        row = []
        for name, default, null, is_text in self._row:
            value = values.get(name, default)
            if value is None:
                value = null
            elif is_text and isinstance(value, str):
                value = value.encode()
            row.append(value)
        return self._pack(*row) + self._junk

    def pack_all(self, rows: Sequence[Mapping[str, object] | tuple[object, ...]]) -> bytes:
        """The bytes of several; rows in wire order and of the full length take the short way."""
        count, pack, junk = self._count, self._pack, self._junk
        return b"".join(
            [
                pack(*row) + junk
                if isinstance(row, tuple) and len(row) == count
                else self.pack(row)
                for row in rows
            ]
        )


class Group:
    """A repeating group of one version."""

    def __init__(self, text: _GroupText, version: int) -> None:
        self.name: str = text.name
        self.block: Block = Block(text.block, version, _STRANGE_ENTRY)
        self._dimension = struct.Struct("<H5xB" if text.wide else "<HB")

    def pack(self, entries: Sequence[Mapping[str, object] | tuple[object, ...]]) -> bytes:
        """Dimension and entries; at most 255 of them."""
        head = self._dimension.pack(self.block.length, len(entries))
        return head + self.block.pack_all(entries) if entries else head


class Message:
    """A message of one version: the root block and its groups, in wire order."""

    def __init__(self, text: _MessageText, template_id: int, version: int) -> None:
        known = min(version, NEWEST)
        self.template_id = template_id
        self.version = version
        self.root: Block = Block(text.root, version, _STRANGE_ROOT)
        self.groups: tuple[Group, ...] = tuple(
            Group(g, version) for g in text.groups if g.since <= known
        )
        self.later_groups: frozenset[str] = frozenset(
            g.name for g in text.groups if g.since > known
        )


def _block(words: list[str], least: int) -> _BlockText:
    fields: list[Field] = []
    for word in words:
        name, _, kind = word.partition(":")
        kind, _, since = kind.partition("@")
        nullable, kind = kind.endswith("?"), kind.rstrip("?")
        first = int(since or 0)
        if kind == "month":
            fields += [Field(name + part, code, null, first, False) for part, code, null in _MONTH]
        elif kind[0] == "c":
            fields.append(Field(name, f"{kind[1:]}s", None, first, True))
        else:
            null = _null_of(kind) if nullable else None
            fields.append(Field(name, _CODES[kind], null, first, False))
    return _BlockText(tuple(fields), least)


def _null_of(kind: str) -> int:
    bits = int(kind[1:])
    return (1 << bits) - 1 if kind[0] == "u" else (1 << (bits - 1)) - 1


def _option(words: list[str], name: str, default: int) -> int:
    return int(words[words.index(name) + 1]) if name in words else default


def _messages(text: str) -> Iterator[tuple[int, int, _MessageText]]:
    """(id, old id or 0, message) of each paragraph; yields the old set's with its own first version."""
    for paragraph in text.split("message ")[1:]:
        first, *parts = paragraph.split("  group ")
        head, _, body = first.partition("\n")
        words = head.split()
        root = _block(body.split(), _option(words, "block", 0))
        groups = []
        for part in parts:
            line, _, fields = part.partition("\n")
            name, *options = line.split()
            block = _block(fields.split(), _option(options, "block", 0))
            groups.append(_GroupText(name, "wide" in options, _option(options, "since", 0), block))
        since = int(words[words.index("since") + 1])
        until = _option(words, "until", STRANGE_VERSION)
        old_id = _option(words, "was", 0)
        yield int(words[0]), old_id, _MessageText(since, until, root, tuple(groups))
        if old_id:
            old_since = int(words[words.index("was") + 3])
            message = _MessageText(old_since, LAST_OLD_VERSION, root, tuple(groups))
            yield old_id, 0, message


_ALL: Final = list(_messages(_MARKET_DATA + _DEFINITIONS))
_TEXTS: Final = {template_id: message for template_id, _, message in _ALL}
OLD_ID: Final = {template_id: old_id for template_id, old_id, _ in _ALL if old_id}
MESSAGES: Final = {template_id: (m.since, m.until) for template_id, m in _TEXTS.items()}


@lru_cache(maxsize=1024)
def message_of(template_id: int, version: int) -> Message:
    """The message as `version` has it; ValueError where that version does not."""
    text = _TEXTS.get(template_id)
    if text is None:
        raise ValueError(f"template {template_id}: not one that the simulator knows")
    if not text.since <= version <= text.until:
        raise ValueError(f"template {template_id}: version {version} does not have it")
    return Message(text, template_id, version)
