"""numpy's linear algebra, which no process of ours uses, held to the one thread that is there anyway.

OpenBLAS starts a thread for each further processor when numpy is imported, and each of them spins for a tenth of a
second before it sleeps: with every start of a worker, beside feeds that have those processors to themselves. Whoever
has set the variable, for user code that multiplies matrices, keeps what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping

VARIABLE: Final = "OPENBLAS_NUM_THREADS"


def hold_to_one_thread(environment: MutableMapping[str, str]) -> None:
    """In the environment of a process that has not imported numpy yet."""
    environment.setdefault(VARIABLE, "1")
