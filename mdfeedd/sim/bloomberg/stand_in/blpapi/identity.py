"""Identities."""
# ruff: noqa: N802 - the names are those that were published

from __future__ import annotations


class Identity:
    """Who is entitled to what; here to everything."""

    def isAuthorized(self, service: object) -> bool:
        """Whether it may use the service."""
        return service is not None
