"""A stand-in for Bloomberg's package of this name: the part that the Bloomberg feed uses, in code of its own.

    calls ─► Session ─► SessionCore of the installed world ─► events ─► nextEvent ─► Event ─► Message ─► toPy

It has the published names, parameters, defaults and numbers, and behaves as published as far as that is known;
it talks to nobody. `IS_STAND_IN` tells it from the real one.

Limits: the world's. Ways to fail: the published exceptions, with their codes.
"""

from __future__ import annotations

from mdfeedd.sim.bloomberg.content import FixedOffset

from .abstractsession import AbstractSession
from .auth import AuthOptions, AuthUser
from .correlationid import CorrelationId
from .datatype import DataType
from .element import Element
from .event import Event
from .eventdispatcher import EventDispatcher
from .exception import (
    DuplicateCorrelationIdException,
    Exception,  # noqa: A004 - its published name
    FieldNotFoundException,
    IndexOutOfRangeException,
    InvalidArgumentException,
    InvalidConversionException,
    InvalidStateException,
    NotFoundException,
    UnknownErrorException,
    UnsupportedOperationException,
)
from .identity import Identity
from .logger import Logger
from .message import Message
from .name import Name
from .names import Names
from .preprocess import SubscriptionPreprocessError, SubscriptionPreprocessMode
from .service import Service
from .session import Session
from .sessionoptions import SessionOptions, Socks5Config, TlsOptions
from .subscriptionlist import SubscriptionList
from .zfputil import ZfpUtil

__version__ = "3.26.5.1"
IS_STAND_IN = True

__all__ = [
    "IS_STAND_IN",
    "AbstractSession",
    "AuthOptions",
    "AuthUser",
    "CorrelationId",
    "DataType",
    "DuplicateCorrelationIdException",
    "Element",
    "Event",
    "EventDispatcher",
    "Exception",
    "FieldNotFoundException",
    "FixedOffset",
    "Identity",
    "IndexOutOfRangeException",
    "InvalidArgumentException",
    "InvalidConversionException",
    "InvalidStateException",
    "Logger",
    "Message",
    "Name",
    "Names",
    "NotFoundException",
    "Service",
    "Session",
    "SessionOptions",
    "Socks5Config",
    "SubscriptionList",
    "SubscriptionPreprocessError",
    "SubscriptionPreprocessMode",
    "TlsOptions",
    "UnknownErrorException",
    "UnsupportedOperationException",
    "ZfpUtil",
]
