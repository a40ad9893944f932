"""Which records a ring holds, for consumers that know ticks and bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mdfeedd.ring import RingMismatch
from mdfeedd.ring.inspect import inspect
from mdfeedd.tick import BAR, TICK, layout_of

if TYPE_CHECKING:
    import numpy as np

__all__ = ["layout_in"]

_LAYOUTS: Final = {layout_of(dtype): dtype for dtype in (TICK, BAR)}


def layout_in(name: str, directory: str) -> tuple[np.dtype[Any], bytes]:
    """The dtype of a ring's records, and its ring_id. Raises `RingError`."""
    info = inspect(name, directory)
    dtype = _LAYOUTS.get(info.layout)
    if dtype is None:
        raise RingMismatch(
            f"ring '{name}' holds neither ticks nor bars of this version ({info.layout})"
        )
    return dtype, info.ring_id
