from typing import Any

import numpy as np
import numpy.typing as npt

class Direct:
    def __init__(self, producer: Any, calls: tuple[int, int, int, int]) -> None: ...
    def produce(
        self,
        topic: bytes,
        partition: int,
        values: memoryview | npt.NDArray[np.uint8],
        ends: npt.NDArray[np.int64],
        keys: bytes,
        key_ends: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
    ) -> tuple[int, int]: ...
