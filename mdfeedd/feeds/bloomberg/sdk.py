"""Bloomberg's own package, where there is one: looked for when a session begins, and by nobody else."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any, Final

from mdfeedd.feeds.bloomberg.ending import Ending, SessionEnd

__all__ = ["LEAST_VERSION", "describe", "load"]

LEAST_VERSION: Final = (3, 24, 10)
_PACKAGE: Final = "blpapi"
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def load(path: str) -> Any:
    """The module `blpapi`, from the folder `path` if one is given. Raises `SessionEnd` (NO_PACKAGE)."""
    if path and path not in sys.path:
        sys.path.insert(0, path)
    try:
        module = importlib.import_module(_PACKAGE)
    except ImportError as error:
        raise SessionEnd(Ending.NO_PACKAGE, _why(error, path)) from None
    found = _VERSION.match(str(getattr(module, "__version__", "")))
    if found and tuple(int(part) for part in found.groups()) < LEAST_VERSION:
        least = ".".join(str(part) for part in LEAST_VERSION)
        raise SessionEnd(Ending.NO_PACKAGE, f"blpapi is {found[0]}, {least} is needed at least")
    return module


def describe(blpapi: Any) -> str:
    """Which package it is, and where."""
    version, file = (getattr(blpapi, key, "?") for key in ("__version__", "__file__"))
    stand_in = (
        "a stand-in that plays a market which does not exist, "
        if getattr(blpapi, "IS_STAND_IN", False)
        else ""
    )
    return f"blpapi {version}, {stand_in}{file}"


def _why(error: ImportError, path: str) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == _PACKAGE:
        place = f", neither installed nor in {path}" if path else ""
        return f"there is no package blpapi{place}; Bloomberg hands it out itself"
    lines = str(error).strip().splitlines()
    return f"blpapi cannot be imported: {lines[0] if lines else type(error).__name__}"
