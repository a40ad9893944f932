"""One feed of the library: which vendor, which symbols, and what that is as a section of the configuration file.

    FeedConfig ─► feed_section ─► what ``feeds:`` of a YAML file would hold ─► the same check as the daemon's
        └─ api_key ─► child_variables ─► the environment of that feed's process, and nowhere else

What a vendor's feed can be told beyond symbols, key and data set goes into `options`, as in the file. Opens
nothing; imports neither vendors nor the daemon.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mdfeedd.secret import Secret

__all__ = ["FeedConfig", "Vendor", "brings_bars", "child_variables", "feed_section"]

MAX_NAME: Final = 24
"""Characters of a feed's name: those of the processes that make its bars begin with more."""
KEY_VARIABLE: Final = "MDFEEDD_API_KEY"
"""The environment variable of a feed's process that holds the key given in `FeedConfig.api_key`."""
GATEWAY_VARIABLE: Final = "MDFEEDD_DATABENTO_GATEWAY"
BLPAPI_VARIABLE: Final = "MDFEEDD_BLPAPI_PATH"
DEFAULT_SCHEMA: Final = "mbp-1"
DEFAULT_STYPE: Final = "raw_symbol"


class Vendor(enum.StrEnum):
    """The vendors that come with mdfeedd. Any other is named by its entry point, or ``package.module:Class``."""

    DATABENTO = "databento"
    """Databento Live: a key, a data set, symbols."""
    BLOOMBERG = "bloomberg"
    """BLPAPI, of a terminal or B-PIPE: symbols are topics, such as ``ESZ4 Index``."""
    CME = "cme"
    """MDP 3.0 multicast: `options` say which channels; symbols may have * and ?."""
    KAFKA = "kafka"
    """The rings of another host, through Kafka."""
    REPLAY = "replay"
    """Recordings: ``options={"paths": [...]}``."""
    SYNTHETIC = "synthetic"
    """A market that does not exist, in real time."""


@dataclass(frozen=True, slots=True)
class FeedConfig:
    """One feed, for `FeedManager.add_feed`.

    vendor: a `Vendor`, or the name of a plugin's entry point, or ``package.module:Class``.
    symbols: Databento's raw symbols (or of `stype`), Bloomberg's topics (``ESZ4 Index``), CME's instruments
        (patterns), instruments of the synthetic market. Of other vendors their option `symbols`.
    api_key: of Databento, or of a plugin whose options have `key_env`. It is kept as a `Secret`, reaches the
        feed's own process by that one's environment only, and is in no argument, log, repr or exception.
        Without it the vendor's own way holds: for Databento the variable ``DATABENTO_API_KEY``, or the options
        `key_env`, `key_file`, `key_credential`.
    dataset: of Databento, such as ``GLBX.MDP3``.
    name: of the feed, its ring and its process, 1 to 24 of ``A-Z a-z 0-9 . _ -``; the vendor's, with a number from
        the second on, if empty.
    options: what else the vendor's feed can be told: the keys of ``options:`` in the configuration file.
    schema, stype: of Databento's subscription; mbp-1 has every change of the best bid and ask, and every trade.
        ohlcv-1s, -1m, -1h and -1d are bars that the vendor has made: they come to on_bar of that length.
    capacity: ticks that the ring holds, a power of two; 64 bytes each.

    Two options have a default in the environment, for tests and desks: `gateway` of Databento is
    ``MDFEEDD_DATABENTO_GATEWAY`` (host:port), `blpapi_path` of Bloomberg is ``MDFEEDD_BLPAPI_PATH`` (a folder).

    Raises `ValueError` ("key: reason") and `TypeError`; the rest is checked by `FeedManager.add_feed`.
    """

    vendor: Vendor | str
    symbols: Sequence[str] = ()
    api_key: str | Secret | None = field(default=None, repr=False, compare=False)
    dataset: str = ""
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    schema: str = ""
    stype: str = ""
    capacity: int = 65_536

    def __post_init__(self) -> None:
        if not isinstance(self.vendor, str) or not self.vendor:
            raise TypeError(f"vendor: must be a Vendor or a name, not {self.vendor!r}")
        object.__setattr__(self, "symbols", _symbols(self.symbols))
        if isinstance(self.api_key, str):
            if not self.api_key.strip():
                raise ValueError("api_key: is empty")
            if not self.api_key.strip().isprintable():
                raise ValueError("api_key: has characters that no key has")
            object.__setattr__(self, "api_key", Secret(self.api_key))
        elif self.api_key is not None and not isinstance(self.api_key, Secret):
            raise TypeError("api_key: must be a text")
        if not isinstance(self.options, Mapping):
            raise TypeError(f"options: must be a mapping, not {type(self.options).__name__}")
        object.__setattr__(self, "options", dict(self.options))
        if self.name is not None and not 1 <= len(self.name) <= MAX_NAME:
            raise ValueError(f"name: must be of 1 to {MAX_NAME} characters, not {self.name!r}")
        self._check_what_is_of_databento()

    def _check_what_is_of_databento(self) -> None:
        if self.vendor != Vendor.DATABENTO:
            for key in ("dataset", "schema", "stype"):
                if getattr(self, key):
                    raise ValueError(f"{key}: is for Databento, and the vendor is {self.vendor}")
            if self.api_key is not None and self.vendor in set(Vendor):
                raise ValueError(f"api_key: is for Databento, {self.vendor} takes none")
        elif "subscriptions" in self.options and (self.symbols or self.schema or self.stype):
            raise ValueError("symbols: and options with subscriptions exclude each other")


def _symbols(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise TypeError(f'symbols: must be a list, such as ["{given}"], not the text "{given}"')
    if not isinstance(given, Iterable):
        raise TypeError(f"symbols: must be a list of texts, not {given!r}")
    symbols = tuple(given)
    for symbol in symbols:
        if not isinstance(symbol, str) or not symbol:
            raise TypeError(f"symbols: must be texts, not {symbol!r}")
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise ValueError(f"symbols: {twice} is there twice")
    return symbols


def feed_section(config: FeedConfig, name: str = "") -> dict[str, Any]:
    """The feed as an item of ``feeds:`` in the configuration file, for `mdfeedd.daemon.config.check`.

    name: in place of that of `config`, which is in place of the vendor's. No secret is in it: with an `api_key`
    it names the variable that `child_variables` has.
    """
    options = dict(config.options)
    shape = _SHAPES.get(str(config.vendor))
    if shape is not None:
        shape(config, options)
    elif config.symbols:
        options["symbols"] = list(config.symbols)
    if config.api_key is not None:
        options["key_env"] = KEY_VARIABLE
    return {
        "name": name or config.name or _named_after(config.vendor),
        "vendor": str(config.vendor),
        "capacity": config.capacity,
        "options": options,
    }


def child_variables(config: FeedConfig) -> dict[str, Secret]:
    """What the environment of this feed's process has that no other's has."""
    return {KEY_VARIABLE: config.api_key} if isinstance(config.api_key, Secret) else {}


def brings_bars(config: FeedConfig) -> bool:
    """Whether what the feed brings are bars, made by its vendor: none are made of it here."""
    return config.vendor == Vendor.DATABENTO and config.schema.startswith("ohlcv-")


def _named_after(vendor: str) -> str:
    """``databento``, or the class of ``package.module:Class``."""
    return str(vendor).rpartition(":")[2][:MAX_NAME]


def _databento(config: FeedConfig, options: dict[str, Any]) -> None:
    if config.dataset:
        options["dataset"] = config.dataset
    if "subscriptions" not in options:
        subscription: dict[str, Any] = {
            "schema": config.schema or DEFAULT_SCHEMA,
            "symbols": list(config.symbols),
        }
        if config.stype:
            subscription["stype"] = config.stype
        options["subscriptions"] = [subscription]
    _from_environment(options, "gateway", GATEWAY_VARIABLE)


def _bloomberg(config: FeedConfig, options: dict[str, Any]) -> None:
    if config.symbols:
        topics = [{"topic": symbol} for symbol in config.symbols]
        options["topics"] = [*options.get("topics", ()), *topics]
    _from_environment(options, "blpapi_path", BLPAPI_VARIABLE)


def _cme(config: FeedConfig, options: dict[str, Any]) -> None:
    if config.symbols:
        options["symbols"] = list(config.symbols)
    options.setdefault("cache_dir", "")  # the daemon's default is a folder of the system


def _synthetic(config: FeedConfig, options: dict[str, Any]) -> None:
    if config.symbols:
        options["instruments"] = list(config.symbols)


_SHAPES: Final = {
    "databento": _databento,
    "bloomberg": _bloomberg,
    "cme": _cme,
    "synthetic": _synthetic,
}


def _from_environment(options: dict[str, Any], key: str, variable: str) -> None:
    if key not in options and (value := os.environ.get(variable, "")):
        options[key] = value
