from typing import Any, Final

import numpy as np
import numpy.typing as npt

LINE_MAX: Final[int]
TEXTS: Final[int]

def lines(
    ticks: npt.NDArray[np.void],
    start: int,
    places: npt.NDArray[np.int64],
    texts: bytes,
    offsets: npt.NDArray[np.int64],
    resp: bool,
    out: npt.NDArray[np.uint8],
    lengths: npt.NDArray[Any],
) -> tuple[int, int]: ...
