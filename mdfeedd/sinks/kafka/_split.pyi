from typing import Any

import numpy as np
import numpy.typing as npt

MAX_PARTITIONS: int

class Splitter:
    partitions: int
    def __init__(self, partitions: int) -> None: ...
    def learn(self, instrument_id: int, partition: int) -> None: ...
    def forget(self) -> None: ...
    def split(
        self, records: npt.NDArray[np.void]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]] | tuple[None, npt.NDArray[Any]]: ...
