from typing import Any

from mdfeedd.feeds.bloomberg.moment import Now
from mdfeedd.feeds.bloomberg.native._codec import Kernel
from mdfeedd.feeds.bloomberg.plane import PythonPlane
from mdfeedd.ring._ring import WriterCore

class Unusable(Exception): ...

class Library:
    path: str
    def __init__(self, path: str) -> None: ...

class Walker:
    def __init__(
        self, kernel: Kernel, writer: WriterCore, library: Library, plane: PythonPlane
    ) -> None: ...
    def use(self, event: Any, now: Now) -> bool: ...
