"""Not run: checked by mypy, the wrong uses included (see test_typing.py)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

from mdfeedd import Book, LastValues, MultiBatch, MultiReader, Reader, TickBatch, bars, columns

one = Reader("demo", "oldest", wait=1.0)
assert_type(one, Reader)
assert_type(one.read(), TickBatch)
two = Reader(["cme", "databento"], order="venue", hold_s=0.1, symbols={"ES": {"cme": "ESZ6"}})
assert_type(two, MultiReader)
assert_type(two.read(), MultiBatch)

assert_type(one.last, LastValues)
assert_type(two.last["ESZ6"], Book)
assert_type(one.last.get("ESZ6"), Book | None)
assert_type(one.last.get("ESZ6", 5), Book | int)
assert_type(one.last["ESZ6"].mid, float)
assert_type(one.last["ESZ6"].bid_price, int | None)
assert_type(one.last["ESZ6"].decimal("bid"), Decimal | None)


def seen(batch: TickBatch) -> None:
    """Takes what a reader of one ring gives."""


one.wait_until(lambda last: last["ESZ6"].ask < 1, 5.0, on_batch=seen)
two.wait_until(lambda last: True, on_batch=seen)  # type: ignore[arg-type]

assert_type(bars("demo-bars", frame="numpy"), dict[str, npt.NDArray[Any]])
assert_type(columns(one.read().quotes), dict[str, npt.NDArray[Any]])

Reader(["cme"], dtype=np.dtype("i8"))  # type: ignore[call-overload]
MultiReader(["cme"], order="time")  # type: ignore[arg-type]
one.last["ESZ6"].bid_price = 5  # type: ignore[misc]
one.last["ESZ6"].decimal("middle")  # type: ignore[arg-type]
bars("demo-bars", frame="excel")  # type: ignore[call-overload]
