"""Names of the status messages."""

from __future__ import annotations

from typing import Final

from .name import Name


class Names:
    """Every message type that the SDK itself makes."""

    AUTHORIZATION_FAILURE: Final = Name("AuthorizationFailure")
    AUTHORIZATION_REVOKED: Final = Name("AuthorizationRevoked")
    AUTHORIZATION_SUCCESS: Final = Name("AuthorizationSuccess")
    DATA_LOSS: Final = Name("DataLoss")
    PERMISSION_REQUEST: Final = Name("PermissionRequest")
    PERMISSION_RESPONSE: Final = Name("PermissionResponse")
    REQUEST_FAILURE: Final = Name("RequestFailure")
    REQUEST_TEMPLATE_AVAILABLE: Final = Name("RequestTemplateAvailable")
    REQUEST_TEMPLATE_PENDING: Final = Name("RequestTemplatePending")
    REQUEST_TEMPLATE_TERMINATED: Final = Name("RequestTemplateTerminated")
    RESOLUTION_FAILURE: Final = Name("ResolutionFailure")
    RESOLUTION_SUCCESS: Final = Name("ResolutionSuccess")
    SERVICE_AVAILABILITY_INFO: Final = Name("ServiceAvailabilityInfo")
    SERVICE_DEREGISTERED: Final = Name("ServiceDeregistered")
    SERVICE_DOWN: Final = Name("ServiceDown")
    SERVICE_OPENED: Final = Name("ServiceOpened")
    SERVICE_OPEN_FAILURE: Final = Name("ServiceOpenFailure")
    SERVICE_REGISTERED: Final = Name("ServiceRegistered")
    SERVICE_REGISTER_FAILURE: Final = Name("ServiceRegisterFailure")
    SERVICE_UP: Final = Name("ServiceUp")
    SESSION_CONNECTION_DOWN: Final = Name("SessionConnectionDown")
    SESSION_CONNECTION_UP: Final = Name("SessionConnectionUp")
    SESSION_STARTED: Final = Name("SessionStarted")
    SESSION_STARTUP_FAILURE: Final = Name("SessionStartupFailure")
    SESSION_TERMINATED: Final = Name("SessionTerminated")
    SLOW_CONSUMER_WARNING: Final = Name("SlowConsumerWarning")
    SLOW_CONSUMER_WARNING_CLEARED: Final = Name("SlowConsumerWarningCleared")
    SUBSCRIPTION_FAILURE: Final = Name("SubscriptionFailure")
    SUBSCRIPTION_STARTED: Final = Name("SubscriptionStarted")
    SUBSCRIPTION_STREAMS_ACTIVATED: Final = Name("SubscriptionStreamsActivated")
    SUBSCRIPTION_STREAMS_DEACTIVATED: Final = Name("SubscriptionStreamsDeactivated")
    SUBSCRIPTION_TERMINATED: Final = Name("SubscriptionTerminated")
    TOKEN_GENERATION_FAILURE: Final = Name("TokenGenerationFailure")
    TOKEN_GENERATION_SUCCESS: Final = Name("TokenGenerationSuccess")
    TOPIC_ACTIVATED: Final = Name("TopicActivated")
    TOPIC_CREATED: Final = Name("TopicCreated")
    TOPIC_CREATE_FAILURE: Final = Name("TopicCreateFailure")
    TOPIC_DEACTIVATED: Final = Name("TopicDeactivated")
    TOPIC_DELETED: Final = Name("TopicDeleted")
    TOPIC_RECAP: Final = Name("TopicRecap")
    TOPIC_RESUBSCRIBED: Final = Name("TopicResubscribed")
    TOPIC_SUBSCRIBED: Final = Name("TopicSubscribed")
    TOPIC_UNSUBSCRIBED: Final = Name("TopicUnsubscribed")
