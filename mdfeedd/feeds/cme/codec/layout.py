"""The table of mdp_layout.h in Python: templates, groups and fields, and what CME calls the values.

Nothing here is written twice: templates, groups and fields come from the compiled table. The names
of values are here alone, because only people need them; a test holds them against CME's schema
files, as it does the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mdfeedd.feeds.cme.codec import _entries

#: Old templates (schemas 5 to 9): their prices count 1e-7.
OLD_TEMPLATES: Final = frozenset({27, 29, 32, 33, 34, 35, 36, 38, 41, 42, 43, 44})
ROOT: Final = "Root"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its place in the root or an entry, its type in mdp_layout.h's words, since when."""

    name: str
    offset: int
    size: int
    type: str
    since: int

    @property
    def end(self) -> int:
        """Offset of the first byte after it."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Group:
    """A group of a template: bytes of its dimension and shortest entry, and since when it is sent."""

    name: str
    dimension: int
    entry_min: int
    since: int
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A message under one template id; `root_min` are the bytes of the root in all versions."""

    name: str
    template_id: int
    root_min: int
    fields: tuple[Field, ...]
    groups: tuple[Group, ...]

    @property
    def price_exponent(self) -> int:
        """Prices are mantissa x 10 to this power."""
        return -7 if self.template_id in OLD_TEMPLATES else -9


def _templates() -> dict[int, Template]:
    fields: dict[tuple[str, str], list[Field]] = {}
    for template, group, name, offset, size, kind, since in _entries.fields():
        fields.setdefault((template, group), []).append(Field(name, offset, size, kind, since))
    table: dict[int, Template] = {}
    for name, new, old, root_min in _entries.templates():
        for template_id in (new, old):
            groups = tuple(
                Group(group, dimension, least, from_old if template_id == old else from_new,
                      tuple(fields.get((name, group), ())))
                for template, group, dimension, least, from_new, from_old in _entries.groups()
                if template == name
            )  # fmt: skip
            if template_id:
                root = tuple(fields.get((name, ROOT), ()))
                table[template_id] = Template(name, template_id, root_min, root, groups)
    return table


#: Template id to what is known of it; the old ids have entries of their own.
TEMPLATES: Final = _templates()

_BOOK: Final[dict[int | str, str]] = {
    "0": "Bid", "1": "Offer", "E": "ImpliedBid", "F": "ImpliedOffer", "J": "BookReset",
    "w": "MarketBestOffer", "x": "MarketBestBid",
}  # fmt: skip
_STATUS: Final[dict[int | str, str]] = {
    2: "TradingHalt", 4: "Close", 15: "NewPriceIndication", 17: "ReadyToTrade", 18: "NotAvailableForTrading",
    20: "UnknownorInvalid", 21: "PreOpen", 24: "PreCross", 25: "Cross", 26: "PostClose", 103: "NoChange",
    201: "PrivateWorkup", 202: "PublicWorkup",
}  # fmt: skip

#: Field to what its values are called, where they have names.
NAMES: Final[dict[str, dict[int | str, str]]] = {
    "AggressorIndicator": {0: "NotAggressor", 1: "Aggressor"},
    "AggressorSide": {0: "NoAggressor", 1: "Buy", 2: "Sell"},
    "EventType": {5: "Activation", 7: "LastEligibleTradeDate"},
    "HaltReason": {
        0: "GroupSchedule", 1: "SurveillanceIntervention", 2: "MarketEvent", 3: "InstrumentActivation",
        4: "InstrumentExpiration", 5: "Unknown", 6: "RecoveryInProcess", 7: "TradeDateRoll",
    },
    "LegSide": {1: "BuySide", 2: "SellSide"},
    "MDEntryType": {
        **_BOOK, "2": "Trade", "4": "OpenPrice", "6": "SettlementPrice", "7": "TradingSessionHighPrice",
        "8": "TradingSessionLowPrice", "9": "VWAP", "B": "ClearedVolume", "C": "OpenInterest",
        "N": "SessionHighBid", "O": "SessionLowOffer", "W": "FixingPrice", "e": "ElectronicVolume",
        "g": "ThresholdLimitsandPriceBandVariation",
    },
    "MDSecurityTradingStatus": _STATUS,
    "MDStreamID": {0: "MarketPlaceAssistant", 1: "Globex", 2: "Refinitiv", 3: "ICAP"},
    "MDUpdateAction": {
        0: "New", 1: "Change", 2: "Delete", 3: "DeleteThru", 4: "DeleteFrom", 5: "Overlay",
    },
    "MoneyOrPar": {1: "Money", 2: "Par"},
    "OpenCloseSettlFlag": {
        0: "DailyOpenPrice", 5: "IndicativeOpeningPrice", 100: "IntradayVWAP", 101: "RepoAverage8_30AM",
        102: "RepoAverage10AM", 103: "PrevSessionRepoAverage10AM",
    },
    "OrderUpdateAction": {0: "New", 1: "Update", 2: "Delete"},
    "PutOrCall": {0: "Put", 1: "Call"},
    "SecurityAltIDSource": {1: "CUSIP", 4: "ISIN"},
    "SecuritySubType": {0: "Special", 1: "GC", 2: "GCForDBV"},  # of a repo; elsewhere it is a text
    "SecurityTradingEvent": {
        0: "NoEvent", 1: "NoCancel", 4: "ResetStatistics", 5: "ImpliedMatchingON", 6: "ImpliedMatchingOFF",
        7: "EndOfWorkup",
    },
    "SecurityTradingStatus": _STATUS,
    "SecurityUpdateAction": {"A": "Add", "D": "Delete", "M": "Modify"},
    "UnderlyingSecurityAltIDSource": {1: "CUSIP", 4: "ISIN"},
}  # fmt: skip

#: Field of flags to what its bits are called, from the lowest.
FLAGS: Final[dict[str, dict[int, str]]] = {
    "MatchEventIndicator": {
        0: "LastTradeMsg", 1: "LastVolumeMsg", 2: "LastQuoteMsg", 3: "LastStatsMsg", 4: "LastImpliedMsg",
        5: "RecoveryMsg", 6: "Reserved", 7: "EndOfEvent",
    },
    "SettlPriceType": {
        0: "FinalDaily", 1: "Actual", 2: "Rounded", 3: "Intraday", 4: "ReservedBits", 7: "NullValue",
    },
    "InstAttribValue": {
        0: "ElectronicMatchEligible", 1: "OrderCrossEligible", 2: "BlockTradeEligible", 3: "EFPEligible",
        4: "EBFEligible", 5: "EFSEligible", 6: "EFREligible", 7: "OTCEligible",
        8: "iLinkIndicativeMassQuotingEligible", 9: "NegativeStrikeEligible",
        10: "NegativePriceOutrightEligible", 11: "IsFractional", 12: "VolatilityQuotedOption",
        13: "RFQCrossEligible", 14: "ZeroPriceOutrightEligible", 15: "DecayingProductEligibility",
        16: "VariableProductEligibility", 17: "DailyProductEligibility", 18: "GTOrdersEligibility",
        19: "ImpliedMatchingEligibility", 20: "TriangulationEligible", 21: "VariableCabEligible",
        22: "InvertedBook", 23: "IsAoNInstrument", 24: "SEFRegulated", 25: "MTFRegulated",
        26: "eFIXInstrument", 27: "HedgeInstrument",
    },
}  # fmt: skip


def name_of(field: str, value: object) -> str:
    """What CME calls this value of the field; "" if it has no name there, or the value is unknown."""
    if field in FLAGS and isinstance(value, int):
        bits = FLAGS[field]
        return " ".join(bits.get(i, f"bit{i}") for i in range(value.bit_length()) if value >> i & 1)
    names = NAMES.get(field, {})
    return names.get(value, "") if isinstance(value, int | str) else ""
