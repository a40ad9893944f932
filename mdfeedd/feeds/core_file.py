"""A process that holds a secret leaves no core file: the secret would be in it."""

from __future__ import annotations

import ctypes
import logging
import os
from typing import Final

__all__ = ["forbid_core_file"]

_PR_SET_DUMPABLE: Final = 4

logger: logging.Logger = logging.getLogger("mdfeedd.feeds")


def forbid_core_file(secret: str) -> None:
    """Before `secret` (in words, for the log) is read. Keeps debuggers of other users away, too."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0):
        why = os.strerror(ctypes.get_errno())
        logger.warning("prctl: %s: a core file would hold %s", why, secret)
