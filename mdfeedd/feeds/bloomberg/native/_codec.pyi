from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mdfeedd.feeds.bloomberg.codec import staging, touch
from mdfeedd.ring._ring import WriterCore

FIELDS: Final[tuple[str, ...]]

# a class of its own that does all that the other does: named as its child, so that it is taken in its place
class Touch(touch.Touch):
    def __init__(self, instrument_id: int) -> None: ...

class Staging(staging.Staging):
    def __init__(self, room: int = 4096) -> None: ...
    def publish(self, writer: WriterCore) -> None: ...

class Touches(dict[int, touch.Touch]): ...

class Kernel:
    messages: int
    skipped: int
    last_ns: int
    last_message: dict[str, Any] | None
    @property
    def sent_ns(self) -> int: ...
    @property
    def quick(self) -> int: ...
    @property
    def staging(self) -> Staging: ...
    @property
    def touches(self) -> Touches: ...
    def __init__(
        self, staging: Staging, touches: Touches, *, refuse_delayed: bool = False
    ) -> None: ...
    def take(self, cid: Any, recap: Any, message: Any, recv_ns: int) -> bool: ...
