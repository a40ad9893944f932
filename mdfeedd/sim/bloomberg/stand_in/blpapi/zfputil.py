"""Leased lines without a server on site."""
# ruff: noqa: N802, N803 - the names are those that were published

from __future__ import annotations

from typing import Final

from .exception import INVALID_ARGUMENT, InvalidArgumentException
from .sessionoptions import SessionOptions, TlsOptions


class ZfpUtil:
    """Options that find the servers by themselves."""

    REMOTE_8194: Final = 8194
    REMOTE_8196: Final = 8196

    @staticmethod
    def getZfpOptionsForLeasedLines(remote: int, tlsOptions: TlsOptions) -> SessionOptions:
        """One of the two ports; TLS is a must."""
        if remote not in (ZfpUtil.REMOTE_8194, ZfpUtil.REMOTE_8196):
            raise InvalidArgumentException(f"remote: 8194 or 8196, not {remote}", INVALID_ARGUMENT)
        options = SessionOptions()
        for index in range(2):
            options.setServerAddress(f"zfp{index + 1}.sim.invalid", remote, index)
        options.setTlsOptions(tlsOptions)
        return options
