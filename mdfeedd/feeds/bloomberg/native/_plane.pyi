from typing import Any, Final

from mdfeedd.feeds.bloomberg.moment import Now
from mdfeedd.feeds.bloomberg.native._codec import Kernel
from mdfeedd.feeds.bloomberg.plane import PythonPlane
from mdfeedd.ring._ring import WriterCore

PROOFS: Final[int]
DOUBTS: Final[int]

class Unusable(Exception): ...

class Library:
    path: str
    def __init__(self, path: str, *, doubts: int = 1000) -> None: ...
    def count(self, event: Any) -> int: ...

class Walker:
    agrees: bool
    @property
    def proofs(self) -> tuple[int, int]: ...
    def __init__(
        self,
        kernel: Kernel,
        writer: WriterCore,
        library: Library,
        plane: PythonPlane,
        *,
        proofs: int = 1000,
    ) -> None: ...
    def use(self, event: Any, now: Now) -> bool: ...
