"""mdfeedd: market data feeds into a shared-memory ring of 64-byte ticks.

    vendor ─► feed process ─► ring in /dev/shm ─► consumer processes: batches, bars, callbacks, yours
                                                    └─ Reader("NAME") is all that yours needs

`Reader` attaches to a ring and gives batches; `Writer` makes one. The daemon (``mdfeedd run``), the replay of
recordings and the demo are commands of ``mdfeedd``. Importing this starts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mdfeedd.ring import Reader, TickBatch, Writer
    from mdfeedd.tick import (
        BAR,
        QUOTE,
        TICK,
        TRADE,
        Bar,
        Flag,
        Kind,
        Side,
        Tick,
        from_fixed,
        to_fixed,
    )

__all__ = [
    "BAR",
    "QUOTE",
    "TICK",
    "TRADE",
    "Bar",
    "Flag",
    "Kind",
    "Reader",
    "Side",
    "Tick",
    "TickBatch",
    "Writer",
    "from_fixed",
    "to_fixed",
]
__version__ = "0.1.0"
_OF_RING: Final = frozenset({"Reader", "TickBatch", "Writer"})


def __getattr__(name: str) -> Any:
    """What is not there yet is imported when it is asked for: the commands begin without numpy, and Ctrl-C ends them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - only who asks for something pays

    home = importlib.import_module("mdfeedd.ring" if name in _OF_RING else "mdfeedd.tick")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
