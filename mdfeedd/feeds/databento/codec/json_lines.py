"""DBN written as JSON lines, as Databento's tools write it, back into DBN records.

A line holds one record: ``hd`` (its header), the other fields by name, ``levels`` as a list, and perhaps
``symbol``. Prices are integers of 1e-9 or, pretty, decimals with a point; times are UNIX ns or, pretty,
ISO 8601 with nine decimals; either may be a JSON string. null is the undefined value of its field.

Records come out in version 3. A ``symbol`` becomes a mapping record before the first record that has it, so
the same decoder serves files and lines, and names follow the file.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import struct
from typing import Any, Final

from mdfeedd.feeds.databento.codec.events import DbnError
from mdfeedd.feeds.databento.codec.records import I64_UNDEF, PRICES, TIMES, U64_UNDEF, record_dtype
from mdfeedd.tick import to_fixed

__all__ = ["MAX_LINE_BYTES", "VERSION", "JsonLineError", "JsonLines"]

VERSION: Final = 3
MAX_LINE_BYTES: Final = 65_536
_MAPPING_RTYPE: Final = 0x16
_MAPPING: Final = struct.Struct("<BBHIQB71sB71sQQ")
_RAW_SYMBOL: Final = 1
_NS_PER_S: Final = 1_000_000_000
_ISO_FRACTION_AT: Final = 19
_STRUCT_CODES: Final = {
    "u1": "B",
    "i1": "b",
    "u2": "H",
    "i2": "h",
    "u4": "I",
    "i4": "i",
    "u8": "Q",
    "i8": "q",
}


class JsonLineError(DbnError):
    """A line is not a DBN record. `line` counts from 1; `offset` is where the line begins."""

    def __init__(self, line: int, reason: str, offset: int) -> None:
        super().__init__(f"line {line} is not a DBN record: {reason}", offset)
        self.line = line


class _Layout:
    """How a record type is packed: one struct code and one way to read JSON per field."""

    def __init__(self, rtype: int) -> None:
        dtype = record_dtype(rtype, VERSION)
        if dtype is None or dtype.names is None or dtype.fields is None:
            raise ValueError(f"rtype {rtype} is unknown")
        codes = []
        self.fields: list[str] = []
        for name in dtype.names:
            kind = dtype.fields[name][0].str.lstrip("<|")
            code = _STRUCT_CODES.get(kind) or f"{kind[1:]}s"
            if name.startswith("_"):
                codes.append(f"{dtype.fields[name][0].itemsize}x")
            else:
                codes.append(code)
                self.fields.append(name)
        self.struct = struct.Struct("<" + "".join(codes))
        self.text = frozenset(n for n in self.fields if dtype.fields[n][0].kind == "S")
        self.words = self.struct.size // 4


_layout = functools.cache(_Layout)


def _price(value: Any) -> int:
    if value is None:
        return I64_UNDEF
    if isinstance(value, str) and "." in value:
        return to_fixed(value)
    if isinstance(value, float):
        return to_fixed(value)
    return int(value)


def _time(value: Any) -> int:
    if value is None or value == "":
        return U64_UNDEF
    if not isinstance(value, str) or value.isdigit():
        return int(value)
    seconds, fraction = value[:_ISO_FRACTION_AT], value[_ISO_FRACTION_AT:]
    if not fraction.endswith("Z"):
        raise ValueError(f"{value!r} is not a time in UTC")
    whole = dt.datetime.fromisoformat(seconds).replace(tzinfo=dt.UTC)
    digits = fraction[1:-1]
    if not (fraction == "Z" or (fraction[0] == "." and digits.isdigit() and len(digits) <= 9)):
        raise ValueError(f"{value!r} is not a time in UTC")
    return int(whole.timestamp()) * _NS_PER_S + int(digits.ljust(9, "0") or 0)


def _field(layout: _Layout, name: str, value: Any) -> int | bytes:
    if name in layout.text:
        return b"" if value is None else str(value).encode("utf-8")
    if name in PRICES:
        return _price(value)
    if name in TIMES:
        return _time(value)
    return int(value)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Header and levels among the other fields, named as in the layouts."""
    header: dict[str, Any] = record["hd"]
    flat = record | header
    for k, level in enumerate(record.get("levels", ())):
        flat |= {f"{name}_{k:02}": value for name, value in level.items()}
    return flat


def _pack(record: dict[str, Any]) -> bytes:
    flat = _flat(record)
    layout = _layout(int(flat["rtype"]))
    flat["length"] = layout.words
    missing = [name for name in layout.fields if name not in flat]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    return layout.struct.pack(*[_field(layout, name, flat[name]) for name in layout.fields])


class JsonLines:
    """Lines in, in pieces cut anywhere; record bytes out, for a `DbnDecoder` of version `VERSION`."""

    def __init__(self) -> None:
        self._rest = b""
        self._line = 0
        self._offset = 0
        self._names: dict[int, str] = {}
        self._fault: JsonLineError | None = None

    def feed(self, data: bytes) -> bytes:
        """The records of the lines that are whole by now.

        A line that is no record raises `JsonLineError`, after what came before it has been returned.
        """
        if self._fault is not None:
            raise self._fault
        *lines, self._rest = (self._rest + data).split(b"\n")
        out: list[bytes] = []
        for line in lines:
            self._take(line, out)
            if self._fault is not None:
                break
            self._offset += len(line) + 1
        if self._fault is None and len(self._rest) > MAX_LINE_BYTES:
            self._line += 1
            self._refuse(f"it is longer than {MAX_LINE_BYTES} bytes")
        if self._fault is not None and not out:
            raise self._fault
        return b"".join(out)

    def finish(self) -> bytes:
        """The last line's record, where the text does not end with a newline."""
        return self.feed(b"\n") if self._rest.strip() or self._fault is not None else b""

    def _refuse(self, reason: str) -> None:
        self._fault = JsonLineError(self._line, reason, self._offset)

    def _take(self, line: bytes, out: list[bytes]) -> None:
        self._line += 1
        if not line.strip():
            return
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record.get("hd"), dict):
                self._refuse("it has no header 'hd'")
                return
            packed = _pack(record)
            symbol = record.get("symbol")
            if isinstance(symbol, str) and symbol:
                self._name(int(record["hd"]["instrument_id"]), symbol, out)
        except KeyError as error:
            self._refuse(f"it has no {error.args[0]}")
            return
        except RecursionError:
            self._refuse("it is nested too deeply")
            return
        except (ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
            self._refuse(str(error) or type(error).__name__)
            return
        out.append(packed)

    def _name(self, instrument_id: int, symbol: str, out: list[bytes]) -> None:
        if self._names.get(instrument_id) == symbol:
            return
        self._names[instrument_id] = symbol
        text = symbol.encode("utf-8")[:70]
        out.append(
            _MAPPING.pack(
                _MAPPING.size // 4,
                _MAPPING_RTYPE,
                0,
                instrument_id,
                U64_UNDEF,
                _RAW_SYMBOL,
                text,
                _RAW_SYMBOL,
                text,
                U64_UNDEF,
                U64_UNDEF,
            )
        )
