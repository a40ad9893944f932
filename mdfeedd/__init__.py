"""mdfeedd: market data feeds into a shared-memory ring of 64-byte ticks.

    vendor ─► feed process ─► ring in /dev/shm ─► consumer processes: batches, bars, callbacks, yours
                                                    └─ Reader("NAME") is all that yours needs

`Reader` attaches to a ring (or, as `MultiReader`, to several) and gives batches, and `last` the `Book` of each
instrument; `bars` gives the latest bars as a table; `Writer` makes a ring. `FeedManager` runs
feeds from Python and calls back with what comes. The daemon (``mdfeedd run``), the replay of recordings and the demo
are commands of ``mdfeedd``. Importing this starts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mdfeedd.manager import FeedConfig, FeedFailed, FeedManager, FeedStatus, Gap, Vendor
    from mdfeedd.ring import TickBatch, Writer
    from mdfeedd.strategy import (
        LAST,
        Book,
        LastValues,
        MultiBatch,
        MultiReader,
        Reader,
        bars,
        columns,
        load_symbols,
    )
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
    "LAST",
    "QUOTE",
    "TICK",
    "TRADE",
    "Bar",
    "Book",
    "FeedConfig",
    "FeedFailed",
    "FeedManager",
    "FeedStatus",
    "Flag",
    "Gap",
    "Kind",
    "LastValues",
    "MultiBatch",
    "MultiReader",
    "Reader",
    "Side",
    "Tick",
    "TickBatch",
    "Vendor",
    "Writer",
    "bars",
    "columns",
    "from_fixed",
    "load_symbols",
    "to_fixed",
]
__version__ = "0.1.0"
_HOMES: Final = {
    "mdfeedd.manager": ("FeedConfig", "FeedFailed", "FeedManager", "FeedStatus", "Gap", "Vendor"),
    "mdfeedd.ring": ("TickBatch", "Writer"),
    "mdfeedd.strategy": (
        *("LAST", "Book", "LastValues", "MultiBatch", "MultiReader", "Reader"),
        *("bars", "columns", "load_symbols"),
    ),
}
"""Where each name is, if not in mdfeedd.tick."""


def __getattr__(name: str) -> Any:
    """What is not there yet is imported when it is asked for: the commands begin without numpy, and Ctrl-C ends them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - only who asks for something pays

    home = next((home for home, names in _HOMES.items() if name in names), "mdfeedd.tick")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
