from typing import TypedDict, type_check_only

import numpy as np
import numpy.typing as npt
from _typeshed import ReadableBuffer

class MdpError(ValueError): ...

@type_check_only
class DefinitionFields(TypedDict):
    last_update: int
    activation: int
    expiration: int
    tick_size: int
    display_factor: int
    multiplier: int
    high_limit: int
    low_limit: int
    max_variation: int
    security_id: int
    total_reports: int
    channel: int
    template_id: int
    version: int
    mei: int
    action: int
    trading_status: int
    depth: int
    implied_depth: int
    user_defined: int
    symbol: bytes
    group: bytes
    asset: bytes
    exchange: bytes
    currency: bytes
    security_type: bytes
    cfi: bytes

ENTRY_SIZE: int
NULL_ENTRY: bytes

def columns() -> list[tuple[str, int, int, str]]: ...
def templates() -> list[tuple[str, int, int, int]]: ...
def groups() -> list[tuple[str, str, int, int, int, int]]: ...
def fields() -> list[tuple[str, str, str, int, int, str, int]]: ...
def check(payload: ReadableBuffer) -> None: ...
def count(payload: ReadableBuffer) -> int: ...
def decode_into(payload: ReadableBuffer, out: npt.NDArray[np.uint8]) -> int: ...
def messages(payload: ReadableBuffer) -> list[tuple[int, int, int, int, int]]: ...
def definitions(payload: ReadableBuffer) -> list[DefinitionFields]: ...
def define(
    template_id: int, version: int, root: ReadableBuffer, groups: ReadableBuffer
) -> tuple[int, DefinitionFields | None]: ...
