"""Rows of a feed's lines, as `mdfeedd.daemon.status` has them."""

from __future__ import annotations

from typing import Any


def line(
    silent_s: float | None,
    packets: int = 5000,
    *,
    side: str = "A",
    kind: str = "incremental",
    channel: int = 310,
) -> dict[str, Any]:
    return {
        "channel": channel,
        "kind": kind,
        "side": side,
        "silent_s": silent_s,
        "received_packets": packets,
    }
