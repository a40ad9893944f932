"""What happens to a batch of which one subscription is wrong."""
# ruff: noqa: N803 - the names are those that were published

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .correlationid import CorrelationId


class SubscriptionPreprocessMode(enum.Enum):
    """All fails, or the wrong ones are returned."""

    FAIL_ON_FIRST_ERROR = 1
    RETURN_INDIVIDUAL_ERRORS = 2


class SubscriptionPreprocessError:
    """One that was wrong."""

    class ErrorCode(enum.Enum):
        """Why."""

        SUBSCRIPTIONPREPROCESS_INVALID_SUBSCRIPTION_STRING = 1
        SUBSCRIPTIONPREPROCESS_CORRELATIONID_ERROR = 2

    def __init__(
        self,
        correlationId: CorrelationId,
        subscriptionString: str,
        errorCode: ErrorCode,
        description: str,
    ) -> None:
        self.correlationId = correlationId
        self.subscriptionString = subscriptionString
        self.errorCode = errorCode
        self.description = description
