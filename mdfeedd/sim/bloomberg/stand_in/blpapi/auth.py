"""Who a session is."""
# ruff: noqa: N802, N803 - the names are those that were published

from __future__ import annotations


class AuthUser:
    """A user, in one of the published ways."""

    def __init__(self, how: str, *what: str) -> None:
        self._what = (how, *what)

    @classmethod
    def createWithLogonName(cls) -> AuthUser:
        """Of the operating system."""
        return cls("logon")

    @classmethod
    def createWithActiveDirectoryProperty(cls, propertyName: str) -> AuthUser:
        """Of the directory."""
        return cls("directory", propertyName)

    @classmethod
    def createWithManualOptions(cls, userId: str, ipAddress: str) -> AuthUser:
        """By name and address."""
        return cls("manual", userId, ipAddress)


class AuthOptions:
    """A user, an application, both, or a token."""

    def __init__(self, how: str, *what: object) -> None:
        self._what = (how, *what)

    @classmethod
    def createWithUser(cls, user: AuthUser) -> AuthOptions:
        """A user."""
        return cls("user", user)

    @classmethod
    def createWithApp(cls, appName: str) -> AuthOptions:
        """An application."""
        return cls("app", appName)

    @classmethod
    def createWithToken(cls, token: str) -> AuthOptions:
        """A token."""
        return cls("token", token)

    @classmethod
    def createWithUserAndApp(cls, user: AuthUser, appName: str) -> AuthOptions:
        """Both."""
        return cls("user and app", user, appName)
