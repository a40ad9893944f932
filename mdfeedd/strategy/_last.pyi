from typing import Any, Final

import numpy as np
import numpy.typing as npt

MAX_ROWS: Final[int]
MAX_LINES: Final[int]
LAST: np.dtype[Any]

class LastTable:
    def __len__(self) -> int: ...
    def take(
        self,
        records: npt.NDArray[np.void],
        feeds: npt.NDArray[np.uint8] | None = None,
        feed: int = 0,
    ) -> None: ...
    def lapped(self, feed: int) -> None: ...
    def forget(self, feed: int) -> None: ...
    def row(self, instrument_id: int) -> tuple[int, ...] | None: ...
    def records(self) -> npt.NDArray[np.void]: ...
